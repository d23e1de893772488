"""Accuracy and latency of every model x width x format on real data; run by `make bench-models`.

    python tests/bench_models.py --data_dir ../shared/kuake_qic --work_dir bench

For each encoder: fine-tune (train.py --do_train --do_export), prune (train.py --do_compress), then run dev through
each format of each export folder. What --work_dir already holds is not trained again.
Latency is total time / samples with batches of 32 texts sorted by length; the fastest of --repeats passes, since other
load can only slow a pass down.
The results go to docs/bench_models.json, and as a picture to docs/bench_models.png.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import utils  # noqa: E402

utils.prepare_cpu()
sys.path.insert(0, str(ROOT / "tests"))
from bench_train import BATCH_SIZE, cpu_name  # noqa: E402

WIDTHS = {"1/1": None, "3/4": "0.75", "2/3": "0.67", "1/2": "0.5"}
COMMON = ["--device", "cpu", "--per_device_train_batch_size", BATCH_SIZE, "--per_device_eval_batch_size", BATCH_SIZE,
          "--max_length", "128", "--logging_steps", "20"]  # fmt: skip
TRAIN = ["--num_train_epochs", "4", "--evaluation_strategy", "epoch", "--save_strategy", "epoch",
         "--save_total_limit", "1", "--load_best_model_at_end", "--metric_for_best_model", "accuracy"]  # fmt: skip
EXPORT_TYPES = ["--export_type", "paddle", "onnx", "onnx_int8"]
OFFLINE = {
    "offline encoder 12L-384": ("data/offline_encoder", 12, "1e-4"),
    "offline encoder 6L-384": ("data/offline_encoder_6", 6, "1.5e-4"),
}
ERNIE = ["ernie-3.0-tiny-medium-v2-zh", "ernie-3.0-tiny-mini-v2-zh", "ernie-3.0-tiny-micro-v2-zh",
         "ernie-3.0-tiny-nano-v2-zh"]  # fmt: skip


def run(*command):
    """Run a command of the repository with its output shown."""
    print("$", " ".join(map(str, command)), flush=True)
    subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, check=True, stdin=subprocess.DEVNULL)


def encoders(with_ernie):
    """Name -> (model_name_or_path, learning rate) of those at hand."""
    found = {}
    for name, (folder, layers, rate) in OFFLINE.items():
        if not (ROOT / folder / "config.json").exists():
            run("data/build_encoder.py", "--output_dir", folder, "--num_hidden_layers", layers)
        found[name] = (folder, rate)
    if with_ernie:
        import trainer

        for name in ERNIE:
            try:
                trainer.load_config_and_tokenizer(name)
                found[name] = (name, "3e-5")
            except utils.UsageError:
                print(f"{name}: cannot be downloaded here, left out", flush=True)
    return found


def make_models(name, model, rate, args):
    """Train, export and prune one encoder; the export folder of each width."""
    data = ["--data_dir", args.data_dir]
    folder = Path(args.work_dir).resolve() / name.replace(" ", "_")
    seed = ["--seed", args.seed]
    if not (folder / "export" / "export.json").exists():
        run("train.py", "--do_train", "--do_eval", "--do_export", *data, "--model_name_or_path", model, "--output_dir",
            folder, "--learning_rate", rate, *seed, *COMMON, *TRAIN, *EXPORT_TYPES)  # fmt: skip
    plain = folder / "plain_export"
    if not plain.exists():
        export_plain(folder, plain)
    pruned = {width: folder / "prune" / f"width_mult_{text}" for width, text in WIDTHS.items() if text}
    missing = [width for width, path in pruned.items() if not (path / "export.json").exists()]
    if missing:
        run("train.py", "--do_compress", *data, "--model_name_or_path", folder, "--output_dir", folder / "prune",
            *seed, *COMMON, *args.compress_flags.split(), "--save_steps", "100", "--width_mult_list", *missing,
            *EXPORT_TYPES)  # fmt: skip
    return {"1/1": folder / "export", **pruned}, plain


def export_plain(checkpoint, target):
    """The model as paddle2onnx gives it, with the whole last layer: what ONNX Runtime is compared on."""
    import export
    import trainer

    config, tokenizer = trainer.load_config_and_tokenizer(str(checkpoint))
    labels = utils.stored_labels(config.to_dict())
    model = trainer.load_model(str(checkpoint), config, labels)
    kept, export.first_token_only = export.first_token_only, lambda *args: contextlib.nullcontext()
    try:
        export.export_classifier(model, tokenizer, labels, 128, target, types=["onnx"])
    finally:
        export.first_token_only = kept


def measure(folder, format, texts, truth, repeats):
    """One row: accuracy, and milliseconds a sample with and without tokenisation."""
    from export import graph_bytes
    from predictor import Predictor

    predictor = Predictor(folder, format, batch_size=BATCH_SIZE)
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
        "accuracy": float((logits.argmax(axis=1) == truth).mean()),
        "ms": min(without),
        "ms_with_tokenisation": min(without) + min(tokens),
    }


def draw(rows, path, title):
    """Accuracy against latency: a line a model and format, a point a width."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.5))
    colours = {"paddle": "tab:blue", "paddle_bf16": "tab:cyan", "onnx": "tab:orange", "onnx_int8": "tab:green"}
    markers = dict(zip(dict.fromkeys(row["model"] for row in rows), "os^vD*"))
    groups = {}
    for row in rows:
        if row["format"] in colours:
            groups.setdefault((row["model"], row["format"]), []).append(row)
    for (model, format), points in groups.items():
        axes.plot([row["ms"] for row in points], [row["accuracy"] * 100 for row in points], color=colours[format],
                  marker=markers[model], label=f"{model}, {format}", linewidth=1)  # fmt: skip
        if format == "onnx_int8":
            for row in points:
                axes.annotate(row["width"], (row["ms"], row["accuracy"] * 100), fontsize=8, xytext=(3, 4),
                              textcoords="offset points")  # fmt: skip
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


def main(args):
    import numpy as np

    import export
    from predictor import available_formats

    labels = utils.read_labels(Path(args.data_dir) / "label.txt")
    texts, truth = utils.read_examples(Path(args.data_dir) / "dev.txt", labels)
    made = {name: make_models(name, *model, args) for name, model in encoders(args.ernie).items()}
    rows = []
    for name, (folders, plain) in made.items():
        cells = [("1/1", plain, "onnx", "onnx (plain)")]
        cells += [(width, folder, format, format) for width, folder in folders.items()
                  for format in available_formats(folder)]  # fmt: skip
        for width, folder, format, shown in cells:
            row = {"model": name, "width": width, "format": shown}
            row.update(measure(folder, format, texts, np.array(truth), args.repeats))
            rows.append(row)
            print(f"{name}  {width}  {shown}  {row['accuracy']:.2%}  {row['ms']:.3f} ms", flush=True)
    threads = os.environ["OMP_NUM_THREADS"]
    where = {"cpu": cpu_name(), "threads": int(threads), "samples": len(texts), "batch_size": BATCH_SIZE,
             "versions": export.versions()}  # fmt: skip
    output = ROOT / "docs"
    output.mkdir(exist_ok=True)
    utils.write_json(output / "bench_models.json", {**where, "rows": rows})
    draw(rows, output / "bench_models.png", f"KUAKE-QIC dev, {len(texts)} samples, {where['cpu']}, {threads} threads")
    print_table(rows)


def print_table(rows):
    """A row a model and width: accuracy and ms/sample of each format, and the time that tokenisation adds."""
    formats = ["paddle", "paddle_bf16", "onnx (plain)", "onnx", "onnx_int8"]
    cells = {(row["model"], row["width"], row["format"]): row for row in rows}
    scored = [format for format in formats if format not in ("onnx", "onnx (plain)")]
    headings = ["model", "width", *(f"accuracy, {name}" for name in scored), *(f"ms, {name}" for name in formats),
                "MB, paddle", "MB, onnx_int8"]  # fmt: skip
    print("\n| " + " | ".join(headings) + " |\n" + "| --- " * len(headings) + "|")
    for model, width in dict.fromkeys((row["model"], row["width"]) for row in rows):

        def cell(format, key, pattern, model=model, width=width):
            row = cells.get((model, width, format))
            return "-" if row is None else pattern.format(row[key])

        columns = [model, width, *(cell(name, "accuracy", "{:.2%}") for name in scored)]
        columns += [cell(name, "ms", "{:.2f}") for name in formats]
        columns += [cell("paddle", "file_mb", "{:.0f}"), cell("onnx_int8", "file_mb", "{:.0f}")]
        print("| " + " | ".join(columns) + " |")
    extra = statistics.median(row["ms_with_tokenisation"] - row["ms"] for row in rows)
    print(f"\nTokenisation adds {extra:.3f} ms a sample.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--work_dir", required=True, help="checkpoints and pruned models are kept here")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", default="42")
    parser.add_argument("--compress_flags", default="--learning_rate 5e-5 --num_train_epochs 2")
    parser.add_argument("--ernie", type=lambda value: value == "True", default=True, help="try the ERNIE models too")
    with utils.exit_on_usage_error():
        main(parser.parse_args())
