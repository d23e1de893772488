"""data/check.py: reports in every form, flags, fuzz against what train.py takes, a large file."""

import copy
import json
import random
import shutil
import subprocess
import sys
from unittest import mock

import pytest

import train
from data import check
from tests.data.folders import add_lines, mutate, run
from tests.helpers import LABELS, ROOT, train_flags, write_data
from utils import UsageError


def test_json(data_dir, tmp_path, capsys):
    add_lines(data_dir, "train", "坏行")
    assert run("--dataset_dir", data_dir, "--json") == 1
    printed = json.loads(capsys.readouterr().out)
    assert run("--dataset_dir", data_dir, "--json", tmp_path / "new" / "report.json") == 1
    assert json.loads((tmp_path / "new" / "report.json").read_text(encoding="utf-8")) == printed
    [row] = printed["findings"][0]["rows"]
    place = {"file": "train.txt", "line": 49, "message": "no tab; write <text>, a tab, <label>"}
    assert row == {**place, "text": "坏行", "other_text": None}


def test_the_terminal_report_counts_all_and_shows_some(data_dir, capsys):
    add_lines(data_dir, "train", *["坏行\x1b[31m"] * 30)
    assert run("--dataset_dir", data_dir) == 1
    out = capsys.readouterr().out
    assert "ERROR no_tab (30)" in out and f"{data_dir / 'train.txt'}:49: no tab" in out
    assert out.count("坏行") == check.ROWS_IN_TERMINAL and "… and 25 more" in out
    assert "\x1b" not in out and "30 errors, " in out


def test_the_next_step_is_said(data_dir, capsys):
    assert run("--dataset_dir", data_dir) == 0
    out = capsys.readouterr().out
    step = f"next: python few-shot/setfit.py --data_dir {data_dir} --model_name_or_path data/offline_encoder "
    assert out.splitlines()[-1] == f"{step}--output_dir checkpoints_setfit --do_train --do_eval"
    assert "Advice: few labelled texts: " in out and "64.33, fine-tuning 61.39" in out
    add_lines(data_dir, "train", "坏行")
    assert run("--dataset_dir", data_dir) == 1
    out = capsys.readouterr().out
    assert out.splitlines()[-1].endswith(f"python data/check.py --dataset_dir {data_dir} --fix {data_dir}_clean")
    assert "Advice" not in out


def test_the_advice_is_in_chinese_where_the_locale_is(data_dir, capsys, monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert run("--dataset_dir", data_dir, "--json") == 0
    assert json.loads(capsys.readouterr().out)["advice"]["said"].startswith("标注少：few-shot/setfit.py")
    assert run("--dataset_dir", data_dir) == 0
    assert "建议：标注少" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset_dir", "nowhere"], "nowhere: no such folder"),
        (["--max_length", "2"], "--max_length 2: must be at least 3"),
        (["--near_duplicate_threshold", "1.5"], "from 0 to 1"),
        (["--max_listed", "0"], "--max_listed 0: must be at least 1"),
        (["--model_name_or_path", "./nowhere"], "no such directory"),
    ],
)
def test_usage_errors(data_dir, flags, message):
    with pytest.raises(UsageError, match=message):
        run("--dataset_dir", data_dir, *flags)


def test_the_checks_need_no_paddle(data_dir):
    """Findings without a tokenizer come at once."""
    code = (
        "import sys; from data import check; "
        f"check.main(['--dataset_dir', {str(data_dir)!r}]); "
        "print({'paddle', 'paddlenlp', 'sklearn', 'matplotlib'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", cwd=ROOT)
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "set()")


FOLDER = "FOLDER"
TRAIN_FLAGS = ["--do_train", "--do_eval", "--device", "cpu", "--data_dir", FOLDER, "--output_dir", f"{FOLDER}/out"]
PARSED = {}


def parse_once(parser_class, classes, *rest, parse=train.parse_arguments):
    """train.parse_arguments of TRAIN_FLAGS, once a parser: building one takes longer than reading the data."""
    if parser_class not in PARSED:
        PARSED[parser_class] = parse(parser_class, classes, *rest)
    return copy.deepcopy(PARSED[parser_class])


def refused_by_train(folder):
    """The message with which train.py refuses the folder, or None; read as its --do_train --do_eval reads it."""

    def parse_and_name(*arguments):
        groups = parse_once(*arguments)
        for group in groups:
            paths = {name: value for name, value in vars(group).items() if str(value).startswith(FOLDER)}
            vars(group).update({name: value.replace(FOLDER, str(folder)) for name, value in paths.items()})
        return groups

    with mock.patch.object(train, "parse_arguments", parse_and_name):
        try:
            train.parse_all(TRAIN_FLAGS)
        except UsageError as error:
            return str(error)
    return None


# What --fix says where it would have to guess, or to lose much.
REFUSED_FIXES = (
    "no label is known",
    "lines would be lost",
    "a wrong guess would damage it",
    "no sample would be left",
    "convert it",
)


def fuzz(count, seed, tmp_path, sample_lines):
    """Check `count` damaged folders; returns how many train.py takes and refuses."""
    passed = refused = 0
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        folder = tmp_path / str(number)
        folder.mkdir()
        write_data(folder, sample_lines["train"][:24], sample_lines["dev"][:9])
        add_lines(folder, "data", "没有标签的一条文本")
        mutate(folder, rng)
        message = refused_by_train(folder)
        results = folder / "results.json"
        try:
            code = run("--dataset_dir", folder, "--json", results, "--fix", folder / "clean")
        except UsageError as error:
            assert any(known in str(error) for known in REFUSED_FIXES), (number, str(error))
            assert not (folder / "clean").exists(), number
        else:
            if code == 0:
                assert refused_by_train(folder / "clean") is None, number
        summary = json.loads(results.read_text(encoding="utf-8"))
        "\n".join(check.report(summary)).encode("utf-8")
        errors = [row for finding in summary["findings"] if finding["severity"] == "error" for row in finding["rows"]]
        here = [row for row in errors if row["file"] in ("train.txt", "dev.txt", "label.txt")]
        assert bool(here) == (message is not None), (number, message, here[:3])
        passed, refused = passed + (message is None), refused + (message is not None)
        shutil.rmtree(folder)
    return passed, refused


def test_damaged_folders(tmp_path, sample_lines, capsys):
    passed, refused = fuzz(200, 1, tmp_path, sample_lines)
    assert passed + refused == 200 and min(passed, refused) > 20


@pytest.mark.slow
def test_a_thousand_damaged_folders(tmp_path, sample_lines, capsys):
    passed, refused = fuzz(1000, 2, tmp_path, sample_lines)
    assert passed + refused == 1000


def test_what_the_linter_passes_is_trained_on(tmp_path, sample_lines, tiny_model, capsys):
    """Not only read: damaged folders that pass go through a real training step."""
    trained = 0
    for number in range(100):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_data(folder, sample_lines["train"][:24], sample_lines["dev"][:9])
        mutate(folder, random.Random(f"train-{number}"))
        if run("--dataset_dir", folder) == 0 and trained < 3:
            train.main(train_flags(folder, tiny_model, folder / "out", "--do_eval", "--max_steps", "1"))
            trained += 1
    assert trained == 3


def test_memory_stays_small_and_lines_are_quick(tmp_path, sample_lines):
    """A tenth of the size that the README promises; `make bench-data` measures all of it."""
    import time
    import tracemalloc

    rng = random.Random(0)
    characters = sorted({character for line in sample_lines["train"] for character in line.split("\t")[0]})
    lines = ["".join(rng.choices(characters, k=18)) + "\t" + rng.choice(LABELS) for _ in range(100_000)]
    write_data(tmp_path, lines[:95_000], lines[95_000:])
    del lines
    tracemalloc.start()
    check.check_folder(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 250e6
    start = time.perf_counter()
    check.check_folder(tmp_path)
    assert time.perf_counter() - start < 30
