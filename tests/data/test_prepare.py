"""data/prepare.py: real archives, every refusal, and what must stay untouched."""

import errno
import json
import os
import tarfile
from pathlib import Path

import pytest

from data import prepare
from tests.data.kuake import (
    DEV,
    LABELS,
    QUERIES,
    TRAIN,
    WRITTEN,
    contents,
    json_files,
    make_folder,
    make_tar,
    make_zip,
    txt_files,
)
from tests.helpers import ROOT
from utils import UsageError, read_examples, read_labels

pytestmark = pytest.mark.usefixtures("few_rows")
ROWS = dict(prepare.ROWS)

# ----------------------------------------------------------------------------------------------------- what works


def test_the_data_set_is_the_documented_one():
    assert prepare.URL == "https://paddlenlp.bj.bcebos.com/datasets/KUAKE_QIC.tar.gz"
    assert ROWS == {"train": 6931, "dev": 1955}
    assert read_labels(ROOT / "data" / "label.txt") == LABELS


KINDS = {
    "tar.gz txt": lambda folder: make_tar(folder / "a.tar.gz", txt_files()),
    "tar.gz json": lambda folder: make_tar(folder / "a.tar.gz", json_files()),
    "tgz deep": lambda folder: make_tar(
        folder / "a.tgz", {f"deep/er/{name}": text for name, text in txt_files().items()}
    ),
    "tar txt": lambda folder: make_tar(folder / "a.tar", txt_files(), mode="w"),
    "zip json": lambda folder: make_zip(folder / "a.zip", json_files()),
    "zip txt": lambda folder: make_zip(folder / "a.zip", txt_files()),
    "zip flat": lambda folder: make_zip(folder / "a", {Path(name).name: text for name, text in json_files().items()}),
    "folder json": lambda folder: make_folder(folder / "a", json_files()),
    "folder txt": lambda folder: make_folder(folder / "a", txt_files()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_archive_gives_the_same_files(tmp_path, kind):
    out = tmp_path / "new" / "out"
    counts = prepare.prepare(KINDS[kind](tmp_path), out)
    assert contents(out) == WRITTEN
    assert counts == {"train.txt": 12, "dev.txt": 2, "label.txt": 11, "data.txt": 2}
    labels = read_labels(out / "label.txt")
    assert read_examples(out / "train.txt", labels)[1] == [*range(11), 1]


def test_bom_crlf_and_blank_lines_at_the_end(tmp_path):
    files = {name: "\ufeff" + text.replace("\n", "\r\n") + "\r\n \r\n" for name, text in txt_files().items()}
    prepare.prepare(make_tar(tmp_path / "a.tar.gz", files), tmp_path / "out")
    assert contents(tmp_path / "out") == WRITTEN


def test_label_and_queries_are_optional(tmp_path, capsys):
    files = {name: text for name, text in txt_files().items() if "train" in name or "dev" in name}
    archive, out = make_tar(tmp_path / "a.tar.gz", files), tmp_path / "out"
    prepare.main(["kuake_qic", "--archive", str(archive), "--save_dir", str(out)])
    assert contents(out) == {name: text for name, text in WRITTEN.items() if name != "data.txt"}
    assert "data.txt is not written" in capsys.readouterr().out


@pytest.mark.parametrize("queries", [[], [" ", ""]])
def test_no_query_means_no_data_txt(tmp_path, queries):
    prepare.prepare(make_zip(tmp_path / "a.zip", json_files(queries=queries)), tmp_path / "out")
    assert sorted(contents(tmp_path / "out")) == ["dev.txt", "label.txt", "train.txt"]


def test_a_test_file_without_label_keys(tmp_path):
    files = json_files()
    files["KUAKE-QIC/KUAKE-QIC_test.json"] = json.dumps([{"id": "s1", "query": query} for query in QUERIES])
    prepare.prepare(make_zip(tmp_path / "a.zip", files), tmp_path / "out")
    assert (tmp_path / "out" / "data.txt").read_text(encoding="utf-8") == WRITTEN["data.txt"]


def test_cblue_json_wins_over_other_text_files(tmp_path):
    files = {**json_files(), "other/train.txt": "x", "other/dev.txt": "x", "README.md": "x"}
    prepare.prepare(make_folder(tmp_path / "a", files), tmp_path / "out")
    assert contents(tmp_path / "out") == WRITTEN


def test_main_says_what_was_written_and_what_comes_next(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(prepare, "ROOT", tmp_path)
    archive, out = make_tar(tmp_path / "a.tar.gz", txt_files()), tmp_path / "data" / "kuake_qic"
    prepare.main(["kuake_qic", "--archive", str(archive)])
    assert contents(out) == WRITTEN
    first, last = capsys.readouterr().out.splitlines()
    assert first == f"{out}: train.txt 12 lines, dev.txt 2 lines, label.txt 11 lines, data.txt 2 lines"
    assert last == "next: python train.py --do_train --do_eval --do_export --data_dir data/kuake_qic"
    prepare.main(["kuake_qic", "--archive", str(archive), "--save_dir", str(tmp_path / "my data")])
    assert capsys.readouterr().out.endswith("--data_dir 'my data'\n")


@pytest.mark.slow
def test_the_real_data_with_the_real_counts(tmp_path, monkeypatch, shared):
    real = shared / "kuake_qic"
    if not real.is_dir():
        pytest.skip("../shared/kuake_qic is not there")
    monkeypatch.setattr(prepare, "ROWS", ROWS)
    with tarfile.open(tmp_path / "KUAKE_QIC.tar.gz", "w:gz") as archive:
        archive.add(real, "KUAKE_QIC")
    counts = prepare.prepare(tmp_path / "KUAKE_QIC.tar.gz", tmp_path / "out")
    assert counts == {"train.txt": 6931, "dev.txt": 1955, "label.txt": 11, "data.txt": 1994}
    for name in counts:
        assert (tmp_path / "out" / name).read_bytes() == (real / name).read_bytes(), name
    labels = read_labels(tmp_path / "out" / "label.txt")
    assert len(read_examples(tmp_path / "out" / "dev.txt", labels)[0]) == 1955


# -------------------------------------------------------------------------------------------------- the data check


def test_wrong_numbers_of_rows(tmp_path, refused):
    text = refused(make_tar(tmp_path / "a.tar.gz", txt_files(train=TRAIN[:-1])))
    assert "train: found 11 rows, 11 labels" in text and "expected 12 rows" in text
    text = refused(make_zip(tmp_path / "a.zip", json_files(dev=[*DEV, *DEV])))
    assert "dev: found 4 rows, 2 labels" in text and "expected 2 rows, 11 labels" in text


@pytest.mark.parametrize("kind", [txt_files, json_files])
def test_wrong_labels(tmp_path, refused, kind):
    unknown = refused(make_zip(tmp_path / "a.zip", kind(train=[*TRAIN[:-1], ("头疼", "治疗方桉")])))
    assert "train: found 12 rows, 12 labels" in unknown and "治疗方桉" in unknown
    assert f"11 labels ({' '.join(LABELS)}); take" in unknown
    missing = refused(make_zip(tmp_path / "a.zip", kind(train=[*TRAIN[:10], *TRAIN[:2]])))
    assert f"train: found 12 rows, 10 labels ({' '.join(LABELS[:10])})" in missing
    in_dev = refused(make_zip(tmp_path / "a.zip", kind(dev=[DEV[0], ("发烧", "未知")])))
    assert "dev: found 2 rows, 2 labels" in in_dev and "未知" in in_dev


@pytest.mark.parametrize("line", ["没有标签", f"\t{LABELS[0]}", "头疼\t ", ""])
def test_bad_lines_are_named(tmp_path, refused, line):
    files = {**txt_files(), "KUAKE_QIC/dev.txt": f"发烧\t{LABELS[0]}\n{line}\n头疼\t{LABELS[0]}\n"}
    assert "KUAKE_QIC/dev.txt:2: expected <text>, a tab, <label>" in refused(make_tar(tmp_path / "a.tar.gz", files))


def test_empty_file(tmp_path, refused):
    files = {**txt_files(), "KUAKE_QIC/train.txt": ""}
    assert "KUAKE_QIC/train.txt:1: expected <text>, a tab, <label>" in refused(make_tar(tmp_path / "a.tar.gz", files))


BAD_JSON = {
    "[{": "not a JSON list",
    "": "not a JSON list",
    "[" * 100_000: "not a JSON list",
    '{"query": "头疼", "label": "其他"}': "not a JSON list",
    "3": "not a JSON list",
    "[1]": "not a JSON list",
    '[{"query": "头疼", "label": "其他"}, {"query": "头疼"}]': "item 2 has an empty query or label",
    '[{"query": "头疼", "label": 3}]': "not a JSON list",
    '[{"query": ["头疼"], "label": "其他"}]': "not a JSON list",
    '[{"query": " ", "label": "其他"}]': "item 1 has an empty query or label",
    '[{"query": "头疼", "label": ""}]': "item 1 has an empty query or label",
    '[{"query": "\\ud83d", "label": "其他"}]': "surrogates not allowed",
}


@pytest.mark.parametrize("content", BAD_JSON, ids=range(len(BAD_JSON)))
def test_bad_json(tmp_path, refused, content):
    files = {**json_files(), "KUAKE-QIC/KUAKE-QIC_dev.json": content}
    text = refused(make_zip(tmp_path / "a.zip", files))
    assert "KUAKE-QIC/KUAKE-QIC_dev.json: " in text and BAD_JSON[content] in text


@pytest.mark.parametrize("name", ["dev", "test"])
def test_gbk_json(tmp_path, refused, name):
    path = f"KUAKE-QIC/KUAKE-QIC_{name}.json"
    text = refused(make_zip(tmp_path / "a.zip", {**json_files(), path: json_files()[path].encode("gb18030")}))
    assert f"{path}:1: byte 0x" in text and "it looks like GBK" in text


@pytest.mark.parametrize("name", ["train.txt", "data.txt"])
def test_gbk_lines(tmp_path, refused, name):
    content = b"a\n" * 2 + "头疼".encode("gb18030")
    text = refused(make_tar(tmp_path / "a.tar.gz", {**txt_files(), f"KUAKE_QIC/{name}": content}))
    assert f"KUAKE_QIC/{name}:3: byte 0xCC is not UTF-8; it looks like GBK" in text


def test_bytes_of_no_encoding(tmp_path, refused):
    text = refused(make_tar(tmp_path / "a.tar.gz", {**txt_files(), "KUAKE_QIC/train.txt": b"\xff\xff\xff"}))
    assert "KUAKE_QIC/train.txt:1: byte 0xFF is not UTF-8" in text and "GBK" not in text


def test_files_missing_or_twice(tmp_path, refused):
    files = txt_files()
    del files["KUAKE_QIC/dev.txt"]
    text = refused(make_tar(tmp_path / "a.tar.gz", files))
    assert "neither KUAKE-QIC_train.json and KUAKE-QIC_dev.json nor train.txt and dev.txt" in text
    assert "(of these: data.txt train.txt)" in text
    text = refused(make_folder(tmp_path / "a", {**txt_files(), "other/train.txt": "x"}))
    assert "more than one train.txt: " in text
    assert str(Path("KUAKE_QIC/train.txt")) in text and str(Path("other/train.txt")) in text


# ------------------------------------------------------------------------------------------------- damaged archives


def test_missing_archive(tmp_path, refused):
    text = refused(tmp_path / "none.tar.gz")
    assert text.startswith(f"{tmp_path / 'none.tar.gz'}: No such file") and prepare.URL in text


@pytest.mark.parametrize("content", [b"", b"<html>not here</html>" * 100, b"PK\x03\x04 no zip", b"\x1f\x8b no gzip"])
def test_not_an_archive(tmp_path, refused, content):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(content)
    text = refused(path)
    assert text.startswith(f"{path}: not a .tar.gz, .tgz, .tar or .zip archive") and "\n" not in text


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar", "a.zip"])
def test_truncated_archives(tmp_path, refused, name):
    files = {**txt_files(), "KUAKE_QIC/padding": os.urandom(5000)}
    if name.endswith("zip"):
        path = make_zip(tmp_path / name, files)
    else:
        path = make_tar(tmp_path / name, files, mode="w:gz" if name.endswith("gz") else "w")
    data = path.read_bytes()
    # A tar ends in empty blocks, up to 10 KB of them: cut into the last member before them.
    end = data.rstrip(b"\0") if name == "a.tar" else data
    for size in (len(end) - 20, len(end) // 2, 700):
        path.write_bytes(data[:size])
        assert "or cut short" in refused(path), size


@pytest.mark.parametrize("make, files", [(make_zip, json_files()), (make_tar, txt_files())], ids=["zip", "tar.gz"])
def test_damaged_bytes_never_give_a_traceback_or_other_texts(tmp_path, make, files):
    data = make(tmp_path / "a", files).read_bytes()
    refusals = 0
    for position in range(0, len(data), 7):
        (tmp_path / "b").write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        out = tmp_path / f"out{position}"
        try:
            prepare.prepare(tmp_path / "b", out)
        except UsageError:
            refusals += 1
        else:
            # A flipped byte in a date or in the name of an optional file changes no text.
            assert contents(out).items() <= WRITTEN.items()
    assert refusals > len(data) / 7 / 2


# -------------------------------------------------------------------------------------------------- hostile archives


def tree(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_paths_that_lead_outside_write_nothing_there(tmp_path, make):
    home = tmp_path / "a" / "b" / "c"
    home.mkdir(parents=True)
    target = (tmp_path / "absolute").as_posix()
    names = {"train.txt": "../../train.txt", "dev.txt": f"{target}/dev.txt", "data.txt": "..\\..\\data.txt"}
    files = {names.get(Path(name).name, name): text for name, text in txt_files().items()}
    files.update({"../../evil.txt": "evil", f"{target}/evil.txt": "evil"})
    archive = make(home / "archive", files)
    before = tree(tmp_path)
    prepare.prepare(archive, home / "out")
    assert tree(tmp_path) - before == {f"a/b/c/out{name}" for name in ["", *(f"/{name}" for name in WRITTEN)]}
    assert contents(home / "out") == WRITTEN


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_tar_links_are_not_followed(tmp_path, kind):
    secret = tmp_path / "secret.txt"
    secret.write_text("".join(f"秘密\t{label}\n" for label in [*LABELS, LABELS[0]]), encoding="utf-8")
    files = txt_files()
    train = files.pop("KUAKE_QIC/train.txt")
    archive = make_tar(tmp_path / "a.tar.gz", files, links=[("KUAKE_QIC/train.txt", secret, kind)])
    with pytest.raises(UsageError, match="neither"):
        prepare.prepare(archive, tmp_path / "out")
    # A link into which a later member would be written by an extracting program.
    links = [("KUAKE_QIC", tmp_path / "elsewhere", kind), ("x/train.txt", secret, kind)]
    archive = make_tar(tmp_path / "a.tar.gz", {**files, "KUAKE_QIC/train.txt": train}, links=links)
    prepare.prepare(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == WRITTEN
    assert "秘密" in secret.read_text(encoding="utf-8") and not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("make", [make_tar, make_zip, make_folder])
def test_huge_members_are_not_read(tmp_path, monkeypatch, refused, make):
    files = {**txt_files(), "KUAKE_QIC/data.txt": "x" * 10_001}
    archive = make(tmp_path / "archive", files)
    monkeypatch.setattr(prepare, "MAX_BYTES", 10_000)
    assert "data.txt is larger than 10,000 bytes" in refused(archive)


def test_control_characters_in_a_path_do_not_reach_the_terminal(tmp_path, refused):
    files = {**txt_files(), "\x1b[2Jx/train.txt": "x"}
    text = refused(make_tar(tmp_path / "a.tar.gz", files))
    assert "more than one train.txt" in text and "\x1b" not in text


# ------------------------------------------------------------------------------------------------------------ output


@pytest.mark.parametrize("name", ["train.txt", "dev.txt", "label.txt", "data.txt"])
def test_files_are_replaced_only_by_force(tmp_path, name):
    archive, out = make_tar(tmp_path / "a.tar.gz", txt_files()), tmp_path / "out"
    make_folder(out, {name: "mine\n", "notes.md": "mine too\n"})
    flags = ["kuake_qic", "--archive", str(archive), "--save_dir", str(out)]
    with pytest.raises(UsageError) as error:
        prepare.main(flags)
    assert f"already has {name};" in str(error.value)
    assert "--force" in str(error.value) and "--save_dir" in str(error.value)
    assert contents(out) == {name: "mine\n", "notes.md": "mine too\n"}
    prepare.main([*flags, "--force"])
    assert contents(out) == {**WRITTEN, "notes.md": "mine too\n"}


def test_existing_files_are_reported_before_any_download(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "download", lambda: pytest.fail("downloaded"))
    make_folder(tmp_path / "out", {"dev.txt": "mine"})
    with pytest.raises(UsageError, match="already has dev.txt"):
        prepare.prepare(None, tmp_path / "out")


def test_an_old_data_txt_that_nothing_replaces_is_kept_and_said(tmp_path, capsys):
    out = make_folder(tmp_path / "out", {"data.txt": "mine\n"})
    archive = make_zip(tmp_path / "a.zip", json_files(queries=[]))
    prepare.main(["kuake_qic", "--archive", str(archive), "--save_dir", str(out), "--force"])
    assert contents(out) == {**WRITTEN, "data.txt": "mine\n"}
    assert "the one that is there is kept" in capsys.readouterr().out


@pytest.mark.parametrize("failing", ["train.txt", "data.txt"])
def test_a_failing_write_leaves_the_old_files(tmp_path, monkeypatch, failing):
    archive = make_tar(tmp_path / "a.tar.gz", txt_files())
    old = {name: f"old {name}\n" for name in WRITTEN}
    out = make_folder(tmp_path / "out", old)
    write_bytes = Path.write_bytes

    def full_disk(path, data):
        if path.name == failing:
            write_bytes(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(
        UsageError, match="out: cannot write there .No space left on device.; choose another --save_dir"
    ):
        prepare.prepare(archive, out, force=True)
    assert contents(out) == old and tree(out) == set(old)


def test_a_refused_archive_leaves_the_old_files(tmp_path):
    old = {name: f"old {name}\n" for name in WRITTEN}
    out = make_folder(tmp_path / "out", old)
    with pytest.raises(UsageError, match="expected 2"):
        prepare.prepare(make_zip(tmp_path / "a.zip", json_files(dev=DEV[:1])), out, force=True)
    assert contents(out) == old


def test_a_folder_in_the_way_of_a_file(tmp_path):
    archive = make_tar(tmp_path / "a.tar.gz", txt_files())
    out = make_folder(tmp_path / "out", {"train.txt/x": "mine", "dev.txt": "mine"})
    with pytest.raises(UsageError, match="train.txt: is a folder"):
        prepare.prepare(archive, out, force=True)
    assert contents(out) == {str(Path("train.txt/x")): "mine", "dev.txt": "mine"}


def test_save_dir_that_is_a_file(tmp_path):
    archive = make_tar(tmp_path / "a.tar.gz", txt_files())
    (tmp_path / "file").write_text("mine")
    for save_dir in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="cannot write there"):
            prepare.prepare(archive, save_dir)
    assert (tmp_path / "file").read_text() == "mine"
