"""Loading a model by name or from a directory, whoever wrote it: device, config, tokenizer, weights.

Where PaddleNLP 2.8.1 or Paddle 2.6.2 is wrong, the smallest piece is overridden here, and the comment says which
fault it mends.
"""

import contextlib
import importlib
import inspect
import logging
import os
import re
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
from paddlenlp.utils.log import logger

from core.checkpoints import stored_labels
from core.families import FAMILIES, mask_padding
from core.foreign import MODEL_FILE, loadable_directory, read_family, tokenizer_class_name  # noqa: F401
from core.heads import set_pooling
from core.ngram_layer import note_tower, restore_tower, tower_names
from utils import UsageError

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
        config, tokenizer = _load_local(name)
        config.pad_token_id = tokenizer.pad_token_id  # what batches are padded with is what must be masked
        return config, tokenizer
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


def _load_local(name):
    """Config and tokenizer of a directory; what they are is read from its files, PaddleNLP reads it from the path."""
    family = read_family(name)
    path = os.path.abspath(name)
    try:
        # By the model's class: PPMiniLM's config cannot be had from paddlenlp.transformers.
        config = _class_of(f"{FAMILIES[family]}Model").config_class.from_pretrained(path)
    except Exception as error:
        raise UsageError(f"{name}/config.json: cannot be read ({in_short(error)}); save the model again") from error
    class_name = tokenizer_class_name(name, family)
    try:
        tokenizer = _class_of(class_name).from_pretrained(path)
    except Exception as error:
        raise UsageError(
            f"{name}: no usable tokenizer ({in_short(error)}); copy vocab.txt and tokenizer_config.json beside the "
            "weights"
        ) from error
    return config, tokenizer


def _class_of(name):
    """One of PaddleNLP's classes."""
    folder = AutoTokenizer._name_mapping.get(name)  # not all of these can be had from paddlenlp.transformers
    module = "paddlenlp.transformers" + (f".{folder}.tokenizer" if folder else "")
    found = getattr(importlib.import_module(module), name, None)
    if found is None:
        raise ValueError(f"PaddleNLP has no {name}")
    return found


def in_short(error):
    """The first sentence of a library's message, without a trailing half word."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).split(". ")[0][:300]


def max_positions(config):
    """The longest input in tokens that the model has position embeddings for, or None where there is no limit."""
    positions = getattr(config, "max_position_embeddings", None)
    # ERNIE-M and RoBERTa-like models start counting behind the padding id.
    offset = 2 if config.model_type in ("ernie_m", "mpnet", "roberta") else 0
    return positions - offset if positions else None


def check_length(flag, length, config, name):
    """Raise UsageError where a model (its config, and its name) has no positions for so many tokens as a flag asks."""
    positions = max_positions(config)
    if positions and length > positions:
        raise UsageError(f"{flag} {length}: {name} has positions for {positions}; use at most that")


def uses_token_types(model):
    """False for models such as ERNIE-M whose forward takes no token_type_ids, and for what is built on one."""
    known = getattr(model, "token_types", None)
    forward = getattr(model, "plain_forward", model.forward)  # see core.families.MaskedPadding
    return "token_type_ids" in inspect.signature(forward).parameters if known is None else known


def load_model(name, config, labels, pooling=None, tower=True):
    """Load a classifier for `labels`; weights without a classifier head, or with another one, get a fresh head.

    Args:
        name (str): directory or model name.
        config: the model's config.
        labels (list[str]): label names in class order.
        pooling (str | None): cls or mean, what the head reads; None means as the model was trained.
        tower (bool): whether a model that was saved with n-gram features keeps them (core/ngram_layer.py).

    Returns:
        PretrainedModel: forward(input_ids, …) gives logits of shape [batch, len(labels)].

    Raises:
        UsageError: missing, broken or unsafe weights; a name that cannot be downloaded.
    """
    old_labels = stored_labels(config.to_dict())
    options = {"num_labels": len(labels), "pad_token_id": config.pad_token_id}
    model = load_weights(AutoModelForSequenceClassification, name, **options)
    if old_labels is not None and old_labels != labels:
        logger.warning(
            f"{name} was trained on other labels ({len(old_labels)}: {' '.join(old_labels[:12])}); its encoder is "
            f"kept, the classifier head is initialised anew for {len(labels)} labels"
        )
        reset_head(model)
    # Another number of labels leaves LABEL_n names behind.
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: index for index, label in enumerate(labels)}
    set_pooling(model, pooling)
    return restore_tower(model, name, tower)


def load_weights(auto_class, name, **options):
    """Load a model by one of PaddleNLP's Auto classes: every weight of the encoder, in float32, padding masked.

    Args:
        auto_class: AutoModelForSequenceClassification or another.
        name (str): directory or model name.
        **options: for from_pretrained.

    Raises:
        UsageError: missing, broken or unsafe weights; weights that are another model's; a name that cannot be
            downloaded; a model whose padding cannot be masked.
    """
    found = []
    try:
        with loadable_directory(name) as (directory, more), _noted(found), _without_library_warnings():
            options = {"ignore_mismatched_sizes": True, "dtype": "float32", **options, **more}
            model = auto_class.from_pretrained(directory, **options)
    except UsageError:
        raise
    except Exception as error:
        if found:
            check_encoder(name, *found[-1])  # knows more than "The state dictionary … is corrupted"
        if Path(name).is_dir():
            raise UsageError(
                f"{name}: the weights cannot be loaded ({in_short(error)}); the file is missing, cut "
                "short or of another model: save or download it again"
            ) from error
        raise UsageError(_no_model_message(name, in_short(error))) from error
    check_encoder(name, *found[-1])
    model.config.use_cache = False  # a HuggingFace config says True: answers would be tuples, and fine-tuning fails
    return mask_padding(model)


@contextlib.contextmanager
def _noted(found):
    """Add (model, names in the file, mismatched weights) to a list for each model that from_pretrained fills.

    The library leaves weights random that the file lacks, or has in another size, and only logs it.
    """
    original = PretrainedModel.__dict__["_load_pretrained_model"]

    def load(cls, model, state_dict, loaded_keys, *args, **kwargs):
        mismatched = []
        note_tower(model, state_dict)
        found.append((model, list(loaded_keys), mismatched))
        result = original.__func__(cls, model, state_dict, loaded_keys, *args, **kwargs)
        mismatched.extend(result[3])
        return result

    PretrainedModel._load_pretrained_model = classmethod(load)
    try:
        yield
    finally:
        PretrainedModel._load_pretrained_model = original


@contextlib.contextmanager
def _without_library_warnings():
    """check_encoder says what these do, and tells a new head from a missing encoder."""

    def is_other(record):
        return not record.getMessage().startswith("Some weights of")

    library = logging.getLogger("PaddleNLP")
    library.addFilter(is_other)
    try:
        yield
    finally:
        library.removeFilter(is_other)


def check_encoder(name, model, loaded, mismatched):
    """Make sure that a file supplied the whole encoder; say in a line what is new in the model, and what is left over.

    Args:
        name (str): directory or model name, for messages.
        model (PretrainedModel): the loaded one.
        loaded (list[str]): the weights' names in the file.
        mismatched (list[tuple]): name in the file, its shape, and the model's, of weights that were not loaded.

    Raises:
        UsageError: a weight of the encoder is missing or has another shape.
    """
    names = _names_in_file(model, loaded)
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    encoder = {names[key] for key in names if key.startswith(prefix)}
    random = _not_supplied(model, loaded)
    config = f"config.json{_layers(model.config, loaded)}"
    wrong = [f"{key} is {list(has)} instead of {list(wants)}" for key, has, wants in mismatched if key in encoder]
    if wrong:
        raise UsageError(
            f"{name}: {len(wrong)} of the encoder's weights have another shape than config.json says: {wrong[0]}"
            f"{_and_more(wrong, 1)}; give weights and config.json of one model"
        )
    wanted = {key for key in encoder if not re.search(r"(^|\.)pooler\.", key)}
    missing = sorted(wanted.intersection(random))
    if missing:
        raise UsageError(
            f"{name}: the weights lack {len(missing)} of the encoder's {len(wanted)}, which would be random: "
            f"{', '.join(missing[:3])}{_and_more(missing, 3)}; the file is cut short or another model's, or {config} "
            "is. Save or download both again"
        )
    known = {*names.values(), *tower_names(model, loaded)}
    left = sorted(key for key in set(loaded) - known if not key.endswith("_ids"))
    depth = 2 if _has_prefix(model, loaded) else 1  # bert.embeddings, bert.encoder; or embeddings, encoder
    inside = {tuple(key.split(".")[:depth]) for key in wanted}
    strange = [key for key in left if tuple(key.split(".")[:depth]) in inside]
    if strange:
        logger.warning(
            f"{name}: {len(strange)} weights of the file have no place in this encoder and are left out: "
            f"{', '.join(strange[:3])}{_and_more(strange, 3)}; check {config}"
        )
    new = _parts([*random, *(key for key, *_ in mismatched)])
    old = _parts(set(left) - set(strange))
    if new or old:
        said = [f"drawn anew: {', '.join(new)}"] * bool(new) + [f"not needed: {', '.join(old)}"] * bool(old)
        logger.info(f"{name}: the encoder is loaded whole; {'; '.join(said)}")


def _has_prefix(model, loaded):
    """Whether the names in a file begin with the encoder's, as the library decides it: all of them do, or none."""
    return any(key.startswith(model.base_model_prefix) for key in loaded)


def _names_in_file(model, loaded):
    """What a model's weights are called in a file with these names: dict from the name in the model; no buffers."""
    prefix, buffers = f"{model.base_model_prefix}.", {key for key, _ in model.named_buffers()}
    keys = [key for key in model.state_dict() if key not in buffers]
    if model.base_model is model:
        return {key: prefix + key if _has_prefix(model, loaded) else key for key in keys}
    return {key: key if _has_prefix(model, loaded) else key.removeprefix(prefix) for key in keys}


def _not_supplied(model, loaded):
    """The names, as in the file, of weights that it does not have; one that is tied to another is that one."""
    values, has = model.state_dict(), set(loaded)
    names = _names_in_file(model, loaded)
    supplied = {id(values[key]) for key, name in names.items() if name in has}
    return sorted(name for key, name in names.items() if id(values[key]) not in supplied)


def _layers(config, loaded):
    """How config.json and the file differ in the number of layers; empty where they do not."""
    numbers = [int(match[1]) for match in (re.search(r"encoder\.layers\.(\d+)\.", key) for key in loaded) if match]
    said = getattr(config, "num_hidden_layers", None)
    if not numbers or said is None or max(numbers) + 1 == said:
        return ""
    return f" (num_hidden_layers {said}, where the file has {max(numbers) + 1} layers)"


def _and_more(values, shown):
    return f" and {len(values) - shown} more" if len(values) > shown else ""


def _parts(names):
    """The parts of a model that weights belong to, such as classifier, bert.pooler and cls.predictions."""
    return sorted({".".join(name.split(".")[:-1][:2]) or name for name in names})


def load_masked_lm(name):
    """Load a model with its head for masked words.

    Raises:
        UsageError: the weights have no such head.
    """
    missing = []
    with note_missing_weights(missing):
        model = load_weights(AutoModelForMaskedLM, name)
    if lacks_head(model, missing):
        raise UsageError(
            f"--model_name_or_path {name}: an encoder without a head for masked words, needed here; build one "
            "with `python data/build_encoder.py --mlm_texts FILE …`"
        )
    return model


def lacks_head(model, missing):
    """Whether the head of a model for masked words is among the missing weights (see note_missing_weights)."""
    encoder = f"{model.base_model_prefix}."
    # The decoder may be missing: it is tied to the word embeddings.
    return any(not key.startswith(encoder) and "decoder" not in key for key in missing)


@contextlib.contextmanager
def note_missing_weights(missing):
    """Add the names of weights that from_pretrained leaves random to a list; it only logs them itself."""
    found = []
    with _noted(found):
        yield
    for model, loaded, mismatched in found:
        missing.extend(_not_supplied(model, loaded))
        missing.extend(key for key, *_ in mismatched)


def reset_head(model):
    """Draw the classifier's weights anew, as at the model's creation: normal(0, initializer_range), bias 0."""
    scale = getattr(model.config, "initializer_range", 0.02)
    head = model.classifier
    for layer in [head] if isinstance(head, paddle.nn.Linear) else head.sublayers():
        if isinstance(layer, paddle.nn.Linear):
            layer.weight.set_value(paddle.normal(0.0, scale, layer.weight.shape))
            layer.bias.set_value(paddle.zeros_like(layer.bias))
