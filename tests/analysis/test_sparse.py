"""analysis/sparse.py: both ways on a trained model, and the choices on planted features."""

import numpy as np
import pytest
import sparse

from utils import UsageError


def run(trained, *more):
    data, checkpoint = trained
    sparse.main(["--device", "cpu", "--dataset_dir", str(data), "--params_path", str(checkpoint), "--max_seq_length",
                 "32", *map(str, more)])  # fmt: skip
    return [lines(data / name) for name in ("sparse.txt", "support.txt")]


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def test_augmenting(trained, capsys):
    data, _ = trained
    train, dev = set(lines(data / "train.txt")), lines(data / "dev.txt")
    found, support = run(trained, "--sparse_num", 10, "--support_num", 20)
    assert len(found) == 10 and set(found) <= set(dev) and len(support) == 20
    assert not set(support) & train and {line.split("\t")[1] for line in support} <= {x.split("\t")[1] for x in train}
    out = capsys.readouterr().out
    assert "10 dev samples with a support of" in out and "20 new samples in" in out
    assert run(trained, "--sparse_num", 10, "--support_num", 20) == [found, support]
    # The same samples, as they are.
    copies = run(trained, "--sparse_num", 10, "--support_num", 20, "--aug_strategy", "duplicate")[1]
    assert set(copies) <= train and len(set(copies)) > 10


@pytest.mark.parametrize("strategy", sparse.ANNOTATE_STRATEGIES)
def test_choosing_texts_to_annotate(trained, strategy, capsys):
    data, _ = trained
    train = lines(data / "train.txt")
    known = [line.split("\t")[0] for line in train]
    (data / "train.txt").write_bytes("\n".join(train[:60]).encode())
    (data / "data.txt").write_bytes("\n".join([*known[:200], known[199]]).encode())
    flags = ["--annotate", "--annotate_strategy", strategy, "--support_num", 20, "--sparse_num", 10]
    support = run(trained, *flags)[1]
    assert len(set(support)) == 20 and set(support) <= set(known[60:200])
    assert run(trained, *flags)[1] == support
    assert "20 texts to annotate in" in capsys.readouterr().out
    (data / "data.txt").write_bytes("\n".join(known[:60]).encode())
    with pytest.raises(UsageError, match="all texts are in train.txt"):
        run(trained, *flags)


def unit(*degrees):
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1).astype(np.float32)


def test_the_least_supported_come_first():
    rows, support = sparse.find_sparse(unit(0, 90, 45), unit(0, 5, 10), rationale_num=2, number=2)
    assert rows.tolist() == [1, 2]
    assert support[0] == pytest.approx((1 + np.cos(np.radians(5))) / 2, abs=1e-6)


def test_those_above_the_threshold_come_first():
    rows, reaching = sparse.rank_supporting(unit(0, 2, 60), unit(100, 50, 1, -30), 2, threshold=0.9)
    # 1 degree supports two sparse samples, 50 one; then those below 0.9: -30 degrees twice, 100 once.
    assert rows.tolist() == [2, 1, 3, 0] and reaching == 2


def test_margin_takes_the_closest_calls():
    probabilities = np.array([[0.9, 0.1, 0], [0.5, 0.4, 0.1], [0.45, 0.44, 0.11]])
    assert sparse.smallest_margins(probabilities, 2).tolist() == [2, 1]


def test_badge_begins_with_the_least_sure_and_takes_no_copies():
    features = np.repeat(unit(0, 90), 50, axis=0)
    probabilities = np.tile([0.98, 0.02], (100, 1))
    probabilities[7::10] = [0.55, 0.45]
    chosen = sparse.badge(probabilities, features, 100, seed=0).tolist()
    # Two directions, sure and unsure: after one of each there is nothing left to tell.
    assert chosen[0] == 7 and {(row // 50, row % 10 == 7) for row in chosen} == {
        (a, b) for a in (0, 1) for b in (0, 1)
    }
    assert len(chosen) == 4 and sparse.badge(probabilities, features, 2, seed=0).tolist() == chosen[:2]


def test_refusals(trained):
    for flags, message in (
        (["--sparse_num", 0], "--sparse_num 0"),
        (["--support_threshold", 2], "--support_threshold 2"),
        (["--support_file", "train.txt"], "names that no other flag has"),
        (["--support_file", "sparse.txt"], "names that no other flag has"),
        (["--annotate", "--unlabeled_file", "no.txt"], "no.txt: no such file"),
    ):
        with pytest.raises(UsageError, match=message):
            run(trained, *flags)
