"""Labels that are paths in few-shot/: the scores of each level, and exports that keep the separator."""

import json

import pytest

from core.predictor import Predictor
from tests.helpers import LABELS, few_shot_flags, write_data
from utils import UsageError, read_json

# Label -> path; only `/` makes levels of them.
PATHS = dict(zip(LABELS, ("看病/诊断", "费用", "看病/建议")))


@pytest.fixture
def data(tmp_path, sample_lines):
    """16 training texts a label, 21 for dev and 19 labelled ones in test.txt."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows = {split: [line.split("\t") for line in lines] for split, lines in sample_lines.items()}
    lines = {split: [f"{text}\t{PATHS[label]}" for text, label in found] for split, found in rows.items()}
    train = sum(([line for line in lines["train"] if line.endswith(f"\t{path}")][:16] for path in PATHS.values()), [])
    write_data(folder, train, lines["dev"][:21], [f"{path}=={path[-2:]}" for path in PATHS.values()])
    (folder / "test.txt").write_text("\n".join(lines["dev"][21:40]) + "\n", encoding="utf-8")
    return folder


def first_level(predictor, path):
    """The share of a file's texts whose first part is right, in percent, as a report has it."""
    texts, truth = zip(*(line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()))
    found = [label.split("/")[0] == true.split("/")[0] for (label, _), true in zip(predictor.classify(texts), truth)]
    return f"{100 * sum(found) / len(found):.2f}"


def level_lines(text):
    return [line for line in text.splitlines() if line.startswith("Level ")]


def test_setfit(data, setfit, tiny_model, tmp_path, capsys):
    out = tmp_path / "out"
    flags = ["--data_dir", data, "--model_name_or_path", tiny_model, "--output_dir", out, "--device", "cpu"]
    flags = [*map(str, flags), *"--max_seq_length 32 --max_steps 2 --do_eval".split()]
    setfit.main([*flags, "--do_train", "--label_separator", "/"])
    said = level_lines(capsys.readouterr().out)
    assert read_json(out / "export" / "export.json")["label_separator"] == "/"
    predictor = Predictor(out / "export")
    assert predictor.paths.depth == 2
    assert said[0].startswith(
        f"Level 1 in dev dataset: 2 labels | accuracy: {first_level(predictor, data / 'dev.txt')}"
    )
    setfit.main([*flags, "--do_predict"])  # the export's own separator
    again = level_lines(capsys.readouterr().out)
    assert again[0] == said[0] and again[1].startswith("Level 1 in test dataset: 2 labels") and len(again) == 2
    setfit.main([*flags, "--label_separator", "##"])
    assert level_lines(capsys.readouterr().out) == []
    with pytest.raises(UsageError, match="--label_separator ' ': give the characters"):
        setfit.main([*flags, "--label_separator", " "])


def test_prompts(data, few_shot, few_shot_utils, infer, tiny_mlm, tmp_path, log, capsys):
    out = tmp_path / "out"
    flags = few_shot_flags(data, tiny_mlm, out, "--num_train_epochs", "1", "--do_eval", "--do_predict")
    few_shot.main([*flags, "--label_separator", "/", "--do_export"])
    said = [line for line in log if line.startswith("Level ")]
    assert [line.split(":")[0] for line in said] == ["Level 1 in dev dataset", "Level 1 in test dataset"]
    results = json.loads((out / "all_results.json").read_text(encoding="utf-8"))
    assert 0 <= results["eval_level_1_macro_f1"] <= 1 and results["test_level_1_accuracy"] >= results["test_accuracy"]
    assert read_json(out / "export" / "export.json")["label_separator"] == "/"
    predictor = few_shot_utils.PromptPredictor(out / "export", "paddle")
    assert first_level(predictor, data / "test.txt") in said[1]
    log.clear()
    later = [flag for flag in flags if flag != "--do_train"]
    few_shot.main(later)  # the model's own separator
    assert [line for line in log if line.startswith("Level ")] == said
    capsys.readouterr()
    infer.main(["--model_path_prefix", str(out / "export" / "model"), "--data_dir", str(data), "--device", "cpu"])
    assert level_lines(capsys.readouterr().err) == [said[1]]
    with pytest.raises(UsageError, match="--label_separator ' ': give the characters"):
        few_shot.main([*flags, "--label_separator", " "])
