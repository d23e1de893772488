"""Exports of annotation tools, and the training data that doccano.py makes of them."""

import json

from data import doccano
from utils import read_examples, read_labels

TEXTS = {"头疼怎么办": "治疗", "挂哪个科": "就医", "做一次要多少钱": "费用", "为什么总咳嗽": "病因"}


def many(make, count=10):
    """`count` records a label, made by make(text, label)."""
    return [make(f"{text}（第{number}位）", label) for number in range(count) for text, label in TEXTS.items()]


def write_jsonl(path, records):
    path.write_bytes("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode("utf-8"))
    return path


def write_json(path, records):
    path.write_bytes(json.dumps(records, ensure_ascii=False).encode("utf-8"))
    return path


def convert(path, save_dir, *flags):
    doccano.main(["--doccano_file", str(path), "--save_dir", str(save_dir), *map(str, flags)])
    labels = read_labels(save_dir / "label.txt")
    result = {}
    for name in ("train", "dev", "test"):
        if (save_dir / f"{name}.txt").is_file():
            texts, ids = read_examples(save_dir / f"{name}.txt", labels)
            result[name] = [(text, labels[i]) for text, i in zip(texts, ids)]
    return labels, result


MIN_KEYS = {"annotator": 1, "annotation_id": 3, "created_at": "", "updated_at": "", "lead_time": 2.4}


def answers(cancelled, label):
    """Two annotators' answers in Label Studio's JSON; the first took theirs back."""
    return [
        {"was_cancelled": choice == cancelled, "result": [{"type": "choices", "value": {"choices": [choice]}}]}
        for choice in (cancelled, label)
    ]


SHAPES = {
    "a list, as 1.x exports it": lambda text, label: {"id": 7, "text": text, "label": [label], "Comments": []},
    "a string": lambda text, label: {"id": 7, "text": text, "label": label},
    "the same label of two annotators": lambda text, label: {"text": text, "label": [label, label]},
    "labels, as 0.x exports Text-Labels": lambda text, label: {"id": 7, "text": text, "labels": [label], "meta": {}},
    "data, as 1.5 calls the text": lambda text, label: {"id": 7, "data": text, "label": [label]},
    "Label Studio": lambda text, label: {"id": 7, "data": {"text": text}, "annotations": answers("x", label)},
    "Label Studio before 1.0": lambda text, label: {
        "id": 7,
        "data": {"text": text},
        "completions": [{"result": [{"value": {"choices": [label]}}]}],
    },
    "JSON-MIN": lambda text, label: {"text": text, "id": 7, "intent": label, **MIN_KEYS},
    "JSON-MIN with a list": lambda text, label: {"text": text, "intent": {"choices": [label]}, "annotator": 1},
}
