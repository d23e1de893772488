"""Exports, measurements and the picture of bench_models.py."""

import contextlib
import functools
import itertools
import time

import numpy as np
from matplotlib.figure import Figure

from core import export
from core.checkpoints import NGRAM, STUDENT_FORMATS, stored_labels
from core.export import graph_bytes
from core.loading import load_config_and_tokenizer, load_model
from core.predictor import Predictor, first_output
from tests.bench.machine import BATCH_SIZE
from utils import UsageError


def can_be_loaded(name):
    """Whether a model is at hand or can be downloaded."""
    try:
        load_config_and_tokenizer(name)
        return True
    except UsageError:
        return False


def export_plain(checkpoint, target):
    """The model as paddle2onnx gives it, with the whole last layer: what ONNX Runtime is compared on."""
    config, tokenizer = load_config_and_tokenizer(str(checkpoint))
    labels = stored_labels(config.to_dict())
    model = load_model(str(checkpoint), config, labels)
    kept, export.first_token_only = export.first_token_only, lambda *args: contextlib.nullcontext()
    try:
        export.export_classifier(model, tokenizer, labels, 128, target, types=["onnx"])
    finally:
        export.first_token_only = kept


def run_plainly(predictor):
    """Have a predictor of an ONNX format run its graph by a session with all the defaults of ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(predictor.path), providers=["CPUExecutionProvider"])
    predictor.run_batch, predictor.many_cores = functools.partial(first_output, session), 1


def measure(folder, format, texts, truth, repeats, plainly=False):
    """One row: accuracy, and milliseconds a sample with and without tokenisation; plainly: as run_plainly."""
    predictor = Predictor(folder, format, batch_size=BATCH_SIZE)
    if plainly:
        run_plainly(predictor)
    if format.partition(":")[0] in STUDENT_FORMATS:
        return measure_student(predictor, texts, truth, repeats)
    features = predictor.encode(texts)
    predictor.logits(features[::8])
    without, tokens = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        logits = predictor.logits(features)
        without.append((time.perf_counter() - start) / len(texts) * 1000)
        start = time.perf_counter()
        predictor.encode(texts)
        tokens.append((time.perf_counter() - start) / len(texts) * 1000)
    return {
        "file_mb": graph_bytes(predictor.path) / 1e6,
        "accuracy": float((logits.argmax(axis=1) == np.array(truth)).mean()),
        "ms": min(without),
        "ms_with_tokenisation": min(without) + min(tokens),
    }


def measure_student(predictor, texts, truth, repeats):
    """A row of a student alone or with its model: as of measure, and the share of texts that the student answers.

    Texts are sorted by length and go in by BATCH_SIZE where the student is alone; else as Predictor takes them.
    """
    step = BATCH_SIZE if predictor.format == NGRAM else len(texts)
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    batches = [[texts[place] for place in order[start : start + step]] for start in range(0, len(texts), step)]
    found, without, seconds = np.empty(len(texts), int), [], []
    for _ in range(repeats + 1):  # the first one warms up
        start = time.perf_counter()
        features = [predictor.encode(batch) for batch in batches]
        between = time.perf_counter()
        rows = np.concatenate([predictor.rows(batch) for batch in features])
        without.append((time.perf_counter() - between) / len(texts) * 1000)
        seconds.append((time.perf_counter() - start) / len(texts) * 1000)
    found[order] = rows.argmax(axis=1)
    share = None
    if hasattr(predictor, "first_stage"):
        share = 1 - float(np.mean(np.concatenate([predictor.first_stage(batch)[1] for batch in features])))
    return {
        "file_mb": predictor.path.stat().st_size / 1e6,
        "accuracy": float((found == np.array(truth)).mean()),
        "ms": min(without[1:]),
        "ms_with_tokenisation": min(seconds[1:]),
        "share": share,
        "accuracy_out_of_fold": getattr(predictor, "facts", {}).get("accuracy"),
    }


def draw(rows, path, title):
    """Accuracy against latency: a line a model and format, a point a width."""
    figure = Figure(figsize=(9, 5.5))
    axes = figure.subplots()
    colours = {"paddle": "tab:blue", "paddle_bf16": "tab:cyan", "onnx": "tab:orange", "onnx_int8": "tab:green"}
    markers = dict(zip(dict.fromkeys(row["model"] for row in rows), itertools.cycle("os^vD*P")))
    groups = {}
    for row in rows:
        if row["format"] in colours:
            pruners = ["paddleslim"] if row["pruner"] == "paddleslim" else []
            groups.setdefault((row["model"], row["format"], *pruners), []).append(row)
    for (model, format, *pruners), points in groups.items():
        style = {"color": colours[format], "marker": markers[model], "linewidth": 1}
        style["linestyle"] = "--" if pruners else "-"
        places = [(row["ms"], row["accuracy"] * 100) for row in points]
        axes.plot(*zip(*places), label=", ".join([model, format, *pruners]), **style)
        if format == "onnx_int8":
            for row, place in zip(points, places):
                axes.annotate(row["width"], place, fontsize=8, xytext=(3, 4), textcoords="offset points")
    axes.set_xscale("log")
    ticks = [0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("ms per sample (batch 32, sorted, tokenisation excluded; log scale)")
    axes.set_ylabel("dev accuracy, %")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
