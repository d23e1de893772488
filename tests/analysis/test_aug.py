"""analysis/aug.py: the file, every type without a network, refusals."""

import importlib.metadata
import json

import pytest

from analysis import aug, augmenter
from analysis.augmenter import STRATEGIES
from tests.helpers import ROOT, not_installed
from utils import UsageError

TRAIN = ROOT / "data" / "train.txt"

pytestmark = pytest.mark.usefixtures("no_network")


def run(tmp_path, *more, train=TRAIN):
    path = tmp_path / "aug.txt"
    aug.main(["--train_path", str(train), "--aug_path", str(path), "--device", "cpu", *map(str, more)])
    return path.read_text(encoding="utf-8").splitlines()


def test_the_file(tmp_path, capsys):
    train = tmp_path / "train.txt"
    train.write_bytes("感冒发烧怎么治疗\t治疗方案\n的\t其他\n".encode())
    lines = run(tmp_path, "--custom_file", custom(tmp_path, {"感冒发烧": ["着凉发热"]}), "--create_n", 2, train=train)
    assert lines == ["着凉发热怎么治疗\t治疗方案"]
    assert "1 new samples" in capsys.readouterr().out
    assert train.read_text(encoding="utf-8").count("\n") == 2
    first = run(tmp_path, "--aug_strategy", "mix")
    assert first == run(tmp_path, "--aug_strategy", "mix") != run(tmp_path, "--aug_strategy", "mix", "--seed", 4)


def custom(tmp_path, value):
    path = tmp_path / f"custom{len(list(tmp_path.iterdir()))}.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["homonym", "mlm"])
def test_other_types(tmp_path, tiny_mlm, kind, capsys):
    train = tmp_path / "train.txt"
    train.write_bytes("感冒发烧怎么治疗\t治疗方案\n住院医疗费用\t医疗费用\n".encode())
    lines = run(tmp_path, "--aug_type", kind, "--model_name_or_path", tiny_mlm, train=train)
    assert lines and {line.split("\t")[1] for line in lines} <= {"治疗方案", "医疗费用"}
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"{len(lines)} new samples in ") and told[1].startswith("Next: python ")


def test_refusals(tmp_path, tiny_model, monkeypatch):
    train = tmp_path / "train.txt"
    train.write_bytes("感冒\t其他\n没有标签\n".encode())
    for flags, message in (
        (["--create_n", 0], "--create_n 0"),
        (["--aug_percent", 1.5], "--aug_percent 1.5"),
        (["--aug_type", "mlm", "--custom_file", "x.json"], "exclude each other"),
        (["--custom_file", tmp_path / "no.json"], "no.json: no such file"),
        (["--custom_file", custom(tmp_path, "{'a': ['b']}")], r"custom\d\.json:1: not JSON"),
        (["--custom_file", custom(tmp_path, {"a": "b"})], "'a' has no list"),
        (["--custom_file", custom(tmp_path, {"a": ["b\tc"]})], "is not a word"),
        (["--aug_path", TRAIN], "it is --train_path"),
        (["--aug_type", "mlm", "--model_name_or_path", tmp_path / "none"], "no such directory"),
    ):
        with pytest.raises(UsageError, match=message):
            run(tmp_path, *flags)
    with pytest.raises(UsageError, match=r"train\.txt:2: no tab"):
        run(tmp_path, train=train)
    with pytest.raises(UsageError, match="an encoder without a head for masked words"):
        run(tmp_path, "--aug_type", "mlm", "--model_name_or_path", tiny_model)
    monkeypatch.setattr(importlib.metadata, "version", not_installed)
    with pytest.raises(UsageError, match=r"analysis/requirements\.txt"):
        run(tmp_path)


@pytest.mark.parametrize("kind", ["synonym", "homonym", "mlm"])
@pytest.mark.parametrize("strategy", ["mix", *STRATEGIES])
def test_nothing_to_change_is_an_error(strategy, kind, tmp_path, sources, monkeypatch):
    """No file without a line, and none that is replaced by it."""
    monkeypatch.setattr(augmenter, "synonyms", lambda: sources["synonym"].words)
    monkeypatch.setattr(augmenter, "homonyms", lambda: sources["homonym"].words)
    monkeypatch.setattr("analysis.masked_words.MaskedWords", lambda *args: sources["synonym"])
    train, path = tmp_path / "train.txt", tmp_path / "aug.txt"
    train.write_text("的\t其他\n没有\t其他\n20mg\t其他\n", encoding="utf-8")
    path.write_text("mine\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"None of 3 texts gave a new one, so nothing is written: no text has .*use"):
        run(tmp_path, "--aug_strategy", strategy, "--aug_type", kind, train=train)
    assert path.read_text(encoding="utf-8") == "mine\n"


def test_english_texts_and_chinese_words(tmp_path, capsys):
    train = tmp_path / "train.txt"
    train.write_text("the battery of this phone dies quickly\tbad\na lovely film with music\tgood\n", encoding="utf-8")
    with pytest.raises(UsageError, match="are Chinese, and no text is; give your own with --custom_file"):
        run(tmp_path, train=train)
    with pytest.raises(UsageError, match=r"no word of --custom_file .*custom1\.json is among"):
        run(tmp_path, "--custom_file", custom(tmp_path, {"感冒": ["着凉"]}), train=train)
    assert run(tmp_path, "--aug_strategy", "mix", train=train)
    assert "Of --aug_strategy mix, substitute, insert gave none" in capsys.readouterr().out
