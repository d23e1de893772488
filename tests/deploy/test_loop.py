"""deploy/annotation/loop.py: from no label at all to suggestions, on a stand-in encoder."""

import json

from tests.deploy.annotation_parts import LABELS, make_loop, run_steps, truth, write_pool


def label(loop, texts, annotator="a"):
    loop.give(texts)
    loop.record([(text, annotator, truth(text)) for text in texts])


def test_from_no_label_to_suggestions_and_on_after_a_restart(tmp_path):
    loop = make_loop(write_pool(tmp_path / "data"), tmp_path / "work")
    run_steps(loop)
    assert loop.ready and loop.accuracy is None and loop.suggest(["球赛"]) == [None]
    first = loop.next(10)
    assert len(first) == 10 and len({truth(text) for text in first}) == 2
    label(loop, first)
    assert not set(loop.next(50)) & set(first)
    run_steps(loop)
    label(loop, loop.next(20))
    run_steps(loop)
    assert loop.fitted.keys() == loop.labelled().keys() and loop.accuracy > 0.8
    assert [one[0] for one in loop.suggest(["球员夺得冠军", "银行调低利率"])] == LABELS
    assert loop.suggest(["", " \n", "球员夺得冠军"])[:2] == [None, None]
    version, history = loop.version, loop.history
    loop.stop()
    loop.journal.close()
    lines = (tmp_path / "work/labelled.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 30 and all(truth(line) == line.split("\t")[1] for line in lines)
    rows = [json.loads(line) for line in (tmp_path / "work/annotated.jsonl").open(encoding="utf-8")]
    assert rows[0] == {"text": first[0], "label": [truth(first[0])]}

    again = make_loop(tmp_path / "data", tmp_path / "work")
    run_steps(again)
    assert len(again.labelled()) == 30 and again.ready and again.history[: len(history)] == history
    assert again.version >= version and not set(again.next(200)) & {line.split("\t")[0] for line in lines}
    again.journal.close()


def test_a_worse_model_does_not_take_over(tmp_path):
    loop = make_loop(write_pool(tmp_path / "data", dev=30), tmp_path / "work")
    run_steps(loop)
    label(loop, loop.next(30))
    run_steps(loop)
    served, accuracy = loop.model, loop.accuracy
    wrong = loop.next(40)
    loop.record([(text, "a", LABELS[1 - LABELS.index(truth(text))]) for text in wrong])
    run_steps(loop)
    assert not loop.history[-1]["took_over"] and loop.history[-1]["accuracy"] < accuracy
    assert loop.model is served and loop.accuracy == accuracy and len(loop.fitted) == 30
    assert loop.progress()["until_next_model"] == 10
    loop.journal.close()


def test_what_people_disagree_on_is_no_training_text(tmp_path):
    loop = make_loop(write_pool(tmp_path / "data"), tmp_path / "work")
    run_steps(loop)
    one, other = loop.next(2)
    loop.replace([(one, LABELS[0], "a"), (one, LABELS[1], "b"), (other, LABELS[0], "a"), (other, LABELS[0], "b")])
    assert list(loop.labelled()) == [other]
    progress = loop.progress()
    assert (progress["done"], progress["labelled"], progress["disputed"]) == (2, 1, 1)
    loop.write_labels()
    lines = (tmp_path / "work/annotated.jsonl").read_text(encoding="utf-8").splitlines()
    assert {tuple(json.loads(line)["label"]) for line in lines} == {(LABELS[0],), tuple(LABELS)}
    loop.journal.close()
