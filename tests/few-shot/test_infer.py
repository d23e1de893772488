"""few-shot/infer.py: the export's answers on ONNX Runtime, files and messages."""

import shutil

import pytest

from tests.helpers import LABELS, UNREADABLE, not_installed, unknown_lines
from utils import UsageError


@pytest.fixture
def flags(prompted):
    """A function to the flags for the trained export; more ones win."""
    data, out = prompted
    base = ["--model_path_prefix", out / "export" / "model", "--data_dir", data, "--device", "cpu"]
    return lambda *more: [str(flag) for flag in (*base, *more)]


def rows_of(path):
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_answers_are_those_of_the_training(infer, flags, prompted, capsys, monkeypatch):
    """Neither prompt nor length is a flag. Scores to four places; a batch of one pads nothing."""
    monkeypatch.setattr("core.progress.LINE_INTERVAL", 0)  # the progress bar is lines here, and these come at once
    data, out = prompted
    expected = rows_of(out / "predictions.txt")[1:]
    for more in (["--batch_size", "4"], ["--batch_size", "1", "--num_threads", "1"]):
        infer.main(flags(*more))
        printed = capsys.readouterr()
        rows = [line.split("\t") for line in printed.out.splitlines()]
        assert [row[:2] for row in rows] == [[row[0], row[2]] for row in expected]
        assert all(abs(float(row[2]) - float(truth[3])) < 2e-4 for row, truth in zip(rows, expected))
        right = sum(row[1] == row[2] for row in expected)
        assert printed.err.splitlines()[-1] == f"Accuracy: {right / 19:.2%} ({right} of 19 texts)"
        assert "19/19" in printed.err  # the progress bar


def test_result_file_and_unlabelled_texts(infer, flags, prompted, tmp_path, capsys):
    data, out = prompted
    infer.main(flags("--result_file", tmp_path / "results" / "r.txt"))
    rows = rows_of(tmp_path / "results" / "r.txt")
    expected = rows_of(out / "predictions.txt")
    assert [row[:3] for row in rows] == [row[:3] for row in expected]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 and printed[0] == f"19 predictions are in {tmp_path / 'results' / 'r.txt'}"
    (data / "test.txt").unlink()
    (data / "data.txt").write_text("头疼[MASK]怎么办\n" + "多少钱" * 60 + "\n", encoding="utf-8")
    infer.main(flags("--result_file", tmp_path / "r.txt"))
    rows = rows_of(tmp_path / "r.txt")
    assert [row[:2] for row in rows[1:]] == [["头疼[MASK]怎么办", ""], ["多少钱" * 60, ""]]
    assert all(row[2] in LABELS for row in rows[1:]) and "Accuracy" not in capsys.readouterr().err


def test_texts_that_the_model_cannot_read(infer, flags, prompted, few_shot, log):
    """Trap: the ids of soft tokens are small numbers, of which [UNK] of a small vocabulary is one."""
    data, out = prompted
    (data / "test.txt").write_text("头疼\n多少钱\n", encoding="utf-8")
    infer.main(flags())
    assert not unknown_lines(log)
    (data / "test.txt").write_text("\n".join(UNREADABLE), encoding="utf-8")
    infer.main(flags("--batch_size", "1"))
    [line] = unknown_lines(log)
    assert line.startswith(f"the texts: 100.0% of the tokens are [UNK], characters or words that {out / 'export'} ")
    train_flags = ["--data_dir", data, "--output_dir", out, "--device", "cpu", "--do_predict"]
    few_shot.main([str(flag) for flag in train_flags])
    [_, line] = unknown_lines(log)
    assert line.startswith(f"{data}: texts to predict: 100.0%") and f"that {out} cannot read" in line


def test_long_texts_are_cut_as_in_training(infer, flags, prompted, few_shot, capsys):
    data, out = prompted
    (data / "test.txt").write_text("头疼要看什么科" * 40 + "\n" + "多少钱" * 60 + "\n", encoding="utf-8")
    train_flags = ["--data_dir", data, "--output_dir", out, "--device", "cpu", "--do_predict"]
    few_shot.main([str(flag) for flag in train_flags])
    capsys.readouterr()
    infer.main(flags())
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    expected = rows_of(out / "predictions.txt")[1:]
    assert [row[1] for row in rows] == [row[2] for row in expected]
    assert [float(row[2]) for row in rows] == pytest.approx([float(row[3]) for row in expected], abs=2e-4)
    infer.main(flags("--max_seq_length", "12"))
    shorter = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[2] for row in shorter] != [row[2] for row in rows]


def test_without_onnx_the_paddle_graph_runs(infer, flags, prompted, capsys):
    data, out = prompted
    infer.main(flags())
    with_onnx = capsys.readouterr().out
    (out / "export" / "model.onnx").unlink()
    infer.main(flags())
    printed = capsys.readouterr()
    strip = [line.rsplit("\t", 1)[0] for line in with_onnx.splitlines()]
    assert [line.rsplit("\t", 1)[0] for line in printed.out.splitlines()] == strip
    command = f"python train.py --do_export --export_type onnx --output_dir {out}"
    assert (
        "model.onnx: no such file; running model.pdmodel on Paddle instead" in printed.err and command in printed.err
    )


def test_the_command_that_is_told_makes_the_onnx_file(infer, flags, prompted, few_shot):
    data, out = prompted
    (out / "export" / "model.onnx").unlink()
    more = ["--do_export", "--export_type", "onnx", "--output_dir", str(out), "--device", "cpu"]
    few_shot.main(more)  # no data folder is needed
    assert infer.choose_format(out / "export" / "model") == "onnx"
    infer.main(flags("--result_file", out / "r.txt"))
    assert [row[:3] for row in rows_of(out / "r.txt")] == [row[:3] for row in rows_of(out / "predictions.txt")]


def test_a_missing_gpu_is_a_message(infer, flags, prompted, capsys):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("there is a GPU")
    infer.main([*flags(), "--device", "gpu"])
    assert "--device gpu: this onnxruntime has none to use; using the CPU" in capsys.readouterr().err
    with pytest.raises(UsageError, match="none can be used here"):
        infer.main([*flags(), "--device", "gpu", "--use_fp16"])


def test_refusals(infer, flags, prompted, monkeypatch):
    data, out = prompted

    def refusal(*more):
        with pytest.raises(UsageError) as error:
            infer.main(flags(*more))
        return str(error.value)

    assert "--use_fp16 works on a GPU only" in refusal("--use_fp16")
    assert "--batch_size 0: must be at least 1" in refusal("--batch_size", 0)
    assert "the model has positions for 128" in refusal("--max_seq_length", 129)
    assert "take" in refusal("--max_seq_length", 6)
    assert "nowhere/model.onnx: no such file; train first" in refusal("--model_path_prefix", "nowhere/model")
    (data / "test.txt").write_text("多少钱\t费用\n", encoding="utf-8")
    assert refusal().startswith(f"{data / 'test.txt'}:1: unknown label '费用'")
    (data / "test.txt").unlink()
    assert "neither test.txt nor data.txt" in refusal()
    path = out / "export" / "model.onnx"
    shutil.copy(path, out / "kept")
    path.write_bytes(path.read_bytes()[:1000])
    (data / "test.txt").write_text("多少钱\n", encoding="utf-8")
    assert "cut short or replaced" in refusal()
    monkeypatch.setattr("importlib.metadata.version", not_installed)
    assert "pip install -r deploy/requirements.txt" in refusal()


def test_help(help_of):
    assert help_of("infer.py").startswith("usage: infer.py")
