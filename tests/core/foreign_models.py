"""Directories of models of all families, made of a tiny model of PaddleNLP; some as HuggingFace writes them."""

import io
import json
import pickle
import re
import struct
import sys
import types
import zipfile

import numpy as np

# PaddleNLP's name -> HuggingFace's, as transformers 4.45 writes them.
PARTS = "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.out_proj norm1 linear1 linear2 norm2".split()
THEIRS = {
    "bert": "attention.self.query attention.self.key attention.self.value attention.output.dense "
    "attention.output.LayerNorm intermediate.dense output.dense output.LayerNorm",
    "distilbert": "attention.q_lin attention.k_lin attention.v_lin attention.out_lin sa_layer_norm ffn.lin1 ffn.lin2 "
    "output_layer_norm",
    "ernie_m": "self_attn.self_attn.q_proj self_attn.self_attn.k_proj self_attn.self_attn.v_proj self_attn.out_proj "
    "norm1 linear1 linear2 norm2",
}
LAYER = {family: dict(zip(PARTS, names.split())) for family, names in THEIRS.items()}
LAYERS = {"distilbert": "transformer.layer", "ernie_m": "encoder.layers"}


def foreign_state(model):
    """The weights of a PaddleNLP model as HuggingFace's: dict[str, np.ndarray]."""
    family, state = model.config.model_type, {}
    buffers = {name for name, _ in model.named_buffers()}
    for name, tensor in model.state_dict().items():
        if name in buffers:
            continue
        value = tensor.numpy()
        if value.ndim == 2 and not name.endswith("_embeddings.weight"):
            value = value.T
        match = re.fullmatch(r"(.*)encoder\.layers\.(\d+)\.(.*)\.(weight|bias)", name)
        if match:
            prefix, number, part, kind = match.groups()
            part = LAYER.get(family, LAYER["bert"])[part]
            name = f"{prefix}{LAYERS.get(family, 'encoder.layer')}.{number}.{part}.{kind}"
        if family == "albert":
            name = re.sub("^transformer", "albert", name).replace("attention.layer_norm", "attention.LayerNorm")
        if family != "ernie_m":
            name = name.replace("embeddings.layer_norm", "embeddings.LayerNorm")
        state[name] = np.ascontiguousarray(value)
    return state


def old_names(state):
    """LayerNorms' weights as TensorFlow calls them, in files of before 2019."""
    ends = {r"LayerNorm\.weight$": "LayerNorm.gamma", r"LayerNorm\.bias$": "LayerNorm.beta"}
    result = {}
    for name, value in state.items():
        for end, new in ends.items():
            name = re.sub(end, new, name)
        result[name] = value
    return result


def to_bfloat16(value):
    """The upper halves of float32 numbers: uint16."""
    return (np.ascontiguousarray(value, "float32").view(np.uint32) >> 16).astype(np.uint16)


def write_safetensors(path, state, dtype="F32"):
    """Write a .safetensors file by its definition: length of the header, header, numbers."""
    convert = {"F32": lambda value: value.astype("<f4"), "F16": lambda value: value.astype("<f2"), "BF16": to_bfloat16}
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, value in state.items():
        numbers = convert[dtype](value).tobytes()
        offsets = [len(data), len(data) + len(numbers)]
        header[name] = {"dtype": dtype, "shape": list(value.shape), "data_offsets": offsets}
        data += numbers
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_shards(folder, state, index="model.safetensors.index.json", write=write_safetensors):
    """Write a model in two files and their index."""
    names = sorted(state)
    halves = [names[::2], names[1::2]]
    stem, ending = index.split(".")[:2]
    files = [f"{stem}-0000{number}-of-00002.{ending}" for number in (1, 2)]
    for file, half in zip(files, halves):
        write(folder / file, {name: state[name] for name in half})
    weight_map = {name: file for file, half in zip(files, halves) for name in half}
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def write_torch(path, state, legacy=False, bfloat16=False):
    """Write a dict of tensors as torch.save does: in a zip file, or one pickle after another as before version 1.6."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    kind = "BFloat16Storage" if bfloat16 else "FloatStorage"
    storage_class = type(kind, (), {"__module__": "torch"})
    setattr(torch, kind, storage_class)

    def rebuild(*args):
        raise AssertionError("only its name is written")

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2, torch._utils = rebuild, utils

    class Storage:
        def __init__(self, key, numel):
            self.key, self.numel = key, numel

    class Tensor:
        def __init__(self, key, value):
            self.storage, self.value = Storage(key, value.size), value

        def __reduce__(self):
            shape = self.value.shape
            stride = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
            return rebuild, (self.storage, 0, shape, stride, False, {})

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if isinstance(value, Storage):
                more = (None,) if legacy else ()
                return ("storage", storage_class, value.key, "cpu", value.numel, *more)

    values = {str(number): value for number, value in enumerate(state.values())}
    numbers = {key: (to_bfloat16(v) if bfloat16 else v.astype("<f4")).tobytes() for key, v in values.items()}
    content = {name: Tensor(key, value) for name, (key, value) in zip(state, values.items())}
    known = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules.update({"torch": torch, "torch._utils": utils})
    try:
        buffer = io.BytesIO()
        Pickler(buffer, 2).dump(content)
    finally:
        for name, module in known.items():
            sys.modules.pop(name) if module is None else sys.modules.__setitem__(name, module)
    if legacy:
        head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
        pieces = [*(pickle.dumps(value, 2) for value in head), buffer.getvalue(), pickle.dumps(list(values), 2)]
        pieces += [struct.pack("<q", values[key].size) + numbers[key] for key in values]
        path.write_bytes(b"".join(pieces))
        return
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", buffer.getvalue())
        for key, data in numbers.items():
            archive.writestr(f"archive/data/{key}", data)


def tiny_classifier(family, seed=0, spread=0.2, **config):
    """A random classifier of one of core.families.FAMILIES: one layer, 48 units, 60 tokens, 3 classes."""
    import paddle
    import paddlenlp.transformers

    from core.families import FAMILIES

    model_class = getattr(paddlenlp.transformers, f"{FAMILIES[family]}ForSequenceClassification")
    sizes = {"vocab_size": 60, "hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "num_labels": 3}
    sizes.update(intermediate_size=64, max_position_embeddings=40, embedding_size=48, type_vocab_size=2)
    paddle.seed(seed)
    model = model_class(model_class.config_class(**{**sizes, **config}))
    for _, parameter in model.named_parameters():
        noise = paddle.randn(parameter.shape) * spread
        parameter.set_value(noise if parameter.ndim > 1 else parameter + noise)
    model.eval()
    return model


def save_tiny_encoder(folder, family, texts, **config):
    """Draw an encoder of one of core.families.FAMILIES but ERNIE-M, and save it with a vocab.txt of the texts.

    Args:
        folder (Path): is made.
        family (str): its tokenizer is PaddleNLP's, where tokens are characters.
        texts (Iterable[str]): their characters are the vocabulary, in which padding has number 1, whatever the config
            says.
        **config: other values; one layer, 48 units, and where a family can have it 24 for the embeddings.
    """
    import paddle
    import paddlenlp.transformers

    from core.families import FAMILIES

    folder.mkdir()
    special = "<s> <pad> </s> [UNK] <mask>" if family == "mpnet" else "[CLS] [PAD] [SEP] [UNK] [MASK]"
    characters = sorted({character for text in texts for character in text.lower() if character.strip()})
    tokens = [*special.split(), *characters]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    model_class = getattr(paddlenlp.transformers, f"{FAMILIES[family]}Model")
    sizes = {"vocab_size": len(tokens), "hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    sizes.update(intermediate_size=64, max_position_embeddings=66, type_vocab_size=2)
    sizes["embedding_size"] = 24 if family in ("albert", "electra", "roformer") else 48
    paddle.seed(0)
    model_class(model_class.config_class(**{**sizes, **config})).save_pretrained(str(folder))
    return folder


def foreign_config(model):
    """A model's config.json as HuggingFace writes it."""
    config = model.config.to_dict()
    names = """
        vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size max_position_embeddings
        type_vocab_size pad_token_id embedding_size use_task_id hidden_act dim n_heads n_layers hidden_dim
        task_type_vocab_size
    """.split()
    kept = {name: config[name] for name in names if config.get(name) is not None}
    kept.update(architectures=[type(model).__name__], model_type=model.config.model_type, torch_dtype="float32")
    return {**kept, "id2label": {str(index): f"LABEL_{index}" for index in range(3)}, "use_cache": True}


def write_foreign(folder, model, write=None, vocab="[PAD] [UNK] [CLS] [SEP] [MASK]", **config):
    """Write a directory of HuggingFace with a model's weights, and a vocab.txt of 60 tokens.

    Args:
        folder (Path): is made.
        model: of PaddleNLP.
        write (Callable | None): from the folder and the weights under HuggingFace's names; None writes
            model.safetensors.
        vocab (str): the first tokens.
        **config: more for config.json; None takes an entry out.
    """
    folder.mkdir()
    tokens = [*vocab.split(), *"头疼应该挂什么科孩子发烧咳嗽是怎回事"]
    tokens += [f"[unused{number}]" for number in range(60 - len(tokens))]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    content = {**foreign_config(model), **config}
    content = {name: value for name, value in content.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(content))
    state = foreign_state(model)
    if write is None:
        write_safetensors(folder / "model.safetensors", state)
    else:
        write(folder, state)
    return folder
