"""The shipped sample set keeps what the README says of it."""

import itertools
from collections import Counter

from tests.helpers import ROOT
from utils import read_examples, read_labels, read_lines

DATA = ROOT / "data"
LABELS = read_labels(DATA / "label.txt")
SPLITS = {split: read_examples(DATA / f"{split}.txt", LABELS) for split in ("train", "dev")}
UNLABELLED = read_lines(DATA / "data.txt")


def test_labels_and_counts():
    kuake_qic = "病情诊断 治疗方案 病因分析 指标解读 就医建议 疾病表述 后果表述 注意事项 功效作用 医疗费用 其他"
    assert kuake_qic.split() == LABELS
    assert min(Counter(SPLITS["train"][1]).values()) >= 60 and min(Counter(SPLITS["dev"][1]).values()) >= 15
    assert set(SPLITS["train"][1]) == set(SPLITS["dev"][1]) == set(range(11)) and len(UNLABELLED) >= 60


def test_no_two_texts_differ_in_one_place_only():
    """Common beginning and common end cover less than 60 % of the longer text, for all pairs."""
    texts = [*SPLITS["train"][0], *SPLITS["dev"][0], *UNLABELLED]
    assert len(set(texts)) == len(texts)
    for one, other in itertools.combinations(texts, 2):
        if one[0] != other[0] and one[-1] != other[-1]:
            continue
        shorter = min(len(one), len(other))
        start = next((i for i in range(shorter) if one[i] != other[i]), shorter)
        end = next((i for i in range(shorter - start) if one[-1 - i] != other[-1 - i]), shorter - start)
        assert (start + end) / max(len(one), len(other)) < 0.6, (one, other)
