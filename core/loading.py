"""Loading a model by name or from a directory, whoever wrote it: device, config, tokenizer, weights.

Where PaddleNLP 2.8.1 or Paddle 2.6.2 is wrong, the smallest piece is overridden here, and the comment says which
fault it mends.
"""

import contextlib
import inspect
import io
import os
import pickle
import re
import shutil
import tempfile
import threading
from pathlib import Path

import paddle
from paddlenlp.transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedModel,
)
from paddlenlp.utils import serialization
from paddlenlp.utils.log import logger

from core.checkpoints import stored_labels
from utils import UsageError

MODEL_FILE = "model_state.pdparams"

# Seconds until a name that must be downloaded is given up: a proxy that never answers would hang for minutes.
DOWNLOAD_TIMEOUT = 25

# ------------------------------------------------------------------------------------------------------------- device


# Compute capabilities that paddlepaddle-gpu 2.6.2 (CUDA 11.8) has machine code for; code of one minor number runs on
# higher ones of the same major number.
CARDS_OF_PADDLE_2 = ((6, 1), (7, 0), (8, 0))


def check_card(capability, version=paddle.__version__):
    """Refuse a card that the installed Paddle has no machine code for: its first kernel would crash.

    Args:
        capability (tuple[int, int]): of the card, such as (8, 6).
        version (str): of Paddle; nothing is known of others than 2.x.

    Raises:
        UsageError: the card is too old or too new.
    """
    if not version.startswith("2."):
        return
    if not any(capability[0] == major and capability[1] >= minor for major, minor in CARDS_OF_PADDLE_2):
        raise UsageError(
            f"the GPU has compute capability {capability[0]}.{capability[1]}; paddlepaddle-gpu {version} has "
            "no machine code (it has 6.1, 7.x, 8.x: GTX 10, V100, RTX 20 to 40, A100); use --device cpu, or for "
            "newer cards, Paddle 3 (README.md, 2.1)"
        )


def set_device(device, fp16=False):
    """Choose where Paddle computes: the CPU where there is no GPU.

    Args:
        device (str): gpu, gpu:<n> or cpu.
        fp16 (bool): whether the run wants float16, which a CPU cannot do.

    Returns:
        str: the device that is used.

    Raises:
        UsageError: float16 on a CPU, no such device, or a card that this Paddle has no machine code for.
    """
    wants_gpu = device.startswith("gpu")
    if wants_gpu and not (paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0):
        reason = "no GPU was found" if paddle.is_compiled_with_cuda() else "this paddlepaddle is the CPU build"
        logger.warning(f"--device {device}: {reason}; using the CPU. Say --device cpu to choose it.")
        device = "cpu"
    if device == "cpu" and fp16:
        raise UsageError("--fp16 works on a GPU only; leave it out, or use --bf16, on a CPU")
    if device.startswith("gpu"):
        check_card(paddle.device.cuda.get_device_capability(int(device.partition(":")[2] or 0)))
    try:
        paddle.set_device(device)
    except Exception as error:
        raise UsageError(f"--device {device}: {str(error).strip().splitlines()[-1]}; use gpu, gpu:0 or cpu") from None
    return device


# ---------------------------------------------------------------------------------------------------- safe unpickling


# All that a file written by paddle.save or torch.save needs: arrays, tensors as (name, array), plain containers.
SAFE_GLOBALS = {
    ("builtins", "tuple"),
    ("builtins", "list"),
    ("builtins", "dict"),
    ("builtins", "set"),
    ("builtins", "bytearray"),
    ("builtins", "slice"),
    ("builtins", "complex"),
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("_codecs", "encode"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("paddle.base.libpaddle", "GeneratorState"),  # a random generator's numbers, in rng_state.pth
}


class UnsafeFileError(UsageError):
    """A pickled file asks for something that is neither a tensor nor a plain container."""


def find_safe_class(module, name):
    """Resolve a global of a pickle file when it is on the list.

    Raises:
        UnsafeFileError: it is not on the list.
    """
    module = "builtins" if module == "__builtin__" else module  # its name in pickles of protocol 2
    if (module, name) not in SAFE_GLOBALS:
        raise UnsafeFileError(
            f"the file calls {module}.{name} when it is loaded, which model weights never need: it may run foreign "
            "code. Nothing of it was run. Use weights from a source you trust"
        )
    return getattr(__import__(module, fromlist=[name]), name)


class SafeUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        return find_safe_class(module, name)


class _SafePickle:
    """Stands in for the pickle module inside paddle.load."""

    def __getattr__(self, name):
        return getattr(pickle, name)

    @staticmethod
    def load(file, **options):
        try:
            return SafeUnpickler(file, **options).load()
        except UnsafeFileError as error:
            raise UnsafeFileError(f"{getattr(file, 'name', 'weights')}: {error}") from None

    @staticmethod
    def loads(data, **options):
        return SafeUnpickler(io.BytesIO(data), **options).load()


def guard_unpickling():
    """Make paddle.load and PaddleNLP's reader of torch files build nothing but tensors and plain containers.

    A .pdparams file is a pickle, and unpickling a stranger's runs their code (shown on PaddleNLP checkpoints at
    Black Hat Asia 2024). Both libraries call pickle without a limit.
    """
    import paddle.framework.io
    import paddle.framework.io_utils

    paddle.framework.io.pickle = paddle.framework.io_utils.pickle = _SafePickle()
    library_find_class = serialization.UnpicklerWrapperStage.find_class

    def find_class(self, module, name):
        # These the library replaces by its own array builders; everything else it would import.
        is_storage = module in ("torch", "torch.storage") and name in serialization._storage_type_to_dtype_to_map()
        if is_storage or module == "torch._utils":
            return library_find_class(self, module, name)
        return find_safe_class(module, name)

    if not getattr(library_find_class, "is_safe", False):
        find_class.is_safe = True
        serialization.UnpicklerWrapperStage.find_class = find_class


guard_unpickling()


# ---------------------------------------------------------------------------------------------- models and tokenizers


def _no_model_message(name, why):
    return (
        f"--model_name_or_path {name}: not a local directory, and it could not be downloaded ({why}). Two ways out: "
        "give the path of a directory with config.json, the weights and the tokenizer; or build the offline encoder "
        "with `python data/build_encoder.py` and give data/offline_encoder"
    )


def load_config_and_tokenizer(name):
    """Load the small files of a model: from a directory, or by name within DOWNLOAD_TIMEOUT seconds.

    Returns:
        tuple: PaddleNLP's config and tokenizer.

    Raises:
        UsageError: no such directory, a broken config.json, no tokenizer, or a name that cannot be downloaded.
    """
    if Path(name).is_dir():
        return _load_local_config(name), _load_local_tokenizer(name)
    if re.match(r"[./~]|[A-Za-z]:[\\/]", str(name)):
        raise UsageError(f"--model_name_or_path {name}: no such directory; give the directory of a saved model")

    def download():
        return AutoConfig.from_pretrained(name), AutoTokenizer.from_pretrained(name)

    try:
        return within_seconds(DOWNLOAD_TIMEOUT, download)
    except (Exception, SystemExit) as error:
        raise UsageError(_no_model_message(name, in_short(error))) from error


def within_seconds(seconds, work, *args):
    """The result of work(*args), which is left to itself where it takes longer.

    Raises:
        TimeoutError: it took longer.
        Exception: what it raised.
    """
    result = {}

    def run():
        try:
            result["value"] = work(*args)
        except BaseException as error:
            result["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if "error" in result:
        raise result["error"]
    if "value" not in result:
        raise TimeoutError(f"no answer within {seconds} s")
    return result["value"]


def _load_local_config(name):
    if not any((Path(name) / file).is_file() for file in ("config.json", "model_config.json")):
        raise UsageError(f"{name}: no config.json in this directory; give the directory of a saved model")
    try:
        return AutoConfig.from_pretrained(name)
    except Exception as error:
        raise UsageError(f"{name}/config.json: cannot be read ({in_short(error)}); save the model again") from error


def _load_local_tokenizer(name):
    try:
        return AutoTokenizer.from_pretrained(name)
    except Exception as error:
        why = in_short(error)
        raise UsageError(
            f"{name}: no usable tokenizer ({why}); copy vocab.txt and tokenizer_config.json beside the weights"
        ) from error


def in_short(error):
    """The first sentence of a library's message, without a trailing half word."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).split(". ")[0][:300]


def max_positions(config):
    """The longest input in tokens that the model has position embeddings for, or None where there is no limit."""
    positions = getattr(config, "max_position_embeddings", None)
    # ERNIE-M and RoBERTa-like models start counting behind the padding id.
    offset = 2 if config.model_type in ("ernie_m", "roberta") else 0
    return positions - offset if positions else None


def uses_token_types(model):
    """False for models such as ERNIE-M whose forward takes no token_type_ids, and for what is built on one."""
    known = getattr(model, "token_types", None)
    return "token_type_ids" in inspect.signature(model.forward).parameters if known is None else known


def load_model(name, config, labels):
    """Load a classifier for `labels`; weights without a classifier head, or with another one, get a fresh head.

    Args:
        name (str): directory or model name.
        config: the model's config.
        labels (list[str]): label names in class order.

    Returns:
        PretrainedModel: forward(input_ids, …) gives logits of shape [batch, len(labels)].

    Raises:
        UsageError: missing, broken or unsafe weights; a name that cannot be downloaded.
    """
    old_labels = stored_labels(config.to_dict())
    options = {"num_labels": len(labels), "ignore_mismatched_sizes": True}
    model = load_weights(AutoModelForSequenceClassification, name, **options)
    if old_labels is not None and old_labels != labels:
        logger.warning(
            f"{name} was trained on other labels ({len(old_labels)}: {' '.join(old_labels[:12])}); its encoder is "
            f"kept, the classifier head is initialised anew for {len(labels)} labels"
        )
        reset_head(model)
    # ignore_mismatched_sizes leaves LABEL_n names behind.
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: index for index, label in enumerate(labels)}
    model.config.use_cache = False  # a HuggingFace config says True, and fine-tuning fails on it
    return model


def load_weights(auto_class, name, **options):
    """Load a model by one of PaddleNLP's Auto classes, with the ways of its weights to fail said in plain words.

    Args:
        auto_class: AutoModelForSequenceClassification or another.
        name (str): directory or model name.
        **options: for from_pretrained.

    Raises:
        UsageError: missing, broken or unsafe weights; a name that cannot be downloaded.
    """
    try:
        with loadable_directory(name) as (directory, more_options):
            return auto_class.from_pretrained(directory, **options, **more_options)
    except UsageError:
        raise
    except Exception as error:
        if Path(name).is_dir():
            raise UsageError(
                f"{name}: the weights cannot be loaded ({in_short(error)}); the file is missing, cut "
                "short or of another model: save or download it again"
            ) from error
        raise UsageError(_no_model_message(name, in_short(error))) from error


def load_masked_lm(name):
    """Load a model with its head for masked words.

    Raises:
        UsageError: the weights have no such head.
    """
    missing = []
    with note_missing_weights(missing):
        model = load_weights(AutoModelForMaskedLM, name)
    encoder = f"{model.base_model_prefix}."
    # The decoder may be missing: it is tied to the word embeddings.
    if any(not key.startswith(encoder) and "decoder" not in key for key in missing):
        raise UsageError(
            f"--model_name_or_path {name}: an encoder without a head for masked words, needed here; build one "
            "with `python data/build_encoder.py --mlm_texts FILE …`"
        )
    return model


@contextlib.contextmanager
def note_missing_weights(missing):
    """Add the names of weights that from_pretrained does not find to a list; it only logs them itself."""
    original = PretrainedModel.__dict__["_load_pretrained_model"]

    def load(cls, *args, **kwargs):
        result = original.__func__(cls, *args, **kwargs)
        missing.extend(result[1])
        return result

    PretrainedModel._load_pretrained_model = classmethod(load)
    try:
        yield
    finally:
        PretrainedModel._load_pretrained_model = original


def reset_head(model):
    """Draw the classifier's weights anew, as at the model's creation: normal(0, initializer_range), bias 0."""
    scale = getattr(model.config, "initializer_range", 0.02)
    head = model.classifier
    for layer in [head] if isinstance(head, paddle.nn.Linear) else head.sublayers():
        if isinstance(layer, paddle.nn.Linear):
            layer.weight.set_value(paddle.normal(0.0, scale, layer.weight.shape))
            layer.bias.set_value(paddle.zeros_like(layer.bias))


@contextlib.contextmanager
def loadable_directory(name):
    """Yield a directory that from_pretrained can read, and the options it needs.

    A HuggingFace directory needs convert_from_torch, which writes model_state.pdparams beside the source's weights:
    it is given a temporary directory of links instead.
    """
    source = Path(name)
    torch_files = ("model.safetensors", "pytorch_model.bin")
    is_torch = source.is_dir() and not (source / MODEL_FILE).exists() and not (source / "model.pdparams").exists()
    if not is_torch or not any((source / file).exists() for file in torch_files):
        yield name, {}
        return
    with tempfile.TemporaryDirectory() as folder:
        for path in source.iterdir():
            if path.is_file():
                try:
                    os.symlink(path.resolve(), Path(folder) / path.name)
                except OSError:
                    shutil.copy(path, folder)
        yield folder, {"convert_from_torch": True}
