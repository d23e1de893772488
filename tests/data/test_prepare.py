"""data/prepare.py: real archives, a real HTTP server, every refusal, and what must stay untouched."""

import contextlib
import dataclasses
import errno
import http.server
import io
import json
import os
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import pytest
from tests.helpers import ROOT, load_script

from utils import UsageError, read_examples, read_labels

script = load_script("data/prepare.py")

KUAKE = script.DATASETS["kuake_qic"]
LABELS = KUAKE.labels
# White space as it is found in the wild: two spaces, an ideographic space, a tab, a line separator.
TRAIN = [(f"{label}的  问题\u3000一", label) for label in LABELS] + [("头\t疼\u2028怎么办 ", LABELS[1])]
DEV = [("发烧吃什么药", LABELS[1]), (" 多少钱", LABELS[9])]
QUERIES = ["白 带", "胃 \n痛"]

WRITTEN = {
    "train.txt": "".join(f"{label}的 问题 一\t{label}\n" for label in LABELS) + "头 疼 怎么办\t治疗方案\n",
    "dev.txt": "发烧吃什么药\t治疗方案\n多少钱\t医疗费用\n",
    "label.txt": "".join(f"{label}\n" for label in LABELS),
    "data.txt": "白 带\n胃 痛\n",
}


def txt_files(train=TRAIN, dev=DEV):
    """The files as PaddleNLP packs them; the labels in another order, to see that it is not taken over."""
    return {
        "KUAKE_QIC/train.txt": "".join(f"{text}\t{label}\n" for text, label in train),
        "KUAKE_QIC/dev.txt": "".join(f"{text}\t{label}\n" for text, label in dev),
        "KUAKE_QIC/label.txt": "\n".join(reversed(LABELS)),
        "KUAKE_QIC/data.txt": "\n".join(query.replace("\n", "") for query in QUERIES) + "\n",
    }


def json_files(train=TRAIN, dev=DEV, queries=QUERIES):
    """The files as CBLUE packs them."""
    rows = {"train": train, "dev": dev, "test": [(query, "") for query in queries]}
    return {
        f"KUAKE-QIC/KUAKE-QIC_{split}.json": json.dumps(
            [{"id": f"s{index}", "query": text, "label": label} for index, (text, label) in enumerate(pairs)],
            ensure_ascii=False,
        )
        for split, pairs in rows.items()
    }


def as_bytes(content):
    return content if isinstance(content, bytes) else content.encode("utf-8")


def make_tar(path, files, mode="w:gz", links=()):
    """Write a tar of `files` (name -> content) and of `links` ((name, target, tarfile type), …)."""
    with tarfile.open(path, mode) as archive:
        for name, target, kind in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(target)
            archive.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(as_bytes(content))
            archive.addfile(member, io.BytesIO(as_bytes(content)))
    return path


def make_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("KUAKE-QIC/", "")
        for name, content in files.items():
            archive.writestr(name, as_bytes(content))
    return path


def make_folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(as_bytes(content))
    return path


def contents(folder):
    """File name -> text of everything below a folder, so that leftovers are seen too."""
    return {str(path.relative_to(folder)): path.read_bytes().decode() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    dataset = dataclasses.replace(KUAKE, train_rows=len(TRAIN), dev_rows=len(DEV))
    monkeypatch.setitem(script.DATASETS, "kuake_qic", dataset)


@pytest.fixture
def refused(tmp_path):
    """Prepare from an archive that must be refused; return the message."""

    def run(archive, **options):
        with pytest.raises(UsageError) as error:
            script.prepare("kuake_qic", archive, tmp_path / "out", **options)
        assert not (tmp_path / "out").exists(), "something was written in spite of the error"
        return str(error.value)

    return run


# ----------------------------------------------------------------------------------------------------- what works


def test_the_data_set_is_the_documented_one():
    assert KUAKE.url == "https://paddlenlp.bj.bcebos.com/datasets/KUAKE_QIC.tar.gz"
    assert (KUAKE.train_rows, KUAKE.dev_rows) == (6931, 1955)
    assert list(LABELS) == read_labels(ROOT / "data" / "label.txt")


@pytest.mark.parametrize(
    "build",
    [
        lambda folder: make_tar(folder / "a.tar.gz", txt_files()),
        lambda folder: make_tar(folder / "a.tar.gz", json_files()),
        lambda folder: make_tar(folder / "a.tgz", {f"deep/er/{name}": text for name, text in txt_files().items()}),
        lambda folder: make_tar(folder / "a.tar", txt_files(), mode="w"),
        lambda folder: make_zip(folder / "a.zip", json_files()),
        lambda folder: make_zip(folder / "a.zip", txt_files()),
        lambda folder: make_zip(folder / "no_suffix", {Path(name).name: text for name, text in json_files().items()}),
        lambda folder: make_folder(folder / "a", json_files()),
        lambda folder: make_folder(folder / "a", txt_files()),
    ],
    ids=[
        "tar.gz txt",
        "tar.gz json",
        "tgz deep",
        "tar txt",
        "zip json",
        "zip txt",
        "zip flat",
        "folder json",
        "folder txt",
    ],
)
def test_every_kind_of_archive_gives_the_same_files(tmp_path, build):
    out = tmp_path / "new" / "out"
    counts = script.prepare("kuake_qic", build(tmp_path), out)
    assert contents(out) == WRITTEN
    assert counts == {"train.txt": 12, "dev.txt": 2, "label.txt": 11, "data.txt": 2}
    labels = read_labels(out / "label.txt")
    assert read_examples(out / "train.txt", labels)[1] == [*range(11), 1]


def test_bom_crlf_and_blank_lines_at_the_end(tmp_path):
    files = {name: "\ufeff" + text.replace("\n", "\r\n") + "\r\n \r\n" for name, text in txt_files().items()}
    script.prepare("kuake_qic", make_tar(tmp_path / "a.tar.gz", files), tmp_path / "out")
    assert contents(tmp_path / "out") == WRITTEN


def test_label_and_queries_are_optional(tmp_path, capsys):
    files = {name: text for name, text in txt_files().items() if "train" in name or "dev" in name}
    archive, out = make_tar(tmp_path / "a.tar.gz", files), tmp_path / "out"
    script.main(["kuake_qic", "--archive", str(archive), "--save_dir", str(out)])
    assert contents(out) == {name: text for name, text in WRITTEN.items() if name != "data.txt"}
    assert "data.txt is not written" in capsys.readouterr().out


@pytest.mark.parametrize("queries", [[], [" ", ""]])
def test_no_query_means_no_data_txt(tmp_path, queries):
    script.prepare("kuake_qic", make_zip(tmp_path / "a.zip", json_files(queries=queries)), tmp_path / "out")
    assert sorted(contents(tmp_path / "out")) == ["dev.txt", "label.txt", "train.txt"]


def test_a_test_file_without_label_keys(tmp_path):
    files = json_files()
    files["KUAKE-QIC/KUAKE-QIC_test.json"] = json.dumps([{"id": "s1", "query": query} for query in QUERIES])
    script.prepare("kuake_qic", make_zip(tmp_path / "a.zip", files), tmp_path / "out")
    assert (tmp_path / "out" / "data.txt").read_text(encoding="utf-8") == WRITTEN["data.txt"]


def test_test_txt_stands_in_for_data_txt_without_its_labels(tmp_path):
    files = txt_files()
    del files["KUAKE_QIC/data.txt"]
    files["KUAKE_QIC/test.txt"] = f"有标签\t{LABELS[0]}\n空标签\t\n\n没\t标签\n"
    script.prepare("kuake_qic", make_tar(tmp_path / "a.tar.gz", files), tmp_path / "out")
    assert (tmp_path / "out" / "data.txt").read_text(encoding="utf-8") == "有标签\n空标签\n没 标签\n"
    # With data.txt there, test.txt is not looked at.
    files["KUAKE_QIC/data.txt"] = "查询\n"
    script.prepare("kuake_qic", make_tar(tmp_path / "a.tar.gz", files), tmp_path / "out", force=True)
    assert (tmp_path / "out" / "data.txt").read_text(encoding="utf-8") == "查询\n"


def test_cblue_json_wins_over_other_text_files(tmp_path):
    files = {**json_files(), "other/train.txt": "x", "other/dev.txt": "x", "more/train.txt": "x", "README.md": "x"}
    script.prepare("kuake_qic", make_folder(tmp_path / "a", files), tmp_path / "out")
    assert contents(tmp_path / "out") == WRITTEN


def test_main_says_what_was_written_and_what_comes_next(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "ROOT", tmp_path)
    archive, out = make_tar(tmp_path / "a.tar.gz", txt_files()), tmp_path / "data" / "kuake_qic"
    script.main(["kuake_qic", "--archive", str(archive)])
    assert contents(out) == WRITTEN
    first, last = capsys.readouterr().out.splitlines()
    assert first == f"{out}: train.txt 12 lines, dev.txt 2 lines, label.txt 11 lines, data.txt 2 lines"
    assert last == "next: python train.py --do_train --do_eval --do_export --data_dir data/kuake_qic"
    script.main(["kuake_qic", "--archive", str(archive), "--save_dir", str(tmp_path / "my data")])
    assert capsys.readouterr().out.endswith("--data_dir 'my data'\n")


@pytest.mark.slow
def test_the_real_data_with_the_real_counts(tmp_path, monkeypatch, shared):
    real = shared / "kuake_qic"
    if not real.is_dir():
        pytest.skip("../shared/kuake_qic is not there")
    monkeypatch.setitem(script.DATASETS, "kuake_qic", KUAKE)
    with tarfile.open(tmp_path / "KUAKE_QIC.tar.gz", "w:gz") as archive:
        archive.add(real, "KUAKE_QIC")
    counts = script.prepare("kuake_qic", tmp_path / "KUAKE_QIC.tar.gz", tmp_path / "out")
    assert counts == {"train.txt": 6931, "dev.txt": 1955, "label.txt": 11, "data.txt": 1994}
    for name in script.OUTPUT_FILES:
        assert (tmp_path / "out" / name).read_bytes() == (real / name).read_bytes(), name
    labels = read_labels(tmp_path / "out" / "label.txt")
    assert len(read_examples(tmp_path / "out" / "dev.txt", labels)[0]) == 1955


# -------------------------------------------------------------------------------------------------- the data check


def test_wrong_numbers_of_rows(tmp_path, refused):
    text = refused(make_tar(tmp_path / "a.tar.gz", txt_files(train=TRAIN[:-1])))
    assert "train: found 11 rows, expected 12" in text
    text = refused(make_zip(tmp_path / "a.zip", json_files(dev=[*DEV, *DEV])))
    assert "dev: found 4 rows, expected 2" in text


@pytest.mark.parametrize("kind", [txt_files, json_files])
def test_wrong_labels(tmp_path, refused, kind):
    unknown = refused(make_zip(tmp_path / "a.zip", kind(train=[*TRAIN[:-1], ("头疼", "治疗方桉")])))
    assert (
        "train: found 12 labels" in unknown
        and "治疗方桉" in unknown
        and f"expected 11 ({' '.join(LABELS)})" in unknown
    )
    missing = refused(make_zip(tmp_path / "a.zip", kind(train=[*TRAIN[:10], *TRAIN[:2]])))
    assert f"train: found 10 labels ({' '.join(LABELS[:10])})" in missing
    in_dev = refused(make_zip(tmp_path / "a.zip", kind(dev=[DEV[0], ("发烧", "未知")])))
    assert "dev: found 12 labels" in in_dev and "未知" in in_dev


def test_wrong_label_file(tmp_path, refused):
    files = {**txt_files(), "KUAKE_QIC/label.txt": "\n".join(LABELS[:-1])}
    assert "KUAKE_QIC/label.txt: found 10 labels" in refused(make_tar(tmp_path / "a.tar.gz", files))


@pytest.mark.parametrize("line", ["没有标签", f"\t{LABELS[0]}", "头疼\t ", ""])
def test_bad_lines_are_named(tmp_path, refused, line):
    files = {**txt_files(), "KUAKE_QIC/dev.txt": f"发烧\t{LABELS[0]}\n{line}\n头疼\t{LABELS[0]}\n"}
    assert "KUAKE_QIC/dev.txt:2: expected <text>, a tab, <label>" in refused(make_tar(tmp_path / "a.tar.gz", files))


def test_empty_file(tmp_path, refused):
    files = {**txt_files(), "KUAKE_QIC/train.txt": ""}
    assert "KUAKE_QIC/train.txt:1: expected <text>, a tab, <label>" in refused(make_tar(tmp_path / "a.tar.gz", files))


@pytest.mark.parametrize("content, expected", [
    ("[{", "not JSON"),
    ("", "not JSON"),
    ("[" * 100_000, "not JSON"),
    ('{"query": "头疼", "label": "其他"}', "not a list"),
    ("[1]", "item 1 is not an object"),
    ('[{"query": "头疼", "label": "其他"}, {"query": "头疼"}]', "item 2 is not an object"),
    ('[{"query": "头疼", "label": 3}]', "item 1 is not an object"),
    ('[{"query": ["头疼"], "label": "其他"}]', "item 1 is not an object"),
    ('[{"query": " ", "label": "其他"}]', "item 1 has an empty query or label"),
    ('[{"query": "头疼", "label": ""}]', "item 1 has an empty query or label"),
    ('[{"query": "\\ud83d", "label": "其他"}]', "item 1 has half a character"),
])  # fmt: skip
def test_bad_json(tmp_path, refused, content, expected):
    files = {**json_files(), "KUAKE-QIC/KUAKE-QIC_dev.json": content}
    text = refused(make_zip(tmp_path / "a.zip", files))
    assert "KUAKE-QIC/KUAKE-QIC_dev.json: " in text and expected in text


@pytest.mark.parametrize("name", ["dev", "test"])
def test_gbk_json(tmp_path, refused, name):
    path = f"KUAKE-QIC/KUAKE-QIC_{name}.json"
    text = refused(make_zip(tmp_path / "a.zip", {**json_files(), path: json_files()[path].encode("gb18030")}))
    assert f"{path}:1: byte 0x" in text and "it looks like GBK" in text


@pytest.mark.parametrize("name", ["train.txt", "label.txt", "data.txt"])
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
    assert "data.txt label.txt train.txt" in text
    text = refused(make_folder(tmp_path / "a", {**txt_files(), "other/train.txt": "x"}))
    assert "more than one train.txt: " in text
    assert str(Path("KUAKE_QIC/train.txt")) in text and str(Path("other/train.txt")) in text


# ------------------------------------------------------------------------------------------------- damaged archives


def test_missing_archive(tmp_path, refused):
    text = refused(tmp_path / "none.tar.gz")
    assert text.startswith(f"{tmp_path / 'none.tar.gz'}: No such file") and KUAKE.url in text


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
            script.prepare("kuake_qic", tmp_path / "b", out)
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
    script.prepare("kuake_qic", archive, home / "out")
    assert tree(tmp_path) - before == {f"a/b/c/out{name}" for name in ["", *(f"/{name}" for name in WRITTEN)]}
    assert contents(home / "out") == WRITTEN


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_tar_links_are_not_followed(tmp_path, capsys, kind):
    secret = tmp_path / "secret.txt"
    secret.write_text("".join(f"秘密\t{label}\n" for label in [*LABELS, LABELS[0]]), encoding="utf-8")
    files = txt_files()
    train = files.pop("KUAKE_QIC/train.txt")
    archive = make_tar(tmp_path / "a.tar.gz", files, links=[("KUAKE_QIC/train.txt", secret, kind)])
    with pytest.raises(UsageError, match="neither"):
        script.prepare("kuake_qic", archive, tmp_path / "out")
    assert "KUAKE_QIC/train.txt is left out: a link" in capsys.readouterr().err
    # A link into which a later member would be written by an extracting program.
    links = [("KUAKE_QIC", tmp_path / "elsewhere", kind), ("x/train.txt", secret, kind)]
    archive = make_tar(tmp_path / "a.tar.gz", {**files, "KUAKE_QIC/train.txt": train}, links=links)
    script.prepare("kuake_qic", archive, tmp_path / "out")
    assert contents(tmp_path / "out") == WRITTEN
    assert "秘密" in secret.read_text(encoding="utf-8") and not (tmp_path / "elsewhere").exists()


def test_zip_links_are_not_followed(tmp_path, capsys):
    files = json_files()
    archive = make_zip(tmp_path / "a.zip", files)
    with zipfile.ZipFile(archive, "a") as writer:
        info = zipfile.ZipInfo("x/KUAKE-QIC_test.json")
        info.create_system = 3
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        writer.writestr(info, "/etc/hostname")
    script.prepare("kuake_qic", archive, tmp_path / "out")
    assert contents(tmp_path / "out") == WRITTEN
    assert "x/KUAKE-QIC_test.json is left out: a link" in capsys.readouterr().err


@pytest.mark.parametrize("make", [make_tar, make_zip, make_folder])
def test_huge_members_are_not_read(tmp_path, monkeypatch, capsys, make):
    files = {**txt_files(), "KUAKE_QIC/data.txt": "x" * 10_001}
    archive = make(tmp_path / "archive", files)
    monkeypatch.setattr(script, "MAX_BYTES", 10_000)
    script.prepare("kuake_qic", archive, tmp_path / "out")
    assert sorted(contents(tmp_path / "out")) == ["dev.txt", "label.txt", "train.txt"]
    assert "data.txt is left out: larger than 10,000 bytes" in capsys.readouterr().err


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
        script.main(flags)
    assert f"already has {name};" in str(error.value)
    assert "--force" in str(error.value) and "--save_dir" in str(error.value)
    assert contents(out) == {name: "mine\n", "notes.md": "mine too\n"}
    script.main([*flags, "--force"])
    assert contents(out) == {**WRITTEN, "notes.md": "mine too\n"}


def test_existing_files_are_reported_before_any_download(tmp_path, monkeypatch):
    monkeypatch.setattr(script, "download", lambda *_: pytest.fail("downloaded"))
    make_folder(tmp_path / "out", {"dev.txt": "mine"})
    with pytest.raises(UsageError, match="already has dev.txt"):
        script.prepare("kuake_qic", None, tmp_path / "out")


def test_an_old_data_txt_that_nothing_replaces_is_kept_and_said(tmp_path, capsys):
    out = make_folder(tmp_path / "out", {"data.txt": "mine\n"})
    archive = make_zip(tmp_path / "a.zip", json_files(queries=[]))
    script.main(["kuake_qic", "--archive", str(archive), "--save_dir", str(out), "--force"])
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
        script.prepare("kuake_qic", archive, out, force=True)
    assert contents(out) == old and tree(out) == set(old)


def test_a_refused_archive_leaves_the_old_files(tmp_path):
    old = {name: f"old {name}\n" for name in WRITTEN}
    out = make_folder(tmp_path / "out", old)
    with pytest.raises(UsageError, match="expected 2"):
        script.prepare("kuake_qic", make_zip(tmp_path / "a.zip", json_files(dev=DEV[:1])), out, force=True)
    assert contents(out) == old


def test_a_folder_in_the_way_of_a_file(tmp_path):
    archive = make_tar(tmp_path / "a.tar.gz", txt_files())
    out = make_folder(tmp_path / "out", {"train.txt/x": "mine", "dev.txt": "mine"})
    with pytest.raises(UsageError, match="train.txt: is a folder"):
        script.prepare("kuake_qic", archive, out, force=True)
    assert contents(out) == {str(Path("train.txt/x")): "mine", "dev.txt": "mine"}


def test_save_dir_that_is_a_file(tmp_path):
    archive = make_tar(tmp_path / "a.tar.gz", txt_files())
    (tmp_path / "file").write_text("mine")
    for save_dir in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="cannot write there"):
            script.prepare("kuake_qic", archive, save_dir)
    assert (tmp_path / "file").read_text() == "mine"


# --------------------------------------------------------------------------------------------------------- download


@pytest.fixture
def serve(monkeypatch):
    """Serve chunks of bytes, a pause before each one; give the address."""
    # A proxy set on this machine would be asked for 127.0.0.1 otherwise.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(*chunks, pause=0.0, length=None, status=200):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                if length is not False:
                    self.send_header("Content-Length", str(length or sum(map(len, chunks))))
                self.end_headers()
                with contextlib.suppress(OSError):
                    for chunk in chunks:
                        time.sleep(pause)
                        self.wfile.write(chunk)
                        self.wfile.flush()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.block_on_close = False
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/KUAKE_QIC.tar.gz"
        dataset = dataclasses.replace(script.DATASETS["kuake_qic"], url=url)
        monkeypatch.setitem(script.DATASETS, "kuake_qic", dataset)
        return url

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def packed(tmp_path):
    return make_tar(tmp_path / "packed.tar.gz", txt_files()).read_bytes()


def assert_names_both_ways_out(text, url):
    assert text.startswith(f"{url}: cannot be downloaded (")
    assert "try again" in text and "--archive FILE" in text and "\n" not in text


@pytest.mark.parametrize("length", [None, False], ids=["with length", "without length"])
def test_download(tmp_path, serve, packed, length):
    serve(packed, length=length)
    script.main(["kuake_qic", "--save_dir", str(tmp_path / "out")])
    assert contents(tmp_path / "out") == WRITTEN


def test_download_shows_its_progress(monkeypatch, serve, packed):
    bars = []

    class Bar(script.tqdm):
        def __init__(self, *args, **options):
            super().__init__(*args, **{**options, "file": io.StringIO(), "disable": False})
            bars.append(self)

    monkeypatch.setattr(script, "tqdm", Bar)
    assert script.download(serve(packed)) == packed
    assert [(bar.total, bar.n, bar.desc) for bar in bars] == [(len(packed), len(packed), "KUAKE_QIC.tar.gz")]


def test_a_slow_line_is_waited_for(serve):
    # Longer than the timeout in all, but never silent for as long.
    url = serve(b"ab", b"cd", b"ef", b"gh", pause=0.7)
    start = time.monotonic()
    assert script.download(url, timeout=2) == b"abcdefgh"
    assert time.monotonic() - start > 2


def test_a_server_that_never_answers(refused, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a.tar.gz"
        monkeypatch.setitem(script.DATASETS, "kuake_qic", dataclasses.replace(KUAKE, url=url))
        start = time.monotonic()
        text = refused(None, timeout=0.5)
        assert 0.4 < time.monotonic() - start < 5
    assert_names_both_ways_out(text, url)
    assert "no data for 0.5 seconds" in text or "timed out" in text


def test_a_server_that_falls_silent(refused, serve, packed):
    url = serve(packed[:300], packed[300:], pause=1.5)
    start = time.monotonic()
    text = refused(None, timeout=0.5)
    assert time.monotonic() - start < 5
    assert_names_both_ways_out(text, url)


def test_a_name_look_up_that_hangs(refused, monkeypatch):
    hanging = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: hanging.wait(20))
    start = time.monotonic()
    text = refused(None, timeout=0.5)
    assert time.monotonic() - start < 5
    hanging.set()
    assert_names_both_ways_out(text, KUAKE.url)
    assert "no data for 0.5 seconds" in text


def test_a_download_cut_short(refused, serve, packed):
    url = serve(packed[:300], length=len(packed))
    text = refused(None)
    assert_names_both_ways_out(text, url)
    assert f"closed after 300 of {len(packed)} bytes" in text.replace(",", "")


def test_http_error_and_closed_port(refused, serve):
    url = serve(b"gone", status=404)
    text = refused(None)
    assert_names_both_ways_out(text, url)
    assert "404" in text


def test_closed_port(refused, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a.tar.gz"
    monkeypatch.setitem(script.DATASETS, "kuake_qic", dataclasses.replace(KUAKE, url=url))
    text = refused(None)
    assert_names_both_ways_out(text, url)
    assert "refused" in text


def test_a_login_page_instead_of_the_archive(refused, serve):
    url = serve(b"<html>please log in</html>")
    text = refused(None)
    assert text.startswith(f"{url}: not a .tar.gz") and "--archive FILE" in text


def test_a_download_without_end(refused, serve, monkeypatch):
    monkeypatch.setattr(script, "MAX_BYTES", 1000)
    url = serve(b"x" * 5000)
    text = refused(None)
    assert_names_both_ways_out(text, url)
    assert "more than 1,000 bytes" in text


# ------------------------------------------------------------------------------------------------------ as a program


def run_script(*arguments, **environment):
    command = [sys.executable, str(ROOT / "data" / "prepare.py"), *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", **environment}
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=60)


@pytest.mark.parametrize("case", ["missing", "not an archive", "truncated", "bad JSON", "GBK", "too few rows"])
def test_exit_code_2_and_one_line(tmp_path, case):
    path = tmp_path / "a.zip"
    make_zip(path, json_files())
    if case == "missing":
        path.unlink()
    elif case == "not an archive":
        path.write_text("hello")
    elif case == "truncated":
        path.write_bytes(path.read_bytes()[:-50])
    elif case == "bad JSON":
        make_zip(path, {**json_files(), "KUAKE-QIC/KUAKE-QIC_train.json": "["})
    elif case == "GBK":
        make_zip(path, {**json_files(), "KUAKE-QIC/KUAKE-QIC_train.json": "头疼".encode("gb18030")})
    result = run_script("kuake_qic", "--archive", path, "--save_dir", tmp_path / "out")
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith(f"{path}:") and result.stderr.count("\n") == 1
    assert ("expected 6,931" in result.stderr) == (case == "too few rows")
    assert not (tmp_path / "out").exists()


def test_no_network_is_said_quickly(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = f"http://127.0.0.1:{server.getsockname()[1]}"
    start = time.monotonic()
    result = run_script("kuake_qic", "--save_dir", tmp_path / "out", https_proxy=proxy, HTTPS_PROXY=proxy, no_proxy="")
    assert time.monotonic() - start < 35
    assert result.returncode == 2 and result.stdout == ""
    assert_names_both_ways_out(result.stderr.rstrip("\n"), KUAKE.url)


def test_a_hanging_name_look_up_does_not_keep_the_program(tmp_path):
    code = (
        f"import socket, sys, time; sys.path.insert(0, {str(ROOT / 'data')!r}); import prepare\n"
        "socket.getaddrinfo = lambda *_, **__: time.sleep(40)\n"
        "with prepare.exit_on_usage_error():\n"
        f"    prepare.prepare('kuake_qic', None, prepare.Path({str(tmp_path / 'out')!r}), timeout=0.5)\n"
    )
    start = time.monotonic()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert time.monotonic() - start < 20
    assert result.returncode == 2 and "cannot be downloaded" in result.stderr and "Traceback" not in result.stderr


def test_unknown_data_set_and_help(tmp_path):
    result = run_script("kuake", "--save_dir", tmp_path / "out")
    assert result.returncode == 2 and "kuake_qic" in result.stderr
    result = run_script("--help")
    assert result.returncode == 0 and "--archive FILE" in result.stdout and "--force" in result.stdout
    assert "python data/prepare.py kuake_qic" in result.stdout
