"""Accuracy and latency of every model x width x format on real data; run by `make bench-models`.

    python tests/bench/bench_models.py --data_dir ../shared/kuake_qic --work_dir bench

For each encoder: fine-tune (train.py --do_train --do_export), prune with each of --pruners (train.py --do_compress),
then run dev through each format of each export folder. What --work_dir already holds is not trained again.
Latency is total time / samples with batches of 32 texts sorted by length; the fastest of --repeats passes, since other
load can only slow a pass down.
The minutes of a pruning are those of its command, with start, ranking and export of all its widths.
The results go to tests/bench/bench_models.json, and as a picture to tests/bench/bench_models.png.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root

from core.arguments import PRUNERS, boolean, require_packages
from tests.bench.machine import BATCH_SIZE, cpu_name
from utils import UsageError, exit_on_usage_error, read_examples, read_json, read_labels, write_json

ROOT = Path(__file__).resolve().parents[2]
WIDTHS = {"1/1": None, "3/4": "0.75", "2/3": "0.67", "1/2": "0.5"}
COMMON = (
    f"--device cpu --per_device_train_batch_size {BATCH_SIZE} --per_device_eval_batch_size {BATCH_SIZE} "
    "--max_length 128 --logging_steps 20"
).split()
TRAIN = (
    "--num_train_epochs 4 --evaluation_strategy epoch --save_strategy epoch --save_total_limit 1 "
    "--load_best_model_at_end --metric_for_best_model accuracy"
).split()
EXPORT_TYPES = "--export_type paddle onnx onnx_int8".split()
OFFLINE = {
    "offline encoder 12L-384": ("data/offline_encoder", 12, "1e-4"),
    "offline encoder 6L-384": ("data/offline_encoder_6", 6, "1.5e-4"),
}
ERNIE = [f"ernie-3.0-tiny-{size}-v2-zh" for size in ("medium", "mini", "micro", "nano")]


def run(*command):
    """Run a command of the repository with its output shown."""
    print("$", " ".join(map(str, command)), flush=True)
    subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, check=True, stdin=subprocess.DEVNULL)


def encoders(args):
    """Name -> (model_name_or_path, learning rate) of those at hand."""
    if args.model_name_or_path:
        return {Path(args.model_name_or_path).name: (args.model_name_or_path, args.learning_rate)}
    found = {}
    for name, (folder, layers, rate) in OFFLINE.items():
        if not (ROOT / folder / "config.json").exists():
            run("data/build_encoder.py", "--output_dir", folder, "--num_hidden_layers", layers)
        found[name] = (folder, rate)
    if args.ernie:
        from tests.bench.measured_models import can_be_loaded

        for name in ERNIE:
            if can_be_loaded(name):
                found[name] = (name, "3e-5")
            else:
                print(f"{name}: cannot be downloaded here, left out", flush=True)
    return found


# Rows with a student of n-grams (core/students.py).
STUDENTS = ("ngram", "cascade:onnx", "cascade:onnx_int8", "blend:onnx", "blend:onnx_int8")
PRUNE_FOLDERS = {"builtin": "prune", "paddleslim": "prune_paddleslim"}
TIME_FILE = "bench_minutes.json"


def make_models(name, model, rate, args):
    """Train, export and prune one encoder.

    Returns:
        tuple[dict, Path]: (width, pruner) -> export folder and minutes of the pruning, None where that is not known;
            the plain export.
    """
    from tests.bench.measured_models import export_plain

    folder = Path(args.work_dir).resolve() / name.replace(" ", "_")
    common = ["--data_dir", args.data_dir, "--seed", args.seed, *COMMON, *EXPORT_TYPES]
    if not (folder / "export" / "export.json").exists():
        paths = ["--model_name_or_path", model, "--output_dir", folder]
        run("train.py", "--do_train", "--do_eval", "--do_export", *paths, "--learning_rate", rate, *common, *TRAIN)
    plain = folder / "plain_export"
    if not plain.exists():
        export_plain(folder, plain)
    if not (folder / "export" / "student").exists():
        paths = ["--model_name_or_path", folder, "--output_dir", folder]
        run("train.py", "--do_compress", "--strategy", "distill", "--student", "ngram", *paths, *common)
    made = {("1/1", "-"): (folder / "export", None)}
    for pruner in args.pruners:
        output = folder / PRUNE_FOLDERS[pruner]
        pruned = {width: output / f"width_mult_{text}" for width, text in WIDTHS.items() if text}
        missing = [width for width, path in pruned.items() if not (path / "export.json").exists()]
        if missing:
            paths = ["--model_name_or_path", folder, "--output_dir", output, "--pruner", pruner]
            widths = ["--save_steps", "100", "--width_mult_list", *missing]
            start = time.perf_counter()
            run("train.py", "--do_compress", *paths, *args.compress_flags.split(), *widths, *common)
            write_json(output / TIME_FILE, {"minutes": (time.perf_counter() - start) / 60, "widths": len(missing)})
        minutes = read_json(output / TIME_FILE).get("minutes")
        made.update({(width, pruner): (path, minutes) for width, path in pruned.items()})
    return made, plain


def main(args):
    labels = read_labels(Path(args.data_dir) / "label.txt")
    texts, truth = read_examples(Path(args.data_dir) / "dev.txt", labels)
    require_packages("bench_models.py", "matplotlib")
    if "paddleslim" in args.pruners:
        require_packages("--pruners paddleslim", "paddleslim", requirements="core/requirements-compress.txt")
    from core.export import versions
    from core.predictor import available_formats
    from tests.bench.measured_models import draw, measure

    made = {name: make_models(name, *model, args) for name, model in encoders(args).items()}
    rows = []
    for name, (folders, plain) in made.items():
        cells = [("1/1", "-", None, plain, "onnx", "onnx (plain)")]
        for (width, pruner), (folder, minutes) in folders.items():
            cells += [(width, pruner, minutes, folder, format, format) for format in available_formats(folder)]
        cells += [("1/1", "-", None, folders["1/1", "-"][0], format, format) for format in STUDENTS]
        for width, pruner, minutes, folder, format, shown in cells:
            row = {"model": name, "width": width, "pruner": pruner, "minutes": minutes, "format": shown}
            try:
                row.update(measure(folder, format, texts, truth, args.repeats))
            except UsageError as error:  # where no threshold was good enough, or a blend not better
                print(f"{name}  {format}: {error}", flush=True)
                continue
            rows.append(row)
            print(f"{name}  {width}  {pruner}  {shown}  {row['accuracy']:.2%}  {row['ms']:.3f} ms", flush=True)
    threads = os.environ["OMP_NUM_THREADS"]
    where = {"cpu": cpu_name(), "threads": int(threads), "samples": len(texts), "batch_size": BATCH_SIZE}
    output = Path(args.output)
    write_json(output, {**where, "versions": versions(), "rows": rows})
    title = f"KUAKE-QIC dev, {len(texts)} samples, {where['cpu']}, {threads} threads"
    draw(rows, output.with_suffix(".png"), title)
    print_table(rows)


def print_table(rows):
    """A row a model, width and pruner: accuracy and ms/sample of each format, minutes of the pruning of all widths,
    and the time that tokenisation adds."""
    formats = ["paddle", "paddle_bf16", "onnx (plain)", "onnx", "onnx_int8"]
    cells = {(row["model"], row["width"], row["pruner"], row["format"]): row for row in rows}
    scored = [format for format in formats if format not in ("onnx", "onnx (plain)")]
    headings = [
        "model",
        "width",
        "pruner",
        *(f"accuracy, {name}" for name in scored),
        *(f"ms, {name}" for name in formats),
    ]
    headings += ["MB, paddle", "MB, onnx_int8", "minutes to prune"]
    print("\n| " + " | ".join(headings) + " |\n" + "| --- " * len(headings) + "|")
    for place in dict.fromkeys((row["model"], row["width"], row["pruner"]) for row in rows):

        def cell(format, key, pattern, place=place):
            row = cells.get((*place, format))
            return "-" if row is None or row[key] is None else pattern.format(row[key])

        columns = [*place, *(cell(name, "accuracy", "{:.2%}") for name in scored)]
        columns += [cell(name, "ms", "{:.2f}") for name in formats]
        columns += [cell("paddle", "file_mb", "{:.0f}"), cell("onnx_int8", "file_mb", "{:.0f}")]
        columns.append(cell("paddle", "minutes", "{:.1f}"))
        print("| " + " | ".join(columns) + " |")
    print_students([row for row in rows if row["format"] in STUDENTS])
    plain = [row for row in rows if row["format"] not in STUDENTS]
    extra = statistics.median(row["ms_with_tokenisation"] - row["ms"] for row in plain)
    print(f"\nTokenisation adds {extra:.3f} ms a sample.")


def print_students(rows):
    """A row a model and format with a student; the accuracy out of fold is that of thresholds and weights which the
    samples had no share in."""
    print("\n| model | format | accuracy | out of fold | the student answers | ms, with tokenisation |")
    print("| --- " * 6 + "|")
    for row in rows:
        share, out = ("-" if row[key] is None else f"{row[key]:.2%}" for key in ("share", "accuracy_out_of_fold"))
        print(f"| {row['model']} | {row['format']} | {row['accuracy']:.2%}", out, share, end=" | ", sep=" | ")
        print(f"{row['ms_with_tokenisation']:.3f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--work_dir", required=True, help="checkpoints and pruned models are kept here")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", default="42")
    parser.add_argument("--compress_flags", default="--learning_rate 5e-5 --num_train_epochs 2")
    parser.add_argument("--pruners", nargs="+", default=PRUNERS, choices=PRUNERS)
    parser.add_argument("--model_name_or_path", help="this encoder alone")
    parser.add_argument("--learning_rate", default="1e-4", help="of its fine-tuning")
    parser.add_argument("--output", default=Path(__file__).with_name("bench_models.json"), help="JSON; .png beside it")
    parser.add_argument("--ernie", type=boolean, default=True, help="try the ERNIE models too")
    with exit_on_usage_error():
        main(parser.parse_args())
