"""analysis/sent_interpret.py: the documented format, every input format, the truth of what it says."""

import re

import pytest

from analysis import sent_interpret
from utils import UsageError


def run(trained, *more):
    data, checkpoint = trained
    sent_interpret.main(["--device", "cpu", "--dataset_dir", str(data), "--params_path", str(checkpoint), *more])


def blocks(path):
    return [block.splitlines() for block in path.read_text(encoding="utf-8").strip().split("\n\n")]


def test_the_format(trained, capsys):
    data, _ = trained
    lines = (data / "dev.txt").read_text(encoding="utf-8").splitlines()
    (data / "bad_case.txt").write_bytes(
        ("Text\tLabel\tPrediction\n" + f"{lines[0]}\t就医建议\n{lines[1]}\t就医建议\n").encode()
    )
    run(trained)
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"2 texts explained in {data / 'sent_interpret.txt'}" and "dirty.py" in told[1]
    found = blocks(data / "sent_interpret.txt")
    assert len(found) == 2
    train = set((data / "train.txt").read_text(encoding="utf-8").splitlines())
    for block, line in zip(found, lines):
        text, label = line.split("\t")
        assert block[0] == f"text: {text}" and block[2] == f"label: {label}"
        assert block[1].startswith("predict label: ") and block[3] == "examples with positive influence"
        scores = []
        for number, row in enumerate(block[4:], 1):
            match = re.fullmatch(rf"support{number} text: (.*)\tlabel: (.*)\tscore: (\d\.\d{{5}})", row)
            assert f"{match[1]}\t{match[2]}" in train
            scores.append(float(match[3]))
        assert len(scores) == 3 and scores == sorted(scores, reverse=True)


def test_a_training_text_supports_itself_most(trained):
    data, _ = trained
    texts = [line.split("\t")[0] for line in (data / "train.txt").read_text(encoding="utf-8").splitlines()[:5]]
    (data / "x.txt").write_bytes("\n".join(texts).encode())
    run(trained, "--interpret_input_file", "x.txt", "--interpret_result_file", "y.txt", "--top_k", "1")
    for block, text in zip(blocks(data / "y.txt"), texts):
        names = [line.split(":")[0] for line in block]
        assert names == ["text", "predict label", "examples with positive influence", "support1 text"]
        assert block[3].startswith(f"support1 text: {text}\t") and block[3].endswith("score: 1.00000")


def test_refusals(trained):
    for flags, message in (
        (["--top_k", "0"], "--top_k 0"),
        (["--interpret_input_file", "z.txt"], "z.txt: no such file"),
    ):
        with pytest.raises(UsageError, match=message):
            run(trained, *flags)
