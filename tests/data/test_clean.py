"""data/clean.py: what check.py --fix mends, leaves out, and never touches."""

import csv
import io
import subprocess
import sys

import pytest

from tests.data.folders import TEXT, add_lines, run
from tests.helpers import LABELS, ROOT
from utils import UsageError, read_examples, read_labels


def test_fix(data_dir, tmp_path, capsys):
    lines = ["", "没有标签也没有空格", f"{TEXT}\u3000就医建议", f"{TEXT}要\t加急\t就医建议", f"就医建议\t{TEXT}换列"]
    lines += [f"{TEXT}错\t啥", f"控\x1a制\x0b{TEXT}\t就医建议 ", f"{TEXT}全角\t就医建议\u3000", f"{TEXT}\t就医建议"]
    dev_text = (data_dir / "dev.txt").read_text(encoding="utf-8").split("\t")[0]
    add_lines(data_dir, "train", *lines, f"{dev_text}？\t就医建议", f"{TEXT}国标\t就医建议".encode("gbk"))
    add_lines(data_dir, "data", "没标的\t文本", "没标的 文本", "")
    before = {path.name: path.read_bytes() for path in data_dir.iterdir()}
    clean = tmp_path / "clean"
    assert run("--dataset_dir", data_dir, "--fix", clean) == 0
    assert {path.name: path.read_bytes() for path in data_dir.iterdir()} == before
    labels = read_labels(clean / "label.txt")
    texts, _ = read_examples(clean / "train.txt", labels)
    assert texts[48:] == [TEXT, f"{TEXT}要 加急", f"{TEXT}换列", f"控制 {TEXT}", f"{TEXT}全角", f"{TEXT}国标"]
    assert (clean / "data.txt").read_text(encoding="utf-8") == "没标的 文本\n"
    assert (clean / "dev.txt").read_bytes() == before["dev.txt"]
    with (clean / "changes.csv").open(encoding="utf-8-sig", newline="") as file:
        changes = {(row["file"], row["line"]): row for row in csv.DictReader(file)}
    assert changes["train.txt", "50"]["change"] == "left out: no_tab"
    assert changes["train.txt", "51"]["after"] == f"{TEXT}\t就医建议"
    assert changes["train.txt", "54"]["before"] == f"{TEXT}错\t啥"
    assert changes["train.txt", "57"]["change"] == "left out: the same as an earlier line"
    assert changes["train.txt", "58"]["change"] == "left out: the text is in dev.txt or test.txt too"
    assert len([row for row in changes.values() if row["file"] == "train.txt"]) == 11
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("0 errors, ") for line in lines)
    assert lines[-1].startswith("next: ") and f"--data_dir {clean} " in lines[-1]


def test_fix_writes_missing_labels(data_dir, tmp_path):
    (data_dir / "label.txt").unlink()
    assert run("--dataset_dir", data_dir, "--fix", tmp_path / "clean") == 0
    assert set(read_labels(tmp_path / "clean" / "label.txt")) == set(LABELS)


@pytest.mark.parametrize("content", [None, b"", b"\n \n"], ids=["missing", "empty", "blank"])
def test_fix_as_a_program_without_labels(data_dir, tmp_path, content):
    """The copy gets its label.txt from the samples' own labels."""
    (data_dir / "label.txt").unlink()
    if content is not None:
        (data_dir / "label.txt").write_bytes(content)
    command = [sys.executable, ROOT / "data" / "check.py", "--dataset_dir", data_dir, "--fix", tmp_path / "clean"]
    result = subprocess.run(list(map(str, command)), capture_output=True, encoding="utf-8")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert any(line.startswith("0 errors, ") for line in lines)
    assert lines[-1].startswith("next: python few-shot/setfit.py ")
    assert set(read_labels(tmp_path / "clean" / "label.txt")) == set(LABELS)
    assert read_examples(tmp_path / "clean" / "train.txt", LABELS) == read_examples(data_dir / "train.txt", LABELS)


def test_fix_keeps_the_words_of_labels(data_dir, tmp_path):
    lines = [f"{label}=={label}词" for label in LABELS]
    (data_dir / "label.txt").write_text("\n".join([*lines, f"{LABELS[0]}==别的"]), encoding="utf-8")
    assert run("--dataset_dir", data_dir, "--fix", tmp_path / "clean") == 0
    assert (tmp_path / "clean" / "label.txt").read_text(encoding="utf-8").splitlines() == lines


def test_fix_never_writes_where_something_is(data_dir, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_text("mine")
    for target in (data_dir, tmp_path / "mine", tmp_path / "mine" / "x"):
        with pytest.raises(UsageError, match="give a new one"):
            run("--dataset_dir", data_dir, "--fix", target)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["x"]


def test_fix_that_cannot_be_written_leaves_nothing(data_dir, tmp_path, monkeypatch):
    def full_disk(self, name):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("data.clean.Cleaner.write_split", full_disk)
    with pytest.raises(UsageError, match="No space left"):
        run("--dataset_dir", data_dir, "--fix", tmp_path / "clean")
    assert list((tmp_path / "clean").iterdir()) == []


PATIENTS = [(f"第{number}位患者{what}应该挂什么科", "就医建议") for number in range(20) for what in ("头疼", "咳嗽")]
ROWS = PATIENTS + [(text.replace("应该挂什么科", "是什么原因"), "病情诊断") for text, _ in PATIENTS]


def write_files(folder, rows, write, labels=("就医建议", "病情诊断")):
    (folder / "label.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    (folder / "train.txt").write_bytes(write(rows[:70]))
    (folder / "dev.txt").write_bytes(write(rows[70:]))


def lines_in(codec, end="\n"):
    return lambda rows: "".join(f"{text}\t{label}{end}" for text, label in rows).encode(codec)


def excel(rows):
    """What Excel writes as "Unicode Text"."""
    file = io.StringIO(newline="")
    csv.writer(file, delimiter="\t", lineterminator="\r\n").writerows(rows)
    return file.getvalue().encode("utf-16")


def cleaned(folder, name="train"):
    return [tuple(line.split("\t")) for line in (folder / f"{name}.txt").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("end", ["\r", "\r\n"])
def test_all_line_ends_are_read(tmp_path, codec, end):
    write_files(tmp_path, ROWS, lines_in(codec, end))
    assert run("--dataset_dir", tmp_path, "--fix", tmp_path / "clean") == 0
    assert cleaned(tmp_path / "clean") == ROWS[:70] and cleaned(tmp_path / "clean", "dev") == ROWS[70:]


def test_excel_s_text_comes_out_of_its_quotes(tmp_path, capsys):
    rows = [(f'他说"{text}"' if number % 5 else text, label) for number, (text, label) in enumerate(ROWS)]
    for number in (3, 30, 75):
        rows[number] = (f"{rows[number][0]}\n\n第二段\t有制表符", rows[number][1])
        rows[number] = (rows[number][0].replace("\t", " "), rows[number][1])
    write_files(tmp_path, rows, excel)
    assert run("--dataset_dir", tmp_path, "--fix", tmp_path / "clean") == 0
    assert "WARNING quoted (2)" in capsys.readouterr().out
    expected = [(" ".join(text.split()), label) for text, label in rows]
    assert cleaned(tmp_path / "clean") == expected[:70] and cleaned(tmp_path / "clean", "dev") == expected[70:]


def test_csv_with_commas(tmp_path):
    def write(rows):
        file = io.StringIO(newline="")
        csv.writer(file).writerows(rows)
        return file.getvalue().encode("utf-8-sig")

    rows = [(f"{text}, 谢谢", label) for text, label in ROWS]
    write_files(tmp_path, rows, write)
    assert run("--dataset_dir", tmp_path, "--fix", tmp_path / "clean") == 0
    assert cleaned(tmp_path / "clean") == rows[:70]


LANGUAGES = {
    "cp932": ("{}番の患者は頭が痛いので何科に行けばいいですか", "受診"),
    "euc_jp": ("{}番の患者はお腹が痛いのでどの薬を飲めばいいですか", "治療"),
    "euc_kr": ("{}번 환자는 머리가 아픈데 어느 과에 가야 하나요", "진료"),
    "cp1251": ("У пациента {} болит голова, к какому врачу идти", "врач"),
    "latin-1": ("Le patient {} a très mal à la tête, où doit-il aller", "médecin"),
    "big5": ("第{}位病人頭痛應該掛什麼科", "就醫"),
}


@pytest.mark.parametrize("codec", LANGUAGES)
def test_other_languages_are_not_called_gbk(tmp_path, codec, capsys):
    text, label = LANGUAGES[codec]
    rows = [(text.format(number), label if number % 2 else f"{label}?") for number in range(80)]
    write_files(tmp_path, rows, lines_in(codec), (label, f"{label}?"))
    assert run("--dataset_dir", tmp_path, "--fix", tmp_path / "clean") == 0
    assert "GB" not in capsys.readouterr().out
    assert cleaned(tmp_path / "clean") == rows[:70]


def test_two_possible_encodings_stop_it(tmp_path, capsys):
    """In Korean, these would be syllables, too."""
    rows = [("客服态度恶劣", "a"), ("客服", "b")]
    (tmp_path / "label.txt").write_text("a\nb\n")
    for name in ("train", "dev"):
        (tmp_path / f"{name}.txt").write_bytes(lines_in("gbk")(rows))
    flags = ("--dataset_dir", tmp_path, "--fix", tmp_path / "clean", "--max_left_out", 1)
    with pytest.raises(
        UsageError, match="GBK .* or EUC-KR, and a wrong guess .* --encoding GB18030 or --encoding EUC-KR"
    ):
        run(*flags)
    assert not (tmp_path / "clean").exists() and "say which with --encoding GB18030" in capsys.readouterr().out
    run(*flags, "--encoding", "gb18030")
    assert cleaned(tmp_path / "clean", "dev") == rows
    with pytest.raises(UsageError, match="--encoding klingon: not known"):
        run(*flags, "--encoding", "klingon")


def test_what_cannot_be_read_is_left_out(data_dir, tmp_path):
    add_lines(data_dir, "train", "头疼应该挂什么科".encode()[:-4] + b"\xff" + "室\t就医建议".encode())
    assert run("--dataset_dir", data_dir, "--fix", tmp_path / "clean") == 0
    assert "\ufffd" not in (tmp_path / "clean" / "train.txt").read_text(encoding="utf-8")
    assert "left out: not in a known encoding" in (tmp_path / "clean" / "changes.csv").read_text(encoding="utf-8-sig")


def test_nothing_is_written_where_much_would_be_lost(tmp_path):
    rows = [(text, label if number % 5 else "别的") for number, (text, label) in enumerate(ROWS)]
    write_files(tmp_path, rows, lines_in("utf-8"))
    flags = ("--dataset_dir", tmp_path, "--fix", tmp_path / "clean")
    with pytest.raises(UsageError) as error:
        run(*flags)
    message = "train.txt: 14 of 70 lines would be lost, more than 10%: 14 left out (unknown_label)"
    assert message in str(error.value) and "--max_left_out 0.21" in str(error.value)
    assert not (tmp_path / "clean").exists()
    run(*flags, "--max_left_out", 0.21)
    assert len(cleaned(tmp_path / "clean")) == 56


def test_cells_of_several_lines_are_joined_when_they_are_few(tmp_path):
    rows = [(f"{text}\n第二段", label) for text, label in ROWS]
    write_files(tmp_path, rows, excel)
    flags = ("--dataset_dir", tmp_path, "--fix", tmp_path / "clean")
    with pytest.raises(UsageError, match="70 of 140 lines would be lost, .*: 70 joined to the line before"):
        run(*flags)
    assert run(*flags, "--max_left_out", 0.51) == 0
    assert cleaned(tmp_path / "clean") == [(f"{text} 第二段", label) for text, label in ROWS[:70]]


def test_columns_the_wrong_way_round_without_labels(tmp_path):
    write_files(tmp_path, [(label, text) for text, label in ROWS], lines_in("utf-8"))
    (tmp_path / "label.txt").unlink()
    with pytest.raises(UsageError, match="the columns are probably the wrong way round"):
        run("--dataset_dir", tmp_path, "--fix", tmp_path / "clean")


def test_a_misread_file_does_not_pass(tmp_path, monkeypatch):
    """Were the guess wrong, the copy would be looked through."""
    monkeypatch.setattr("core.lines.likely_encodings", lambda data, context="": ["CP1252"])
    write_files(tmp_path, ROWS, lines_in("gbk"), ("¾ÍÒ½½¨Òé", "²¡ÇéÕï¶Ï"))
    with pytest.raises(UsageError, match="nothing was written:\\n.*mojibake, such as .*the encoding was misread"):
        run("--dataset_dir", tmp_path, "--fix", tmp_path / "clean")
