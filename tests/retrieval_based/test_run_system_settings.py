"""retrieval_based/run_system.py: settings and renamings are the index's, whatever is killed; and flags that lie."""

import io
import json
import shutil

import pytest

from retrieval_based import run_system
from retrieval_based.system import System
from retrieval_based.utils import hnsw_files, milvus_notes, milvus_util, vector_insert
from retrieval_based.utils.index import open_index
from tests.helpers import LABELS
from tests.retrieval_based.helpers import call, write_file
from utils import UsageError, read_json

pytest.importorskip("pymilvus", reason="pymilvus is not installed")
pytest.importorskip("hnswlib", reason="hnswlib is not installed")


class KilledError(BaseException):
    """Nothing in the program catches it."""


@pytest.fixture
def model(tmp_path, model_dir):
    """A model folder of this test's own: earlier versions wrote into it."""
    return shutil.copytree(model_dir, tmp_path / "model")


@pytest.fixture
def run(model, capsys):
    """A function from flags to what run_system.py prints and says on stderr."""

    def run(*flags):
        capsys.readouterr()
        call(run_system, "--model_dir", model, *flags)
        return capsys.readouterr()

    return run


@pytest.fixture
def insert(model, corpus, tmp_path):
    """A function that fills an index of this test's own, and gives its flags."""

    def insert(name, *more):
        flags = ["--uri", str(tmp_path / name), *more]
        call(vector_insert, *flags, "--model_dir", model, "--corpus_file", corpus / "train.txt")
        return flags

    return insert


def labels_of(captured):
    return [answer["label"] for answer in map(json.loads, captured.out.splitlines())]


def test_two_indexes_of_one_model(run, insert, corpus, trained_once, sample_lines, model):
    """What is renamed and fitted in one has no part in the other: folders, files, collections of one file."""
    indexes = [insert("one"), insert("two"), insert("a.db"), insert("a.db", "--collection", "other")]
    texts = [line.split("\t")[0] for line in sample_lines["dev"][:25]]
    ask = ["--classifier_dir", trained_once[1] / "export", "--weight", 1, "--json", "--texts", *texts]
    before = [run(*index, *ask).out for index in indexes]
    asked = [json.loads(line) for line in before[0].splitlines()]
    for changed, other in (indexes[:2], indexes[2:]):
        run(*changed, "--fit_threshold", corpus / "dev.txt", "--keep", 0.5)
        run(*changed, "--rename_label", LABELS[0], "诊断")
        captured = run(*changed, *ask)
        answers = [json.loads(line) for line in captured.out.splitlines()]
        renamed = [answer["classifier"]["label"].replace(LABELS[0], "诊断") for answer in asked]
        assert [answer["classifier"]["label"] for answer in answers] == renamed and "诊断" in renamed
        assert None in labels_of(captured)
        assert run(*other, *ask).out == before[indexes.index(other)]
    assert not (model / "system.json").exists()


def test_the_file_of_before(run, insert, model):
    """It is moved into the first index that it fits, with a word; after that, the file is no one's any more."""
    flags, other = insert("index"), insert("other")
    run(*flags, "--rename_label", LABELS[0], "诊断")
    hash_of = read_json(model / "dual_encoder.json")["model_hash"]
    index = open_index(flags[1], read_json(model / "dual_encoder.json")["dim"], hash_of)
    index._files.notes.clear()  # as if an earlier version had renamed
    index.save()
    old = {"model_hash": hash_of, "k": 3, "threshold": 2.0, "renamed": {LABELS[0]: "诊断"}}
    (model / "system.json").write_text(json.dumps(old), encoding="utf-8")
    captured = run(*other, "--texts", "头疼", "--json")
    assert f"system.json: not taken over, since it renames {LABELS[0]!r}" in captured.err
    assert labels_of(captured) != [None] and (model / "system.json").exists()
    captured = run(*flags, "--texts", "头疼", "--json")
    assert "system.json: its settings are with the index from now on" in captured.err and labels_of(captured) == [None]
    assert not (model / "system.json").exists() and (model / "system.json.old").exists()
    captured = run(*flags, "--texts", "头疼", "--json")
    assert (captured.err, labels_of(captured)) == ("", [None])
    assert run(*other, "--texts", "头疼", "--json").err == ""


# Where a kill cuts a renaming off: before its note, after it, among the rows, after them, and after the confirmation.
STEPS = ["noting", "noted", "half", "changed", "confirmed"]


def kill_at(step, patch):
    """Let the process die at a step, in both kinds of index; a kind passes over what it does not do."""

    def die(*_, **__):
        raise KilledError

    def die_at(note_name):
        for owner in (hnsw_files.IndexFolder, milvus_notes.MilvusNotes):
            name = "add_note" if owner is hnsw_files.IndexFolder else "add"
            method = getattr(owner, name)
            patch.setattr(owner, name, lambda self, note, m=method: die() if note_name in note else m(self, note))

    if step == "noting":
        die_at("renaming")
    elif step == "noted":
        patch.setattr(milvus_util.MilvusIndex, "rename_label", die)
        patch.setattr("retrieval_based.utils.hnsw_util.HnswIndex.rename_label", die)
    elif step == "half":
        patch.setattr(milvus_util, "READ_BATCH", 5)
        upsert, calls = milvus_util.MilvusIndex._upsert_rows, []
        patch.setattr(
            milvus_util.MilvusIndex,
            "_upsert_rows",
            lambda self, rows: die() if calls else (calls.append(1), upsert(self, rows)),
        )
        patch.setattr(hnsw_files.IndexFolder, "write", die)
    elif step == "changed":
        die_at("renamed")
    else:
        rename = System.rename_label
        patch.setattr(System, "rename_label", lambda self, *names: die(rename(self, *names)))


@pytest.mark.parametrize("name, steps", [("index", STEPS), ("a.db", ["half"])])
def test_a_renaming_that_is_killed(run, insert, trained_once, sample_lines, name, steps, monkeypatch):
    """At any step: what is answered meanwhile has one name, and the same command ends it."""
    flags, texts = insert(name), [line.split("\t")[0] for line in sample_lines["dev"][:25]]
    ask = [*flags, "--classifier_dir", trained_once[1] / "export", "--weight", 1, "--json", "--texts", *texts]
    before = labels_of(run(*ask))
    assert LABELS[0] in before
    for step in steps:
        rename = [*flags, "--rename_label", LABELS[0], "诊断"]
        with monkeypatch.context() as patch:
            kill_at(step, patch)
            with pytest.raises(KilledError):
                run(*rename)
        captured = run(*ask)
        now = LABELS[0] if step == "noting" else "诊断"
        assert labels_of(captured) == [label.replace(LABELS[0], now) for label in before], step
        evidence = [hit["label"] for line in captured.out.splitlines() for hit in json.loads(line)["evidence"]]
        assert set(evidence) <= {now, *LABELS[1:]}, step
        cut_off = step not in ("noting", "confirmed")
        assert ("not all texts of" in captured.err and "--rename_label" in captured.err) == cut_off
        run(*rename)
        captured = run(*ask)
        assert labels_of(captured) == [label.replace(LABELS[0], "诊断") for label in before], step
        assert captured.err == ""
        run(*flags, "--rename_label", "诊断", LABELS[0])
    assert labels_of(run(*ask)) == before


def test_another_change_first_completes_a_renaming(run, filled, monkeypatch):
    with monkeypatch.context() as patch:
        kill_at("noted", patch)
        with pytest.raises(KilledError):
            run(*filled, "--rename_label", LABELS[0], "诊断")
    out = run(*filled, "--remove_label", "诊断").out
    assert f"{LABELS[0]}: " in out and "texts are 诊断 now; that had been cut off\n诊断: " in out
    with pytest.raises(UsageError, match=f"--labels {LABELS[0]}: not in the index"):
        run(*filled, "--labels", LABELS[0], "--texts", "头疼")


def test_inserting_a_former_name_is_refused(run, filled, corpus, model):
    """It would undo the renaming for all texts of the file."""
    run(*filled, "--rename_label", LABELS[0], "诊断")
    again = [*filled, "--model_dir", str(model), "--corpus_file", str(corpus / "train.txt")]
    with pytest.raises(UsageError, match=f"train.txt: the index has renamed '{LABELS[0]}' to '诊断'; rename it in"):
        vector_insert.main(again)
    run(*filled, "--add_label", LABELS[0], "--texts", "头疼")
    vector_insert.main(again)


def test_labels_that_are_nothing(run, filled, capsys):
    for flags, message in (
        (["--add_label", ""], "--add_label: is empty"),
        (["--add_label", " "], "--add_label: is empty"),
        (["--remove_label", ""], "--remove_label: is empty"),
        (["--rename_label", "", "b"], "--rename_label: is empty"),
        (["--rename_label", "a", ""], "NEW: is empty"),
        (["--rename_label", "a", " a"], "--rename_label a a: the same name"),
        (["--labels", "a", ""], "--labels, number 2: is empty"),
        (["--classifier_dir", ""], "--classifier_dir: is empty"),
        (["--system_file", ""], "--system_file: is empty"),
        (["--add_label", "unknown"], "--add_label unknown: is printed for a text that no label fits"),
        (["--rename_label", "a", "?", "--unknown_label", "?"], "? a \\?: is printed|\\?: is printed"),
    ):
        with pytest.raises(SystemExit):
            run_system.parse_flags(flags)
        assert message.split("|")[-1].replace("\\", "") in capsys.readouterr().err, flags
    with pytest.raises(UsageError, match="the label '行.n列' has a tab, a line end or the like"):
        run(*filled, "--rename_label", LABELS[0], "行\n列")
    with pytest.raises(UsageError, match="--texts .*: not UTF-8; set the terminal to UTF-8"):
        run(*filled, "--texts", "a\udcb5")
    with pytest.raises(UsageError, match="--uri host:19530: a Milvus server has an address such as http://host:19530"):
        run("--uri", "host:19530", "--texts", "a")


def test_a_label_called_unknown(run, filled):
    """In the answer's line it would look like a text that was rejected."""
    run(*filled, "--rename_label", LABELS[0], "未知")
    assert run(*filled, "--texts", "头疼", "--unknown_label", "拒绝").out
    with pytest.raises(UsageError, match="未知: is a label of the index, and printed for a text that no label fits"):
        run(*filled, "--texts", "头疼", "--unknown_label", "未知")
    assert run(*filled, "--texts", "头疼", "--unknown_label", "未知", "--json").out


def test_a_classifier_and_an_index_that_do_not_fit(run, filled, trained_once, tmp_path):
    export = shutil.copytree(trained_once[1] / "export", tmp_path / "classifier")
    both = [*filled, "--classifier_dir", export, "--texts", "头疼"]
    names = {"0": LABELS[0], "1": "别的", "2": LABELS[1]}
    (export / "id2label.json").write_text(json.dumps(names), encoding="utf-8")
    assert "classifier: knows labels that are not in the index, and so not answered: 别的\n" in run(*both).err
    names = {"0": "甲", "1": "乙", "2": "丙"}
    (export / "id2label.json").write_text(json.dumps(names), encoding="utf-8")
    with pytest.raises(UsageError, match="have no label in common .the classifier's: 甲 乙 丙."):
        run(*both)


def test_gbk_through_the_pipe(run, filled, monkeypatch):
    stdin = io.TextIOWrapper(io.BytesIO("头疼\n".encode() + "头疼应该挂什么科".encode("gbk")), encoding="utf-8")
    monkeypatch.setattr("sys.stdin", stdin)
    with pytest.raises(UsageError, match="stdin:2: byte .* is not UTF-8"):
        run(*filled)


def test_a_file_of_settings_that_the_user_names(run, filled, corpus, tmp_path, model):
    """It goes before the index's, and the index keeps its own."""
    mine = tmp_path / "mine.json"
    run(*filled, "--fit_threshold", corpus / "dev.txt")
    assert run(*filled, "--fit_threshold", corpus / "dev.txt", "--system_file", mine).out.startswith(f"{mine}: k ")
    content = read_json(mine)
    mine.write_text(json.dumps({**content, "threshold": 2.0}), encoding="utf-8")
    assert labels_of(run(*filled, "--system_file", mine, "--texts", "头疼", "--json")) == [None]
    mine.write_text(json.dumps({**content, "model_hash": "another"}), encoding="utf-8")
    with pytest.raises(UsageError, match="mine.json: fitted with another model; run --fit_threshold again"):
        run(*filled, "--system_file", mine, "--texts", "头疼")
    run(*filled, "--fit_threshold", corpus / "dev.txt", "--system_file", mine)  # as the message says
    assert read_json(mine) == content
    write_file(model / "system.json", "{")
    assert run(*filled, "--texts", "头疼").err == ""  # the index has its own
