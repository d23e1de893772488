"""analysis/sparse.py: both ways on a trained model, refusals."""

import pytest

from analysis import sparse
from utils import UsageError


def run(trained, *more):
    data, checkpoint = trained
    given = ["--device", "cpu", "--dataset_dir", str(data), "--params_path", str(checkpoint)]
    sparse.main([*given, *map(str, more)])
    return [lines(data / name) for name in ("sparse.txt", "support.txt")]


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def test_augmenting(trained, capsys):
    data, _ = trained
    train, dev = set(lines(data / "train.txt")), lines(data / "dev.txt")
    found, support = run(trained, "--sparse_num", 20, "--support_num", 20)
    assert len(found) == 20 and set(found) <= set(dev) and len(support) == 20
    assert not set(support) & train and {line.split("\t")[1] for line in support} <= {x.split("\t")[1] for x in train}
    out = capsys.readouterr().out
    assert "20 dev samples with a support of" in out and "20 new samples in" in out
    assert run(trained, "--sparse_num", 20, "--support_num", 20) == [found, support]
    # The same samples, as they are.
    copies = run(trained, "--sparse_num", 20, "--support_num", 20, "--aug_strategy", "duplicate")[1]
    assert set(copies) <= train and len(set(copies)) > 10


def test_no_sample_is_an_error(trained, monkeypatch):
    monkeypatch.setattr("analysis.augmenter.Augmenter.augment", lambda self, text: [])
    with pytest.raises(UsageError, match=r"None of \d+ texts gave a new one, so nothing is written"):
        run(trained)
    assert not (trained[0] / "support.txt").exists()


@pytest.mark.parametrize("strategy", sparse.ANNOTATE_STRATEGIES)
def test_choosing_texts_to_annotate(trained, strategy, capsys):
    data, _ = trained
    train = lines(data / "train.txt")
    known = [line.split("\t")[0] for line in train]
    (data / "train.txt").write_bytes("\n".join(train[:60]).encode())
    (data / "data.txt").write_bytes("\n".join([*known[:200], known[199]]).encode())
    flags = ["--annotate", "--annotate_strategy", strategy, "--support_num", 20, "--sparse_num", 20]
    support = run(trained, *flags)[1]
    assert len(set(support)) == 20 and set(support) <= set(known[60:200])
    assert run(trained, *flags)[1] == support
    told = capsys.readouterr().out.splitlines()
    assert told[-2] == f"20 texts to annotate in {data / 'support.txt'}"
    assert "doccano.py --text_file " in told[-1]
    (data / "data.txt").write_bytes("\n".join(known[:60]).encode())
    with pytest.raises(UsageError, match="all texts are in train.txt"):
        run(trained, *flags)


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
