"""Exports for the tests of deploy/, the texts they are asked about, and their Triton repository's configs."""

import random

import numpy as np

from core.export import export_classifier
from core.families import mask_padding
from core.loading import load_config_and_tokenizer
from deploy.simple_serving.query import text_problem
from tests.helpers import LABELS

OTHER_LABELS = ["甲", "乙", "丙"]
PATH_LABELS = ["病/诊断", "钱", "病/就医"]
TEXTS = ["头疼挂什么科", "医保卡能刷吗", "高血压患者能不能喝咖啡，一天最多几杯？" * 5]

# Between random characters: known words, white space, special tokens, compositions, scripts, words of 100 letters.
PIECES = """头疼 怎么办 a CT é e\u0301 [SEP] [MASK] [pad] [S\u0378EP] [[CLS]] ## ＡＢ１ ① β İ \u200b \x00 \ufffd 🤒
👨\u200d👩\u200d👧 한국 ありがとう ไข้ ü ﬃ""".split()
PIECES += [" ", "\t", "\n", "\u3000", "x" * 101, "x" * 100]


def export_flags(data, checkpoint, folder, *types):
    flags = {"data_dir": data, "model_name_or_path": checkpoint, "output_dir": checkpoint, "export_model_dir": folder}
    named = [text for name, value in flags.items() for text in (f"--{name}", str(value))]
    return ["--do_export", "--device", "cpu", *named, "--export_type", *types]


def export_ernie_m(model_dir, folder, max_length, types=("paddle",), masked=True):
    """Export a random ERNIE-M as a classifier of LABELS; its padding may be left unmasked, as PaddleNLP leaves it."""
    import paddle
    from paddlenlp.transformers import ErnieMForSequenceClassification

    paddle.seed(1)
    model = ErnieMForSequenceClassification.from_pretrained(str(model_dir), num_classes=3)
    weight = model.classifier.weight
    weight.set_value(weight * 100)  # else all answers are nearly the same
    _, tokenizer = load_config_and_tokenizer(str(model_dir))
    export_classifier(mask_padding(model) if masked else model, tokenizer, LABELS, max_length, folder, types=types)


def read_config(folder):
    """config.pbtxt as Triton reads it and as it hands it to Python models."""
    from google.protobuf import json_format, text_format
    from tritonclient.grpc import model_config_pb2

    config = text_format.Parse((folder / "config.pbtxt").read_text("utf-8"), model_config_pb2.ModelConfig())
    return json_format.MessageToDict(config, preserving_proto_field_name=True)


def as_input(texts):
    return {"INPUT": np.array([text.encode("utf-8") for text in texts], dtype=object)[:, None]}


def readable(texts):
    """Those that the servers answer: others, such as empty ones, are refused."""
    return [text for text in texts if text_problem(text, 10_000) is None]


def odd_texts(count):
    """Texts of every part of Unicode between known words, special tokens, long ones, empty ones."""
    rng = random.Random(0)
    texts = ["", " ", "\x00", "\u0378", "头" * 500, "x " * 200, *PIECES]
    while len(texts) < count:
        size = rng.choice([1, 3, 8, 40])
        planes = rng.choice([0x250, 0x3000, 0x10000, 0x3FFFF, 0x110000])
        codes = [rng.randrange(planes) for _ in range(size)]
        parts = [chr(code) for code in codes if not 0xD800 <= code < 0xE000] + rng.choices(PIECES, k=size)
        rng.shuffle(parts)
        texts.append("".join(parts))
    return texts
