"""data/suspicions.py: files that train.py would take, or --fix would spoil."""

import pytest

from tests.data.folders import add_lines, rows_of, run
from utils import UsageError


def test_fasttext_is_never_mended_away(data_dir, tmp_path):
    rows = [line.split("\t") for line in (data_dir / "train.txt").read_text(encoding="utf-8").splitlines()]
    (data_dir / "train.txt").write_text("".join(f"__label__{b} {a}\n" for a, b in rows), encoding="utf-8")
    for label in ("label.txt", "nothing"):
        (data_dir / label).unlink(missing_ok=True)
        [(_, _, message)] = rows_of(data_dir, "format")
        assert message.startswith("the file is fastText, UTF-8; convert it: python data/convert.py --input_file ")
        with pytest.raises(UsageError, match="fastText"):
            run("--dataset_dir", data_dir, "--fix", tmp_path / "clean", "--max_left_out", 1)
        assert not (tmp_path / "clean").exists()


def test_numbers_for_labels(data_dir):
    (data_dir / "label.txt").write_text("0\n1\n")
    (data_dir / "classes.txt").write_text("差评\n好评\n", encoding="utf-8")
    [(_, _, message)] = rows_of(data_dir, "label_ids")
    assert "classes.txt has names: 差评 好评" in message


def test_one_label_of_all(data_dir):
    (data_dir / "train.txt").write_text("".join(f"第{i}个问题\t就医建议\n" for i in range(12)), encoding="utf-8")
    assert "all 12 samples have the label '就医建议'" in rows_of(data_dir, "columns")[0][2]


def test_scripts(data_dir):
    add_lines(data_dir, "train", *(f"머리가 아파요 어느 과에 가야 하나요 {i}번\t就医建议" for i in range(40)))
    [(_, _, message)] = rows_of(data_dir, "foreign_script")
    assert message.startswith("Korean ") and f"--texts {data_dir / 'train.txt'} {data_dir / 'dev.txt'}" in message
    assert "python data/build_encoder.py --texts" in message


def test_three_columns_are_never_mended(data_dir, tmp_path):
    """The number of a record would become part of the text."""
    rows = (data_dir / "train.txt").read_text(encoding="utf-8").splitlines()
    lines = "".join(f"{number}\t{row}\n" for number, row in enumerate(rows))
    (data_dir / "train.txt").write_text(lines, encoding="utf-8")
    [(_, _, message)] = rows_of(data_dir, "format")
    assert message.startswith("the file is fields between tabs") and "data/convert.py --input_file" in message
    with pytest.raises(UsageError, match="fields between tabs"):
        run("--dataset_dir", data_dir, "--fix", tmp_path / "clean", "--max_left_out", 1)
    assert not (tmp_path / "clean").exists()


@pytest.mark.parametrize(
    ("text", "message"), [("{}", "numbers of records"), ("http://a.cn/{}", "addresses"), ("????", "are the same")]
)
def test_texts_that_say_nothing(data_dir, text, message):
    labels = (data_dir / "label.txt").read_text(encoding="utf-8").splitlines()
    rows = "".join(f"{text.format(number)}\t{labels[number % 2]}\n" for number in range(40))
    (data_dir / "train.txt").write_text(rows, encoding="utf-8")
    assert any(message in row[2] for row in rows_of(data_dir, "columns"))


def test_labels_with_the_mark_of_fasttext(data_dir):
    """They would be the model's answers."""
    for name in ("train.txt", "dev.txt"):
        rows = [line.split("\t") for line in (data_dir / name).read_text(encoding="utf-8").splitlines()]
        (data_dir / name).write_text("".join(f"{a}\t__label__{b}\n" for a, b in rows), encoding="utf-8")
    labels = (data_dir / "label.txt").read_text(encoding="utf-8").splitlines()
    (data_dir / "label.txt").write_text("".join(f"__label__{label}\n" for label in labels), encoding="utf-8")
    [(_, _, message)] = rows_of(data_dir, "label_marks")
    assert f"{len(labels)} labels, such as '__label__{labels[0]}': python data/convert.py --input_file" in message
