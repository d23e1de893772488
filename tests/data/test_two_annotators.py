"""Exports of two people who disagree, as doccano 1.8.4 and Label Studio 1.23.2 wrote them, in agreement.py and
doccano.py; two_annotators/ holds them, the texts are made up for this."""

import json
import zipfile
from pathlib import Path

import pytest

from data import agreement, doccano
from tests.helpers import ROOT
from utils import UsageError, read_examples, read_labels

FOLDER = ROOT / "tests" / "data" / "two_annotators"
AGREED = {"退烧药一天能吃几次": "用药", "种牙要多少钱": "费用", "孩子咳嗽是什么原因": "病因"}
# Of one alone: bob has not done it.
ALONE = {"近视手术贵吗": "费用"}
DISPUTED = {"膝盖疼该挂哪个科": {"挂号", "病因"}, "胃镜检查疼不疼": {"其他", "用药"}}


@pytest.fixture(params=["doccano JSONL", "doccano JSON", "Label Studio", "Label Studio JSON-MIN"])
def export(request, tmp_path):
    """An export of six texts: three are agreed on, two are not, one has one label."""
    if request.param.startswith("Label"):
        return FOLDER / ("label_studio_min.json" if "MIN" in request.param else "label_studio.json")
    ending = request.param.split()[1].lower()
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for name in ("alice", "bob", "admin"):
            archive.write(FOLDER / f"{name}.{ending}", f"{name}.{ending}")
    return tmp_path / "export.zip"


def test_agreement(export, tmp_path, capsys):
    agreement.main(["--doccano_file", str(export), "--report_dir", str(tmp_path / "report"), "--lang", "en"])
    told = capsys.readouterr().out
    assert "5 texts have labels of several annotators, 60.0% of them one label" in told
    people = "alice, bob" if export.suffix == ".zip" else "1, 2"
    # Both 用药, 费用, 病因; each of alice's five labels once, bob's 用药 and 病因 twice: expected 1/5.
    assert f"{people}      5  60.0%  0.500" in told
    assert ("approved documents only" in told) == (export.suffix == ".zip"), "imported with a model's labels"
    lines = (tmp_path / "report" / "to_adjudicate.jsonl").read_text(encoding="utf-8").splitlines()
    rows = {row["text"]: row["origin"] for row in map(json.loads, lines)}
    assert {text: {part.split("=")[1] for part in origin.split()} for text, origin in rows.items()} == DISPUTED


def test_training_data(export, tmp_path, capsys):
    out = tmp_path / "out"
    assert doccano.main(["--doccano_file", str(export), "--save_dir", str(out), "--splits", "0.5", "0.5"]) == 1
    labels = read_labels(out / "label.txt")
    pairs = [read_examples(out / f"{name}.txt", labels) for name in ("train", "dev")]
    assert {text: labels[i] for texts, ids in pairs for text, i in zip(texts, ids)} == {**AGREED, **ALONE}
    conflicts = (out / "conflicts.txt").read_text(encoding="utf-8").splitlines()
    assert {line.split("\t")[0] for line in conflicts} == set(DISPUTED)
    told = capsys.readouterr().out
    assert f"for deciding: python data/agreement.py --doccano_file {export}" in told
    # What a third person decides comes into the data.
    decided = tmp_path / "adjudicated.jsonl"
    rows = [{"text": text, "label": [sorted(some)[0]]} for text, some in DISPUTED.items()]
    decided.write_bytes("".join(json.dumps(row) + "\n" for row in rows).encode())
    (out / "label.txt").write_bytes("\n".join([*labels, "挂号", "其他"]).encode("utf-8"))
    assert doccano.main(["--doccano_file", str(decided), "--merge_into", str(out)]) == 0
    train = (out / "train.txt").read_text(encoding="utf-8")
    assert all(f"{text}\t{sorted(some)[0]}" in train for text, some in DISPUTED.items())


@pytest.mark.parametrize("several", [True, False])
def test_many_disagree(tmp_path, several):
    """A third of the texts in conflict: two annotators differ, but without them it is a project of another kind."""
    texts = [f"文本{number}" for number in range(21)]
    people = {"alice": "甲乙丙", "bob": "甲乙丁"}
    votes = {name: [labels[number % 3] for number in range(21)] for name, labels in people.items()}
    files = votes if several else {"all": [list(dict.fromkeys(pair)) for pair in zip(*votes.values())]}
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for name, labels in files.items():
            rows = [json.dumps({"text": text, "label": label}) for text, label in zip(texts, labels)]
            archive.writestr(f"{name}.jsonl", "\n".join(rows))
    flags = ["--doccano_file", str(tmp_path / "export.zip"), "--save_dir", str(tmp_path / "out")]
    if several:
        assert doccano.main(flags) == 1
        assert len((tmp_path / "out" / "conflicts.txt").read_text(encoding="utf-8").splitlines()) == 7
    else:
        with pytest.raises(UsageError, match="multi_class needs exactly one"):
            doccano.main(flags)


def test_the_fixtures_are_whole():
    assert {path.name for path in Path(FOLDER).iterdir()} == {
        *(f"{name}.{ending}" for name in ("alice", "bob", "admin") for ending in ("json", "jsonl")),
        "label_studio.json",
        "label_studio_min.json",
    }
