"""Whether the accuracies that an export promises hold on texts that had no part in them: `make bench-confidence`.

    python tests/bench/bench_confidence.py --export_dir checkpoint/export --data_dir ../shared/kuake_qic

dev is cut into two random halves, --halvings times. On one half all that an export fits on dev is fitted (temperature,
thresholds, conformal sets: core/calibration.py, as train.py --do_export does it); the other half is answered with it
(core/confidence.py, core/label_paths.py, as a server answers). A half that promises nothing of an accuracy is not
counted there. `held` is in how many halves the wanted accuracy is at or below the upper end of the measured one's 95 %
interval (Clopper and Pearson 1934), which is what chance allows. If the model was chosen by the same dev, it is a
little too good on both halves; the promise and the check are made on the same terms all the same. The tables are
Markdown.
"""

import argparse
import importlib.metadata
import json
import platform
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root

from core.calibration import ACCURACIES, SHARES, export_facts, quality
from core.confidence import conformal_order, least_probability, limits, temperature_of
from core.label_paths import ACCURACY, LabelPaths
from core.millionths import reaches
from core.predictor import Predictor, softmax
from tests.bench.machine import cpu_name
from utils import exit_on_usage_error, format_table, read_examples


def parse_flags():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--export_dir", type=Path, default=Path("checkpoint/export"), help="(default: %(default)s)")
    add("--data_dir", type=Path, default=Path("../shared/kuake_qic"), help="with dev.txt (default: %(default)s)")
    add("--format", default="onnx", help="paddle, onnx or onnx_int8 (default: %(default)s)")
    add("--halvings", type=int, default=200, help="(default: %(default)s)")
    add("--seed", type=int, default=0, help="of the halves (default: %(default)s)")
    add("--json", type=Path, help="a file for all figures")
    return parser.parse_args()


def dev_logits(flags):
    """Predictor; the model's own logits on dev, without the temperature, float64 [texts, classes]; class ids."""
    predictor = Predictor(flags.export_dir, flags.format)
    texts, truth = read_examples(flags.data_dir / "dev.txt", predictor.labels)
    logits = predictor.logits(predictor.encode(texts)).astype(np.float64)
    return predictor, logits * temperature_of(predictor.content), np.array(truth)


def halving(logits, truth, paths, random, seed):
    """Fit on a random half and answer the other one.

    Returns:
        dict: temperature; before and after (core.calibration.quality on the other half); accuracies: wanted ->
        answered, right, texts; labels: (wanted, label) -> the same; sets: share -> held, labels, texts.
    """
    is_first = random.permutation(len(truth)) < len(truth) // 2
    facts = export_facts(logits[is_first], truth[is_first], paths, seed)
    temperature, other, answers = temperature_of(facts), logits[~is_first], truth[~is_first]
    probabilities = softmax(other / temperature)
    right = probabilities.argmax(axis=1) == answers
    confidence = probabilities.max(axis=1)
    found = {"temperature": temperature, "accuracies": {}, "labels": {}, "sets": {}}
    found["before"], found["after"] = quality(other, answers), quality(other, answers, temperature)
    for wanted in ACCURACIES:
        row = facts["thresholds"].get(f"{wanted:g}")
        if row and row["levels"][-1]:
            chosen, _ = paths.choose(probabilities, limits(facts, "onnx", f"{ACCURACY}{wanted:g}"))
            is_answered = chosen >= 0
            counts = [int(is_answered.sum()), int(right[is_answered].sum()), len(answers)]
            found["accuracies"][wanted] = counts
        for label, own in (row or {}).get("labels", {}).items():
            of_label = probabilities.argmax(axis=1) == paths.labels.index(label)
            rows = of_label & reaches(confidence, own["threshold"])
            found["labels"][wanted, label] = [int(rows.sum()), int(right[rows].sum()), int(of_label.sum())]
    for share in SHARES:
        order = conformal_order(probabilities, least_probability(facts, "onnx", share))
        held = (order == answers[:, None]).any(axis=1)
        found["sets"][share] = [int(held.sum()), int((order >= 0).sum()), len(answers)]
    return found


def upper_end(right, answered):
    """The upper end of the 95 % interval of an accuracy (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    return 1.0 if right == answered else float(beta.ppf(0.975, right + 1, answered - right))


def summary(counts, wanted):
    """What came of a promise in all halves that made it.

    Args:
        counts (list[list[int]]): answered, right, texts of each half.
        wanted (float): the accuracy that was promised.

    Returns:
        dict: cells of a table.
    """
    answered, right, texts = np.array(counts).T
    accuracy = right[answered > 0] / answered[answered > 0]
    low, high = np.percentile(accuracy, (5, 95))
    held = sum(upper_end(*row) >= wanted for row in zip(right[answered > 0], answered[answered > 0]))
    return {
        "halves": len(counts),
        "answered": f"{(answered / np.maximum(texts, 1)).mean():.1%}",
        "texts": f"{answered.mean():.0f}",
        "accuracy": f"{accuracy.mean():.2%}",
        "5 % to 95 % of the halves": f"{low:.2%}–{high:.2%}",
        "at least as wanted": f"{(accuracy >= wanted).mean():.0%}",
        "held": f"{held / len(accuracy):.1%}",
    }


def tables(results):
    """Rows of the four tables: dict by name."""
    found = {"in all": [], "by label": [], "sets": [], "probabilities": []}
    for wanted in ACCURACIES:
        own = [result["accuracies"][wanted] for result in results if wanted in result["accuracies"]]
        empty = dict.fromkeys(summary([[1, 1, 1]], wanted), "-")
        found["in all"].append(
            {"wanted": f"{wanted:.0%}", **(summary(own, wanted) if own else {**empty, "halves": 0})}
        )
    keys = sorted({key for result in results for key in result["labels"]})
    for wanted, label in keys:
        own = [result["labels"][wanted, label] for result in results if (wanted, label) in result["labels"]]
        found["by label"].append({"wanted": f"{wanted:.0%}", "label": label, **summary(own, wanted)})
    for share in SHARES:
        held, size, texts = np.array([result["sets"][share] for result in results]).T
        low, high = np.percentile(held / texts, (5, 95))
        row = {"wanted": f"{share:.0%}", "halves": len(held), "held the label": f"{(held / texts).mean():.2%}"}
        row["5 % to 95 % of the halves"] = f"{low:.2%}–{high:.2%}"
        found["sets"].append({**row, "labels of a set": f"{(size / texts).mean():.3f}"})
    for when in ("before", "after"):
        names = ("calibration_error", "log_loss")
        error, loss = (np.mean([result[when][name] for result in results]) for name in names)
        found["probabilities"].append({"": when, "calibration error": f"{error:.2%}", "log loss": f"{loss:.4f}"})
    return found


def markdown(rows):
    """Lines of a Markdown table."""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([row[column] for column in columns] for row in rows)]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def main():
    flags = parse_flags()
    predictor, logits, truth = dev_logits(flags)
    random = np.random.RandomState(flags.seed)
    paths = LabelPaths(predictor.labels)
    results = [halving(logits, truth, paths, random, seed) for seed in range(flags.halvings)]
    accuracy = (logits.argmax(axis=1) == truth).mean()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "scipy", "onnxruntime"))
    print(f"{predictor.path}, {len(truth)} texts of {flags.data_dir / 'dev.txt'}, accuracy {accuracy:.2%}")
    print(
        f"{flags.halvings} halvings, --seed {flags.seed}; {cpu_name()}, Python {platform.python_version()}, {versions}"
    )
    found = tables(results)
    for name, rows in found.items():
        if rows:
            print("\n".join(["", f"{name}:", "", *markdown(rows)]))
    temperatures = [result["temperature"] for result in results]
    print("\n".join(["", *format_table([{"temperature, mean": f"{np.mean(temperatures):.3f}"}])]))
    if flags.json:
        flags.json.write_text(json.dumps(found, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
