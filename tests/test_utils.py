"""Data files, labels and safe writing: what must work before paddle is imported."""

import numpy as np
import pytest

import utils
from utils import UsageError

LABELS = ["甲", "乙"]


@pytest.fixture
def write(tmp_path):
    def write_file(data, name="train.txt"):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))
        return path

    return write_file


def message(function, *args):
    with pytest.raises(UsageError) as error:
        function(*args)
    return str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        "头疼\t甲\n发烧\t乙\n",
        "\ufeff头疼\t甲\r\n发烧\t乙\r\n",
        "头疼\t甲\n发烧\t乙",
        "头疼\t甲\n发烧\t乙\n\n \n",
        "头疼\t甲\r发烧\t乙\r",
    ],
)
def test_accepts_bom_crlf_no_final_newline_and_blank_lines_at_the_end(write, content):
    assert utils.read_examples(write(content), LABELS) == (["头疼", "发烧"], [0, 1])


@pytest.mark.parametrize(
    "content, line, problem",
    [
        ("头疼\t甲\n没有标签\n", 2, "no tab"),
        ("头疼\t甲\n发\t烧\t乙\n", 2, "2 tabs"),
        ("头疼\t甲\n\t乙\n", 2, "text is empty"),
        ("头疼\t甲\n \t乙\n", 2, "text is empty"),
        ("头疼\t甲\n\n发烧\t乙\n", 2, "blank line"),
        ("头疼\t丙\n", 1, "unknown label '丙'"),
        ("头疼\t\n", 1, "unknown label ''"),
    ],
)
def test_bad_lines_are_named(write, content, line, problem):
    path = write(content)
    text = message(utils.read_examples, path, LABELS)
    assert text.startswith(f"{path}:{line}: ") and problem in text and ";" in text


def test_unknown_label_suggests_the_close_one(write):
    assert "did you mean '医疗费用'" in message(utils.read_examples, write("多少钱\t医疗费\n"), ["医疗费用", "其他"])


@pytest.mark.parametrize(
    "data, where, problem",
    [
        ("头疼\t甲\n发烧怎么办\t乙\n".encode("gbk"), ":1:", "GBK"),
        ("头疼\t甲\n".encode() + "发烧怎么办\t乙\n".encode("gbk"), ":2:", "is not UTF-8"),
        ("头疼\t甲\n".encode("utf-16"), ":1:", "UTF-16"),
        (b"", ":", "empty"),
        (b"\xef\xbb\xbf", ":", "empty"),
        (b"\n\n", ":", "empty"),
    ],
)
def test_encodings_and_empty_files(write, data, where, problem):
    path = write(data)
    text = message(utils.read_examples, path, LABELS)
    assert text.startswith(f"{path}{where}") and problem in text


def test_missing_file_and_folder(tmp_path):
    assert "no such file" in message(utils.read_lines, tmp_path / "train.txt")
    assert "cannot be read" in message(utils.read_lines, tmp_path)


@pytest.mark.parametrize(
    "content, line, problem",
    [("甲\n\n乙\n", 2, "blank line"), ("甲\n乙\n甲\n", 3, "already in line 1"), ("甲\n", 1, "only one label"),
     ("甲\t1\n乙\n", 1, "a tab")],
)  # fmt: skip
def test_bad_label_files(write, content, line, problem):
    path = write(content, "label.txt")
    text = message(utils.read_labels, path)
    assert text.startswith(f"{path}:{line}: ") and problem in text


def test_labels_keep_their_order(write):
    assert utils.read_labels(write("\ufeff乙\r\n甲\r\n", "label.txt")) == ["乙", "甲"]


def test_staged_files_replace_whole_files_or_nothing(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(RuntimeError), utils.staged_files(tmp_path) as stage:
        (stage / "a").write_text("new")
        raise RuntimeError
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old", "mine": "kept"}
    with utils.staged_files(tmp_path) as stage:
        (stage / "a").write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new", "mine": "kept"}


def test_staged_files_in_folders_join_what_is_there(tmp_path):
    for value in ("old", "new"):
        with utils.staged_files(tmp_path) as stage:
            (stage / "below").mkdir()
            (stage / "below" / "a").write_text(value)
        (tmp_path / "below" / "mine").write_text("kept")
    files = {path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"a": "new", "mine": "kept"} and [path.name for path in tmp_path.iterdir()] == ["below"]


def test_a_table_has_aligned_columns():
    lines = utils.format_table([{"format": "onnx", "MB": "9"}, {"format": "onnx_int8", "MB": 120}])
    assert lines == ["   format   MB", "     onnx    9", "onnx_int8  120"]


def test_cases(tmp_path):
    path = tmp_path / "in.txt"
    for content, expected in {
        "一\n二\n": [(1, "一", "", "", ""), (2, "二", "", "", "")],
        "一\t甲\n": [(1, "一", "甲", "", "")],
        "Text\tLabel\tPrediction\tScore\n一\t甲\t乙\t0.9\n": [(2, "一", "甲", "乙", "0.9")],
        "一\t甲\t乙\n二\n": [(1, "一", "甲", "乙", ""), (2, "二", "", "", "")],
    }.items():
        path.write_bytes(content.encode())
        assert utils.read_cases(path) == expected
    bad = {"一\n\t甲\n": ":2: no text", "a\tb\tc\td\te": ":1: 5 columns", "Text\tLabel\n": "nothing below"}
    for content, message in bad.items():
        path.write_bytes(content.encode())
        with pytest.raises(UsageError, match=message):
            utils.read_cases(path)


def test_a_label_may_have_a_word(write):
    path = write("news_car==汽车\n财经\n", "label.txt")
    assert utils.read_labels(path) == ["news_car", "财经"]
    assert utils.read_label_words(path) == {"news_car": "汽车", "财经": "财经"}
    for bad in ("news_car==\n财经\n", "==汽车\n财经\n"):
        assert "label.txt:1: nothing on one side of ==" in message(utils.read_label_words, write(bad, "label.txt"))
    assert "'甲' is already in line 1" in message(utils.read_labels, write("甲==一\n甲==二\n", "label.txt"))


def test_texts_to_predict_with_and_without_labels(tmp_path):
    labels = ["甲", "乙"]
    (tmp_path / "data.txt").write_text("一\n二\n", encoding="utf-8")
    assert utils.read_texts(tmp_path, labels) == (["一", "二"], None)
    (tmp_path / "test.txt").write_text("三\t乙\n四\t甲\n", encoding="utf-8")
    assert utils.read_texts(tmp_path, labels) == (["三", "四"], [1, 0])
    (tmp_path / "test.txt").write_text("三\n四\n", encoding="utf-8")
    assert utils.read_texts(tmp_path, labels) == (["三", "四"], None)
    (tmp_path / "test.txt").write_text("三\t乙\n四\n", encoding="utf-8")
    assert "test.txt:2: no tab" in message(utils.read_texts, tmp_path, labels)
    assert "neither test.txt nor data.txt" in message(utils.read_texts, tmp_path / "nothing", labels)


@pytest.mark.parametrize("num_classes, samples", [(2, 1), (3, 7), (40, 30), (300, 2000)])
def test_the_report_is_scikit_learns_to_the_letter(num_classes, samples):
    """Classes without samples, or which nobody predicts, are there too."""
    from sklearn.metrics import accuracy_score, classification_report

    random = np.random.RandomState(num_classes)
    truth = random.randint(0, num_classes - 1, samples)
    predicted = np.where(random.rand(samples) < 0.7, truth, random.randint(0, num_classes, samples))
    classes = list(range(num_classes))
    report = classification_report(truth, predicted, labels=classes, output_dict=True, zero_division=0)

    def scores(row):
        return f"precision: {row['precision'] * 100:.2f} | recall: {row['recall'] * 100:.2f} | "

    macro = report["macro avg"]
    lines = [
        "-----Evaluate model-------",
        f"Dev dataset size: {samples}",
        f"Accuracy in dev dataset: {accuracy_score(truth, predicted):.2%}",
        f"Macro average | {scores(macro)}F1 score {macro['f1-score'] * 100:.2f}",
    ]
    for index in classes:
        row = report[str(index)]
        size = f"{int(row['support'])}({row['support'] / samples:.1%})"
        lines += [
            f"Class name: c{index}",
            f"Evaluation examples in dev dataset: {size} | {scores(row)}F1 score {row['f1-score'] * 100:.2f}",
            "----------------------------",
        ]
    labels = [f"c{index}" for index in classes]
    assert utils.evaluation_report("dev", labels, truth, predicted) == lines
    assert utils.evaluation_report("dev", labels, truth.tolist(), predicted.tolist()) == lines
