"""core/label_in_line.py: the command that puts a tab between text and label, where a mark of texts stands there."""

import subprocess

import pytest

from core.label_in_line import label_in_line
from tests.core.test_footers import read
from tests.data import zoo


@pytest.mark.parametrize(
    ("pattern", "where"),
    [
        ("【{1}】{0}", "before '】'"),
        ("{1}：{0}：是的", "before '：'"),
        ("{1}: {0}: yes", "before ': '"),
        ("{0}    {1}", "behind '    '"),
        ("{0}，完，{1}", "behind '，'"),
        ("{1} {0} ?", "before ' '"),
    ],
)
def test_the_command_does_it(tmp_path, pattern, where):
    lines = [pattern.format(text, label) for text, label in zoo.SAMPLES]
    path = zoo.write(tmp_path / "我的 a.txt", "".join(f"{line}\n" for line in lines))
    hint = label_in_line(lines, str(path))
    assert hint.startswith(f"{where} stand words that come again and again (体育 科技 财经)")
    command = hint[hint.index("sed ") :]
    output = subprocess.run(command, shell=True, capture_output=True, encoding="utf-8", check=True).stdout
    fields = [line.split("\t") for line in output.splitlines()]
    assert all(len(pair) == 2 and label in pair for pair, (_, label) in zip(fields, zoo.SAMPLES))
    assert all(text in "".join(pair) for pair, (text, _) in zip(fields, zoo.SAMPLES))


def test_texts_alone_have_none(tmp_path):
    assert label_in_line([text for text, _ in zoo.SAMPLES], "a.txt") is None
    assert label_in_line([f"第{n}条，内容是{n * 7919}，完" for n in range(60)], "a.txt") is None
    assert label_in_line(["体育：好", "财经：坏"] * 2, "a.txt") is None  # too few to tell


def test_it_is_in_the_refusal(tmp_path):
    with pytest.raises(Exception, match="no column of labels; .*add --label_column none; before '：' stand words"):
        read(tmp_path, [[f"{label}：{text}"] for text, label in zoo.SAMPLES])
