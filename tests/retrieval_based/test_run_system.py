"""retrieval_based/run_system.py with vector_insert.py: a tiny encoder's export, a tiny classifier, every index."""

import io
import json

import pytest

from core.predictor import Predictor
from retrieval_based import run_system
from retrieval_based.utils import vector_insert
from tests.helpers import LABELS
from tests.retrieval_based.helpers import call, export_untrained
from utils import UsageError

pytest.importorskip("pymilvus", reason="pymilvus is not installed")
pytest.importorskip("hnswlib", reason="hnswlib is not installed")

NEW = '挂号"\\'


@pytest.fixture
def run(model_dir, tmp_path, capsys):
    """A function from flags to what run_system.py prints; the settings are this test's own."""

    def run(*flags):
        capsys.readouterr()
        more = ("--model_dir", model_dir, "--system_file", tmp_path / "system.json")
        call(run_system, *more, *flags)
        return capsys.readouterr().out

    return run


@pytest.fixture(params=["hnsw", "lite", "server"])
def index_flags(request, tmp_path):
    """--uri and --collection of an empty index."""
    uris = {"hnsw": str(tmp_path / "index"), "lite": str(tmp_path / "milvus.db")}
    uri = uris.get(request.param) or request.getfixturevalue("milvus").uri
    yield ["--uri", uri, "--collection", f"system_{request.param}"]


def test_labels_come_and_go(index_flags, run, model_dir, corpus, sample_lines, capsys, tmp_path):
    insert = [*index_flags, "--model_dir", str(model_dir), "--corpus_file", str(corpus / "train.txt")]
    with pytest.raises(UsageError, match="the index is empty; fill it by utils/vector_insert.py or --add_label"):
        run(*index_flags, "--texts", "头疼")
    vector_insert.main(insert)
    assert "60 of 60 texts written, 0 were there; now 60 texts" in capsys.readouterr().out
    vector_insert.main(insert)
    assert "0 of 60 texts written, 60 were there; now 60 texts" in capsys.readouterr().out
    # A text of the corpus finds itself.
    text, label = sample_lines["train"][7].split("\t")
    lines = run(*index_flags, "--texts", text, "--top_k", 3).splitlines()
    assert lines[0].split("\t")[2] == text and len(lines) == 4
    assert lines[1] == f"\t{text}\t{label}\t1.0000"
    similarities = [float(line.split("\t")[3]) for line in lines[1:]]
    assert similarities == sorted(similarities, reverse=True)
    # Only some labels.
    (answer,) = map(json.loads, run(*index_flags, "--texts", text, "--labels", LABELS[1], "--json").splitlines())
    assert answer["label"] == LABELS[1] and {hit["label"] for hit in answer["evidence"]} == {LABELS[1]}
    # A new label, with an odd name, is answered at once; renamed and removed too.
    (tmp_path / "new.txt").write_text("怎么预约专家门诊\n今天还有号吗\n", encoding="utf-8")
    assert run(*index_flags, "--add_label", NEW, "--examples", tmp_path / "new.txt") == f"{NEW}: 2 texts added\n"
    found = run(*index_flags, "--texts", "今天还有号吗", "--top_k", 1)
    assert f"\t今天还有号吗\t{NEW}\t1.0000" in found
    assert run(*index_flags, "--texts", "今天还有号吗", "--labels", NEW).startswith(f"{NEW}\t1.0000")
    assert run(*index_flags, "--rename_label", NEW, "挂号") == f"{NEW}: 2 texts are 挂号 now\n"
    assert "\t今天还有号吗\t挂号\t1.0000" in run(*index_flags, "--texts", "今天还有号吗", "--top_k", 1)
    assert run(*index_flags, "--remove_label", "挂号") == "挂号: 2 texts removed\n"
    assert "\t挂号\t" not in run(*index_flags, "--texts", "今天还有号吗", "--top_k", 60)
    with pytest.raises(UsageError, match="no label '挂号'; nothing was changed"):
        run(*index_flags, "--remove_label", "挂号")


def test_settings_and_unknown_texts(run, filled, corpus, sample_lines, tmp_path, model_dir):
    printed = run(*filled, "--fit_threshold", corpus / "dev.txt", "--keep", "0.9")
    settings = json.loads((tmp_path / "system.json").read_text("utf-8"))
    assert f"k {settings['k']}, temperature {settings['temperature']:g}" in printed
    texts = [line.split("\t")[0] for line in sample_lines["dev"][:25]]
    answers = [json.loads(line) for line in run(*filled, "--texts", *texts, "--json").splitlines()]
    unknown = [answer for answer in answers if answer["label"] is None]
    assert len(unknown) == 2  # of 25, at least 90 % are kept
    kept = min(answer["evidence"][0]["similarity"] for answer in answers if answer["label"])
    assert all(answer["evidence"][0]["similarity"] < settings["threshold"] <= kept for answer in unknown)
    assert run(*filled, "--texts", unknown[0]["text"]).startswith("unknown\t")
    # With texts that are no one's, the threshold lies between; known ones that are in the index are not their own
    # neighbours, which would all have the similarity 1.
    (tmp_path / "strange.txt").write_text("甲乙丙丁\nabc\n123\n", encoding="utf-8")
    train = corpus / "train.txt"
    run(*filled, "--fit_threshold", train, "--unknown_texts", tmp_path / "strange.txt")
    assert json.loads((tmp_path / "system.json").read_text("utf-8"))["threshold"] < 0.9999
    (tmp_path / "dev.txt").write_text("头疼\t没有的\n", encoding="utf-8")
    with pytest.raises(UsageError, match="dev.txt:1: the index has no label '没有的'"):
        run(*filled, "--fit_threshold", tmp_path / "dev.txt")


def test_classifier_and_index(run, filled, corpus, trained_once, sample_lines, tmp_path):
    export = trained_once[1] / "export"
    both = [*filled, "--classifier_dir", export]
    texts = [line.split("\t")[0] for line in sample_lines["dev"][:25]]

    def answers(*flags):
        return [json.loads(line) for line in run(*flags, "--texts", *texts, "--json").splitlines()]

    alone, certain = answers(*filled), Predictor(export).classify(texts)
    for answer, mixed, (label, score) in zip(alone, answers(*both, "--weight", 0.3), certain):
        assert (mixed["classifier"]["label"], mixed["index"]["label"]) == (label, answer["label"])
        assert mixed["disagree"] == (label != answer["label"])
        assert mixed["classifier"]["score"] == pytest.approx(score, abs=1e-4)
        if not mixed["disagree"]:
            expected = 0.3 * score + 0.7 * answer["score"]
            assert (mixed["label"], mixed["score"]) == (label, pytest.approx(expected, abs=1e-4))
    assert any(label != answer["label"] for answer, (label, _) in zip(alone, certain))
    assert "\tdisagree: classifier " in run(*both, "--texts", *texts)
    assert [answer["label"] for answer in answers(*both, "--weight", 1)] == [label for label, _ in certain]
    assert [answer["label"] for answer in answers(*both, "--weight", 0)] == [answer["label"] for answer in alone]
    run(*both, "--fit_threshold", corpus / "dev.txt", "--keep", 1)
    settings = json.loads((tmp_path / "system.json").read_text("utf-8"))
    assert {"weight", "fall_back", "k", "temperature", "threshold"} <= set(settings)
    for answer in answers(*both, "--hybrid", "fall_back"):
        sure = answer["classifier"]["score"] >= settings["fall_back"]
        assert answer["label"] == answer["classifier" if sure else "index"]["label"]
    # The classifier's labels follow a renaming, and end with a removal.
    run(*filled, "--rename_label", LABELS[0], "诊断")
    renamed = answers(*both, "--weight", 1)
    assert [answer["label"] for answer in renamed] == [label.replace(LABELS[0], "诊断") for label, _ in certain]
    run(*filled, "--remove_label", "诊断")
    assert all(answer["label"] in LABELS[1:] for answer in answers(*both, "--weight", 1))
    # A new label has a chance although the classifier does not know it.
    run(*filled, "--add_label", "挂号", "--texts", texts[0])
    (answer, *_) = answers(*both, "--weight", 0.5, "--labels", "挂号")
    assert (answer["label"], answer["score"]) == ("挂号", pytest.approx(1))


def test_lines_from_stdin(run, filled, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("头疼挂什么科\n\n医保卡能刷吗\n"))
    rows = [line for line in run(*filled).splitlines() if not line.startswith("\t")]
    assert [row.split("\t")[2] for row in rows] == ["头疼挂什么科", "医保卡能刷吗"]


def test_refusals(run, filled, tiny_model, tmp_path, model_dir, corpus):
    other = export_untrained(tiny_model, tmp_path / "other", 1)
    with pytest.raises(UsageError, match="model_hash of the index is"):
        run(*filled, "--texts", "头疼", "--model_dir", other)
    (tmp_path / "system.json").write_text(json.dumps({"model_hash": "another", "k": 3}), encoding="utf-8")
    with pytest.raises(UsageError, match="system.json: fitted with another model"):
        run(*filled, "--texts", "头疼")
    (tmp_path / "system.json").write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match="system.json: cannot be read as JSON"):
        run(*filled, "--texts", "头疼")
    with pytest.raises(UsageError, match="--texts: one is empty"):
        run(*filled, "--texts", " ")
    for flags in (["--examples", "a"], ["--weight", "2"], ["--top_k", "0"], ["--keep", "0"], ["--unknown_texts", "a"]):
        with pytest.raises(SystemExit):
            run_system.parse_flags(flags)
