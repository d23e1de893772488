"""Which texts may be learnt from, and whose masked-language training a folder holds."""

from types import SimpleNamespace

import pytest

from core.stage_flags import StageArguments
from core.unlabelled import find_file, is_pretrained, pretraining_facts, read_unlabelled, stages_for_fingerprint
from utils import UsageError, write_json


def paths(folder, **more):
    values = {name: str(folder / f"{name[:-5]}.txt") for name in ("train_path", "dev_path", "test_path")}
    return SimpleNamespace(**{"data_dir": str(folder), **values, **more})


def write(path, lines):
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


@pytest.fixture
def folder(tmp_path):
    """Train shares a text with dev; data.txt has texts of all splits, in other widths, and some twice."""
    write(tmp_path / "train.txt", ["甲文本\t一", "乙文本\t二", "ＤＥＶ 文本\t一"])
    write(tmp_path / "dev.txt", ["dev文本\t一"])
    write(tmp_path / "test.txt", ["测试文本"])
    write(tmp_path / "data.txt", ["新的", "Dev 文本", "测试文本", "乙 文本", "新的", "又一条\t二", "NEW", "ｎｅｗ"])
    return tmp_path


def test_dev_and_test_never_enter(folder):
    train = ["甲文本", "乙文本", "ＤＥＶ 文本"]
    found = read_unlabelled(StageArguments(num_teachers=2), paths(folder), train)
    assert found.texts == ["新的", "又一条", "NEW"] and found.left_out == 5
    assert found.corpus == ["甲文本", "乙文本", "新的", "又一条", "NEW"]
    other = read_unlabelled(StageArguments(num_teachers=2), paths(folder, test_path=str(folder / "data.txt")), train)
    assert other.texts == [] and other.corpus == ["甲文本"]


def test_too_few(folder):
    with pytest.raises(
        UsageError, match=r"--do_pretrain: 5 different texts in train and .*data.txt; give 100 or more"
    ):
        read_unlabelled(StageArguments(do_pretrain=True), paths(folder), ["甲文本", "乙文本"])
    (folder / "data.txt").unlink()
    with pytest.raises(UsageError, match="data.txt has no text that is not in train, dev or test; give a file"):
        read_unlabelled(StageArguments(pseudo_labels=True), paths(folder), ["甲文本"])


def test_data_txt_belongs_to_the_training_data_beside_it(folder, tmp_path):
    assert find_file(StageArguments(), paths(folder)) == str(folder / "data.txt")
    assert find_file(StageArguments(), paths(folder, train_path="/elsewhere/train.txt")) is None
    assert find_file(StageArguments(unlabelled_path="my.txt"), paths(folder)) == "my.txt"


def test_fingerprints(folder):
    assert stages_for_fingerprint(StageArguments(), None) == {}
    flags = StageArguments(num_teachers=2)
    unlabelled = read_unlabelled(flags, paths(folder), ["甲文本"])
    one = stages_for_fingerprint(flags, unlabelled)
    assert one.keys() == {"num_teachers", "distill_temperature", "unlabelled_texts"}
    unlabelled.texts.append("再一条")
    assert stages_for_fingerprint(flags, unlabelled) != one
    flags = StageArguments(do_pretrain=True)
    names = {"do_pretrain", "pretrain_epochs", "pretrain_learning_rate", "mlm_probability", "pretrain_texts"}
    assert stages_for_fingerprint(flags, unlabelled).keys() == names


def test_whose_training_a_folder_holds(tmp_path):
    args = SimpleNamespace(output_dir=str(tmp_path), overwrite_output_dir=False)
    facts = pretraining_facts(StageArguments(), "a_name", 32, 1, ["甲"])
    other = pretraining_facts(StageArguments(pretrain_epochs=3), "a_name", 32, 1, ["甲", "乙"])
    assert not is_pretrained(args, facts)
    write_json(tmp_path / "pretraining.json", {"facts": other})
    with pytest.raises(
        UsageError, match="unfinished.* another pretrain_epochs .3, now 2., texts; add --overwrite_out"
    ):
        is_pretrained(args, facts)
    (tmp_path / "pretraining.json").unlink()
    folder = tmp_path / "pretrained"
    folder.mkdir()
    with pytest.raises(UsageError, match="pretrained: is there and was not made here; move it away"):
        is_pretrained(args, facts)
    write_json(folder / "pretraining.json", {"facts": facts, "weights": None})
    assert is_pretrained(args, facts)
    with pytest.raises(UsageError, match="holds an encoder's masked-language training with another"):
        is_pretrained(args, other)
    args.overwrite_output_dir = True
    assert not is_pretrained(args, other) and is_pretrained(args, facts)
    (folder / "model_state.pdparams").write_bytes(b"changed")
    with pytest.raises(UsageError, match="its weights were changed after the training; delete it"):
        is_pretrained(args, facts)
