"""data/split.py: proportions, near-duplicates on one side, folds, seeds, refusals."""

from collections import Counter

import numpy as np
import pytest
import split
from tests.helpers import ROOT
from near_duplicates import similarity

from utils import UsageError, read_examples, read_labels


@pytest.fixture(scope="module")
def samples():
    """The shipped sample data with near copies of some texts."""
    labels = read_labels(ROOT / "data" / "label.txt")
    texts, ids = read_examples(ROOT / "data" / "train.txt", labels)
    copies = list(range(0, 880, 11))
    return texts + [f"请问{texts[row]}呢" for row in copies], ids + [ids[row] for row in copies], labels


@pytest.fixture
def file(tmp_path, samples):
    texts, ids, labels = samples
    path = tmp_path / "all.txt"
    path.write_bytes("".join(f"{text}\t{labels[i]}\n" for text, i in zip(texts, ids)).encode("utf-8"))
    return path


def read_parts(folder, names=("train", "dev", "test")):
    labels = read_labels(folder / "label.txt")
    return [read_examples(folder / f"{name}.txt", labels) for name in names]


def test_every_label_in_the_same_proportions(samples):
    texts, ids, labels = samples
    parts, order = split.assign(split.similar_groups(texts), ids, [0.8, 0.1, 0.1], seed=3)
    assert sorted(order.tolist()) == list(range(len(texts)))
    for label in range(len(labels)):
        counts = np.bincount(parts[np.array(ids) == label], minlength=3)
        assert abs(counts - counts.sum() * np.array([0.8, 0.1, 0.1])).max() <= 1


def test_near_duplicates_never_straddle(samples):
    texts, ids, _ = samples
    parts, _ = split.assign(split.similar_groups(texts), ids, [0.5, 0.25, 0.25], seed=3)
    forms = split.normalise(texts)
    for copy in range(880, len(texts)):
        original = (copy - 880) * 11
        if similarity(forms[copy], forms[original]) >= 0.8:
            assert parts[copy] == parts[original]
    assert sum(similarity(forms[copy], forms[(copy - 880) * 11]) >= 0.8 for copy in range(880, len(texts))) > 10
    # Groups go to all parts: a dev without hard-to-tell families would flatter the model.
    assert len(set(parts[880:])) == 3


def test_equal_texts_stay_together_without_a_threshold():
    texts = ["头疼怎么办", "头疼怎么办？", *(f"第{number}句" for number in range(18))]
    for seed in range(20):
        parts, _ = split.assign(split.similar_groups(texts, 0), [0] * 20, [0.5, 0.5], seed)
        assert parts[0] == parts[1]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([1], [[1, 0, 0]]),
        ([2], [[1, 1, 0]]),
        ([3], [[1, 1, 1]]),
        ([10], [[8, 1, 1]]),
        ([5, 5], [[3, 1, 1], [3, 1, 1]]),
    ],
)
def test_rare_labels_reach_dev_and_test(counts, expected):
    texts = [f"{'甲乙丙丁'[label]}{number}" for label, count in enumerate(counts) for number in range(count)]
    ids = [label for label, count in enumerate(counts) for _ in range(count)]
    parts, _ = split.assign(split.similar_groups(texts, 0), ids, [0.8, 0.1, 0.1], seed=0)
    assert [
        np.bincount(parts[np.array(ids) == label], minlength=3).tolist() for label in range(len(counts))
    ] == expected


def test_seed_decides(samples):
    texts, ids, _ = samples
    groups = split.similar_groups(texts)
    first, again, other = (split.assign(groups, ids, [0.8, 0.1, 0.1], seed)[0] for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


def test_without_shuffling_the_order_of_the_file_decides():
    texts = [f"句子{number}" for number in range(20)]
    parts, order = split.assign(split.similar_groups(texts, 0), [0, 1] * 10, [0.8, 0.2], 5, shuffle=False)
    assert order.tolist() == list(range(20))
    assert parts.tolist() == [0] * 16 + [1] * 4


def test_files(file, tmp_path, samples, capsys):
    split.main(["--input_file", str(file), "--save_dir", str(tmp_path / "out")])
    parts = read_parts(tmp_path / "out")
    assert Counter(text for part in parts for text in part[0]) == Counter(samples[0])
    assert all(abs(len(part[0]) - share * 960) <= 3 for part, share in zip(parts, (0.8, 0.1, 0.1)))
    assert read_labels(tmp_path / "out" / "label.txt")[0] == samples[2][samples[1][0]]
    out = capsys.readouterr().out
    assert f"in {tmp_path / 'out'}" in out and "nearly equal texts stayed together; the largest has 2 texts" in out


def test_no_test_file_without_a_share(file, tmp_path):
    split.main(["--input_file", str(file), "--save_dir", str(tmp_path / "out"), "--splits", "0.9", "0.1"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["dev.txt", "label.txt", "train.txt"]


def test_the_order_of_a_label_file_is_kept(file, tmp_path, samples):
    label_file = tmp_path / "label.txt"
    lines = [f"{label}=={label}词" for label in reversed(samples[2])]
    label_file.write_bytes("\n".join(lines).encode("utf-8"))
    flags = ["--input_file", str(file), "--label_file", str(label_file), "--save_dir"]
    split.main([*flags, str(tmp_path / "out")])
    split.main([*flags, str(tmp_path / "folds"), "--folds", "2"])
    for folder in (tmp_path / "out", tmp_path / "folds" / "fold_2"):
        assert read_labels(folder / "label.txt") == list(reversed(samples[2]))
        assert (folder / "label.txt").read_text(encoding="utf-8").splitlines() == lines


def test_folds(file, tmp_path, samples):
    out = tmp_path / "folds"
    split.main(["--input_file", str(file), "--save_dir", str(out), "--folds", "5"])
    dev = Counter()
    for fold in range(1, 6):
        (train_texts, _), (dev_texts, _) = read_parts(out / f"fold_{fold}", ("train", "dev"))
        assert Counter(train_texts) + Counter(dev_texts) == Counter(samples[0])
        assert abs(len(dev_texts) - len(samples[0]) / 5) <= 11
        dev.update(dev_texts)
    assert dev == Counter(samples[0])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--splits", "0.8", "0.1"], "in sum 1"),
        (["--splits", "0", "0.5", "0.5"], "train gets nothing"),
        (["--splits", "1"], "in sum 1"),
        (["--folds", "1"], "give 2 or more"),
        (["--folds", "100000"], "too many"),
        (["--near_duplicate_threshold", "2"], "from 0 to 1"),
        (["--input_file", "nowhere.txt"], "nowhere.txt: no such file"),
    ],
)
def test_refusals(file, tmp_path, flags, message):
    with pytest.raises(UsageError, match=message):
        split.main(["--input_file", str(file), "--save_dir", str(tmp_path / "out"), *flags])
    assert not (tmp_path / "out").exists()


def test_files_that_are_there_are_kept(file, tmp_path):
    (tmp_path / "dev.txt").write_text("mine")
    with pytest.raises(UsageError, match="already has dev.txt; add --force"):
        split.main(["--input_file", str(file), "--save_dir", str(tmp_path)])
    assert (tmp_path / "dev.txt").read_text() == "mine"


def test_a_bad_line_is_named(tmp_path):
    (tmp_path / "all.txt").write_bytes("头疼\t甲\n发烧 乙\n".encode())
    with pytest.raises(UsageError, match="all.txt:2: no tab"):
        split.main(["--input_file", str(tmp_path / "all.txt"), "--save_dir", str(tmp_path / "out")])
