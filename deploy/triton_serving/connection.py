"""A connection to the Triton model seqcls; tritonclient is all that it needs."""

import time

import numpy as np
import tritonclient.grpc as triton

from utils import UsageError


class Client:
    """A connection to one model; its methods raise UsageError, which says what to do.

    Args:
        url (str): host:port.
        model (str): its name on the server.
        timeout (float): seconds a call.
        wait (float): seconds until the model must be ready.
    """

    def __init__(self, url, model="seqcls", timeout=30, wait=0):
        self.url, self.model, self.timeout = url, model, timeout
        self.connection = triton.InferenceServerClient(url)
        end = time.monotonic() + wait
        while not self.is_ready():
            if time.monotonic() > end:
                raise UsageError(f"{url}: the model {model} is not ready there; see Triton's log, or give --wait")
            time.sleep(0.5)
        config = self.call(self.connection.get_model_config, model, as_json=True)["config"]
        self.max_batch_size = int(config.get("max_batch_size", 1))

    def call(self, function, *args, **options):
        try:
            return function(*args, client_timeout=self.timeout, **options)
        except triton.InferenceServerException as error:
            raise UsageError(f"{self.url}: {self.model}: {error.message()} ({error.status()})") from None

    def is_ready(self):
        """False as long as nobody answers, too."""
        try:
            return self.connection.is_model_ready(self.model, client_timeout=self.timeout)
        except triton.InferenceServerException:
            return False

    def classify(self, texts):
        """The labels of some texts, at most max_batch_size, and how sure the model is: list[tuple[str, float]]."""
        array = np.array([text.encode("utf-8") for text in texts], dtype=object)[:, None]
        given = triton.InferInput("INPUT", array.shape, "BYTES")
        given.set_data_from_numpy(array)
        wanted = [triton.InferRequestedOutput(name) for name in ("label", "confidence")]
        answer = self.call(self.connection.infer, self.model, [given], outputs=wanted)
        labels, confidence = (answer.as_numpy(name).ravel() for name in ("label", "confidence"))
        return [(label.decode("utf-8"), float(value)) for label, value in zip(labels, confidence)]
