"""Ask the Triton model seqcls (see build_models.py) for the classes of texts, over gRPC.

    python seqcls_grpc_client.py                              # two example texts
    python seqcls_grpc_client.py --texts 头疼挂什么科 医保卡能刷吗
    python seqcls_grpc_client.py --file ../../data/data.txt > result.txt

--file holds a text a line, or text<Tab>label as train.txt does. Exit code 0 means that every text got its answer.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))
from utils import UsageError, exit_on_usage_error, read_cases, require_packages  # noqa: E402

EXAMPLES = ["黑苦荞茶的功效与作用及食用方法", "幼儿挑食的生理原因是"]


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--url", default="127.0.0.1:8001", help="host:port of Triton's gRPC (default: %(default)s)")
    add("--model", default="seqcls", help="(default: %(default)s)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--texts", nargs="+", default=EXAMPLES, help="texts to classify")
    what.add_argument("--file", help="a file of texts to classify, one a line, in UTF-8")
    add("--batch_size", type=int, default=32, help="texts a request, at most the model's limit (default: %(default)s)")
    add("--timeout", type=float, default=30, help="seconds that an answer may take (default: %(default)s)")
    add("--wait", type=float, default=0, help="seconds to wait for the model to be ready (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.batch_size < 1:
        parser.error(f"--batch_size {args.batch_size}: give a number from 1")
    if not args.timeout > 0:
        parser.error(f"--timeout {args.timeout}: give seconds above 0")
    return args


class Client:
    """A connection to one model; its methods raise UsageError, which says what to do.

    Args:
        url (str): host:port.
        model (str): its name on the server.
        timeout (float): seconds a call.
        wait (float): seconds until the model must be ready.
    """

    def __init__(self, url, model="seqcls", timeout=30, wait=0):
        import tritonclient.grpc as triton

        self.triton, self.url, self.model, self.timeout = triton, url, model, timeout
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
        except self.triton.InferenceServerException as error:
            raise UsageError(f"{self.url}: {self.model}: {error.message()} ({error.status()})") from None

    def is_ready(self):
        """False as long as nobody answers, too."""
        try:
            return self.connection.is_model_ready(self.model, client_timeout=self.timeout)
        except self.triton.InferenceServerException:
            return False

    def classify(self, texts):
        """The labels of some texts, at most max_batch_size, and how sure the model is: list[tuple[str, float]]."""
        array = np.array([text.encode("utf-8") for text in texts], dtype=object)[:, None]
        given = self.triton.InferInput("INPUT", array.shape, "BYTES")
        given.set_data_from_numpy(array)
        wanted = [self.triton.InferRequestedOutput(name) for name in ("label", "confidence")]
        answer = self.call(self.connection.infer, self.model, [given], outputs=wanted)
        labels, confidence = (answer.as_numpy(name).ravel() for name in ("label", "confidence"))
        return [(label.decode("utf-8"), float(value)) for label, value in zip(labels, confidence)]


def main(argv=None):
    args = parse_flags(argv)
    require_packages("seqcls_grpc_client.py", "tritonclient", "grpcio", requirements="requirements-serving.txt")
    from tqdm import tqdm

    texts = [text for _, text, *_ in read_cases(args.file)] if args.file else args.texts
    client = Client(args.url, args.model, args.timeout, args.wait)
    size = min(args.batch_size, client.max_batch_size)
    with tqdm(total=len(texts), unit="text", disable=not args.file) as bar:
        for start in range(0, len(texts), size):
            batch = texts[start : start + size]
            for text, (label, confidence) in zip(batch, client.classify(batch)):
                print(f"text: {text}\tlabel: {label}\tconfidence: {confidence:.4f}")
            bar.update(len(batch))


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
