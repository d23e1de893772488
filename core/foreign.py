"""Model directories as others write them: of which family they are, HuggingFace's weights under PaddleNLP's names."""

import contextlib
import errno
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import paddle
import paddlenlp.transformers

from core.checkpoints import refuse_export
from core.families import FAMILIES, unsupported_family
from core.safe_pickle import read_torch
from core.safetensors_files import own_facts, read_safetensors
from utils import UsageError, write_json

MODEL_FILE = "model_state.pdparams"

# What a directory's weights may lie in, the first that is there counts.
PADDLE_FILES = (MODEL_FILE, f"{MODEL_FILE}.index.json")
TORCH_FILES = tuple(
    f"{name}{index}" for name in ("model.safetensors", "pytorch_model.bin") for index in ("", ".index.json")
)

# Families whose weights are converted -> what HuggingFace's names begin with where there is a head, and PaddleNLP's.
PREFIXES = {
    "bert": ("bert", "bert"),
    "ernie": ("ernie", "ernie"),
    "roberta": ("roberta", "roberta"),
    "electra": ("electra", "electra"),
    "distilbert": ("distilbert", "distilbert"),
    "albert": ("albert", "transformer"),
    "ernie_m": ("ernie_m", "ernie_m"),
}

# Inside of an encoder layer, what HuggingFace calls a part -> what PaddleNLP does.
BERT_LAYER = {
    "attention.self.query": "self_attn.q_proj",
    "attention.self.key": "self_attn.k_proj",
    "attention.self.value": "self_attn.v_proj",
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}
DISTILBERT_LAYER = {
    "attention.q_lin": "self_attn.q_proj",
    "attention.k_lin": "self_attn.k_proj",
    "attention.v_lin": "self_attn.v_proj",
    "attention.out_lin": "self_attn.out_proj",
    "sa_layer_norm": "norm1",
    "ffn.lin1": "linear1",
    "ffn.lin2": "linear2",
    "output_layer_norm": "norm2",
}

# Everywhere else, in this order.
NAMES = [
    (r"\.self_attn\.self_attn\.", r".self_attn."),  # ERNIE-M
    (r"cls\.predictions\.transform\.dense\.", r"cls.predictions.transform."),
    (r"cls\.predictions\.transform\.LayerNorm\.", r"cls.predictions.layer_norm."),
    (r"cls\.predictions\.bias$", r"cls.predictions.decoder_bias"),
    (r"LayerNorm\.", r"layer_norm."),
]

# Matrices that are not the weight of a Linear: as they are, where those are transposed.
NOT_TRANSPOSED = re.compile(r"(_embeddings|\.decoder)\.weight$")


# ---------------------------------------------------------------------------------------------- what a directory says


def read_family(directory):
    """The family of a model directory by its config.json, never by its name.

    Returns:
        str: a key of FAMILIES.

    Raises:
        UsageError: another kind of model, or config.json does not say which.
    """
    paths = [Path(directory) / file for file in ("config.json", "model_config.json")]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        refuse_export(directory)
        raise UsageError(f"{directory}: no config.json in this directory; give the directory of a saved model")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); save the model again") from None
    if not isinstance(config, dict):
        raise UsageError(f"{path}: cannot be read (not a JSON object); save the model again")
    kind = config.get("model_type")
    if kind is None:
        names = config.get("architectures") or [config.get("init_class") or ""]
        kind = family_of_class(names[-1])
        if kind is None and names[-1]:
            raise UsageError(f"{path}: {unsupported_family(names[-1])}")
    if kind is None:
        raise UsageError(
            f"{path}: neither model_type nor architectures, so it is not known what model this is; add a line such as "
            '"model_type": "bert"'
        )
    family = str(kind).replace("-", "_")
    family = {"megatron_bert": "megatronbert"}.get(family, family)
    if family == "xlm_roberta":
        raise UsageError(
            f"{directory}: an XLM-RoBERTa (multilingual-e5, bge-m3 and others are, too), which PaddleNLP has no model "
            "for; for many languages use ernie-m-base or `data/build_encoder.py --texts FILE`, for Chinese "
            "data/offline_encoder or an ERNIE"
        )
    if family not in FAMILIES:
        raise UsageError(f"{path}: {unsupported_family(kind)}")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise UsageError(f"{path}: {config['position_embedding_type']} positions, which PaddleNLP has no model for")
    return family


def family_of_class(name):
    """The family of one of PaddleNLP's or HuggingFace's classes, such as ErnieMModel, or None."""
    # The longest beginning counts: "Ernie" begins it, too.
    families = [family for family, flag in FAMILIES.items() if str(name).startswith(flag)]
    return max(families, key=lambda family: len(FAMILIES[family]), default=None)


def tokenizer_class_name(directory, family):
    """The name of PaddleNLP's tokenizer for a directory: as tokenizer_config.json says, else the family's.

    Raises:
        UsageError: the directory has no vocabulary that can be read.
    """
    directory = Path(directory)
    has_characters = (directory / "vocab.txt").is_file()
    pieces = ("vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model")
    if not any((directory / name).is_file() for name in pieces):
        only = "only tokenizer.json, which PaddleNLP does not read" if (directory / "tokenizer.json").is_file() else ""
        raise UsageError(
            f"{directory}: no usable tokenizer ({only or 'none of ' + ', '.join(pieces)}); copy vocab.txt and "
            "tokenizer_config.json beside the weights"
        )
    try:
        config = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        config = {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{directory}/tokenizer_config.json: cannot be read ({error}); copy it again") from None
    name = config.get("init_class") or config.get("tokenizer_class")
    special = {
        "albert": "AlbertChineseTokenizer" if has_characters else "AlbertEnglishTokenizer",
        "roberta": "RobertaChineseTokenizer" if has_characters else "RobertaBPETokenizer",
    }
    own = special.get(family, f"{FAMILIES[family]}Tokenizer")
    # HuggingFace's names; AlbertTokenizer and RobertaTokenizer of PaddleNLP choose by the name of a known model.
    name = (name or own).removesuffix("Fast")
    return own if name in ("AlbertTokenizer", "RobertaTokenizer", "PreTrainedTokenizer") else name


def weights_file(directory):
    """The path of a directory's weights, or of the index of their parts.

    Raises:
        UsageError: there are none that can be read.
    """
    directory = Path(directory)
    for name in (*PADDLE_FILES, *TORCH_FILES):
        if (directory / name).is_file():
            return directory / name
    others = [name for name in ("tf_model.h5", "flax_model.msgpack", "model.onnx") if (directory / name).is_file()]
    found = f"only {' '.join(others)}, which cannot be read here" if others else "the file is missing"
    raise UsageError(
        f"{directory}: the weights cannot be loaded ({found}); there must be one of {MODEL_FILE}, model.safetensors, "
        "pytorch_model.bin"
    )


# ------------------------------------------------------------------------------------------------------------ weights


def convert_weights(path, family, folder):
    """Write model_state.pdparams with the weights of safetensors or torch files, in float32; of those that train.py
    --save_safetensors wrote, all as they are, the integers of n-gram features too.

    Args:
        path (Path): the file, or the index of a model in several.
        family (str): of FAMILIES.
        folder (Path): where to.

    Raises:
        UsageError: no conversion is known for this family's names.
        ValueError, OSError: the file is cut short or broken; there is no room.
    """
    if own_facts(path):
        own = {name: np.array(value) for name, value in read_safetensors(path).items()}
        paddle.save(own, os.fspath(folder / MODEL_FILE))
        return
    state = {}
    for part in parts_of(path):
        read = read_safetensors if part.suffix == ".safetensors" else read_torch
        state.update({name: value for name, value in read(part).items() if value.dtype.kind == "f"})
    if any("LayerNorm" in name or ".self_attn.self_attn." in name for name in state):
        if family not in PREFIXES:
            raise UsageError(
                f"{path}: HuggingFace's weights can be converted for {', '.join(PREFIXES)}, not for {family}; give "
                "weights that PaddleNLP has written"
            )
        state = renamed(state, family)
    state = {name: np.ascontiguousarray(value, "float32").reshape(value.shape) for name, value in state.items()}
    paddle.save(state, os.fspath(folder / MODEL_FILE))


def parts_of(path):
    """The files of a model: itself, or those that its index names.

    Raises:
        UsageError: one is not there.
    """
    if path.suffix != ".json":
        return [path]
    names = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    missing = [name for name in names if Path(name).name != name or not (path.parent / name).is_file()]
    if missing:
        raise UsageError(f"{path}: {missing[0]} is not beside it; download all {len(names)} parts")
    return [path.parent / name for name in names]


def renamed(state, family):
    """HuggingFace's weights as PaddleNLP's: other names, Linear weights as [in, out].

    Args:
        state (dict[str, np.ndarray]): with or without a head.
        family (str): of PREFIXES.

    Returns:
        dict[str, np.ndarray]: views.
    """
    result = {}
    for name, value in state.items():
        new = paddle_name(name, family)
        is_linear = value.ndim == 2 and new.endswith(".weight") and not NOT_TRANSPOSED.search(new)
        result[new] = value.T if is_linear else value
    if "cls.predictions.decoder_bias" in result:
        result.setdefault("cls.predictions.decoder.bias", result["cls.predictions.decoder_bias"])
    return result


def paddle_name(name, family):
    """What PaddleNLP calls the weight that HuggingFace calls `name`."""
    theirs, ours = PREFIXES[family]
    name = re.sub(rf"^{theirs}\.", f"{ours}.", name)
    # In files of before 2019, and in those converted from them.
    name = re.sub(r"(LayerNorm|layer_norm)\.gamma$", r"\1.weight", name)
    name = re.sub(r"(LayerNorm|layer_norm)\.beta$", r"\1.bias", name)
    layer = re.fullmatch(r"(.*\b)(encoder|transformer)\.layer\.(\d+)\.(.+)\.(weight|bias)", name)
    if layer:
        prefix, block, number, part, kind = layer.groups()
        part = (BERT_LAYER if block == "encoder" else DISTILBERT_LAYER).get(part, part)
        return f"{prefix}encoder.layers.{number}.{part}.{kind}"
    for pattern, replacement in NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def write_links(source, folder, left_out=()):
    """Links to a directory's files in another folder; copies where the system allows no links."""
    for path in source.iterdir():
        if path.is_file() and path.name not in left_out:
            try:
                os.symlink(path.resolve(), folder / path.name)
            except OSError:
                shutil.copy(path, folder)


@contextlib.contextmanager
def loadable_directory(name):
    """Yield a directory that from_pretrained can read, and the options it needs.

    A directory of PaddleNLP's own making is read where it is. Another's gets a temporary one: links to its files,
    config.json with the class that its family has here, and the weights under PaddleNLP's names. PaddleNLP's own
    conversion writes beside the source, and leaves LayerNorms random whose names are gamma and beta.

    Args:
        name (str): a directory; a model's name is yielded as it is.

    Raises:
        UsageError: no weights, or none that can be converted; no room for the converted ones.
    """
    source = Path(name)
    if not source.is_dir():
        yield name, {}
        return
    # By its full path: PaddleNLP takes a directory called bert-base-chinese for the model of that name.
    source = Path(os.path.abspath(source))
    family, weights = read_family(source), weights_file(source)
    options = {"use_safetensors": False}  # the library prefers them to weights of its own
    config_file = source / "config.json"
    if not config_file.is_file():  # model_config.json, of PaddleNLP before 2.5
        yield str(source), options
        return
    config = json.loads(config_file.read_text(encoding="utf-8"))
    classes = config.get("architectures") or [""]
    is_own = family_of_class(classes[-1]) == family and hasattr(paddlenlp.transformers, classes[-1])
    if weights.name in PADDLE_FILES and is_own:
        yield str(source), options
        return
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        try:
            if weights.name in PADDLE_FILES:
                write_links(source, folder, ("config.json", *TORCH_FILES))
            else:
                parts = [part.name for part in parts_of(weights)]
                write_links(source, folder, ("config.json", *TORCH_FILES, *parts))
                convert_weights(weights, family, folder)
            class_name = classes[-1] if is_own else f"{FAMILIES[family]}Model"
            write_json(folder / "config.json", {**config, "architectures": [class_name], "model_type": family})
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise UsageError(
                f"{name}: no room in {tempfile.gettempdir()} for the converted weights; free some, or set TMPDIR"
            ) from None
        yield str(folder), options
