"""core/label_names.py: names of class ids."""

import pytest

from core.label_names import LabelNames, given_names, names_beside, read_names
from utils import UsageError


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("体育\n财经\n", ["体育", "财经"]),
        ("0\t体育\n1\t财经\n", {"0": "体育", "1": "财经"}),
        ("体育 0\n财经 1\n", {"0": "体育", "1": "财经"}),
        ("100,体育\n101,财经\n", {"100": "体育", "101": "财经"}),
        ('["体育", "财经"]', ["体育", "财经"]),
        ('{"0": "体育", "1": "财经"}', {"0": "体育", "1": "财经"}),
        ('{"体育": 0, "财经": 1}', {"0": "体育", "1": "财经"}),
        ('{"id": "100", "desc": "体育"}\n{"id": "101", "desc": "财经"}', {"100": "体育", "101": "财经"}),
        ("体育==运动\n财经==钱\n", ["体育", "财经"]),
        ("health care\nmoney matters\n", ["health care", "money matters"]),
    ],
)  # fmt: skip
def test_files(tmp_path, content, wanted):
    (tmp_path / "class.txt").write_bytes(content.encode("gbk"))
    assert read_names(tmp_path / "class.txt").names == wanted
    assert [names.names for names in names_beside([tmp_path, tmp_path])] == [wanted]


def test_ids():
    names = LabelNames("class.txt", ["甲", "乙", "丙"])
    assert [names.mapping(["0", "2"])[label] for label in ("0", "1", "2")] == ["甲", "乙", "丙"]
    assert names.mapping(["1", "2", "3"])["3"] == "丙"
    assert names.mapping(["甲"]) == {"甲": "甲", "乙": "乙", "丙": "丙"}
    assert LabelNames("x", {"5": "甲", "7": "乙"}).mapping(["5", "7.0"])["7"] == "乙"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["1", "2"], "is the first name that of 0 or of 1"),
        (["0", "3"], "the labels are 0 to 3; add the missing name"),
        (["0", "丁"], "the label '丁' is neither"),
        (["0", "9"], "the label '9' is neither"),
    ],
)
def test_ids_that_are_unclear(labels, message):
    with pytest.raises(UsageError, match=message):
        LabelNames("class.txt", ["甲", "乙", "丙"]).mapping(labels)


def test_names_on_the_command_line():
    assert given_names(["坏", "好"]).names == ["坏", "好"]
    assert given_names(["0=坏", "1=好"]).mapping(["1"])["1"] == "好"
    for words in (["nowhere.txt"], ["0=坏", "好"]):
        with pytest.raises(UsageError, match="--label_names"):
            given_names(words)
