"""Accuracy and latency of every model x width x format on real data; run by `make bench-models`.

    python tests/bench/bench_models.py --data_dir ../shared/kuake_qic --work_dir bench

For each encoder and each of --seeds: fine-tune (train.py --do_train --do_export, with --recipe), distil a student of
n-grams, and one with each of --layer_students that is exported and gets a student of n-grams of its own (train.py
--do_compress --strategy distill), prune with each of --pruners (train.py --do_compress), then run dev through each
format of each export folder: all that a table shows is measured in one run. "onnx (plain)" is the whole model's graph
as paddle2onnx gives it, in a session with the defaults of ONNX Runtime. What --work_dir already holds is not made
again, whatever the flags; another seed or recipe has a folder of its own.
Latency is total time / samples with batches of 32 texts sorted by length; the fastest of --repeats passes, since other
load can only slow a pass down.
The minutes of a pruning are those of its command, with start, ranking and export of all its widths.
The results go to tests/bench/bench_models.json, and as a picture to tests/bench/bench_models.png.
"""

import argparse
import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root

from core.arguments import PRUNERS, boolean, require_packages
from core.recipe_flags import NAMED_RECIPES
from tests.bench.machine import BATCH_SIZE, cpu_name
from tests.bench.made_models import PLAIN, PLAIN_SEED, encoders, make_models
from utils import UsageError, exit_on_usage_error, read_examples, read_labels, write_json

# The row of the graph as paddle2onnx gives it.
AS_IT_COMES = "onnx (plain)"
# Rows with a student of n-grams (core/students.py), and those that are shown beside them.
STUDENTS = ("ngram", "cascade:onnx", "cascade:onnx_int8", "blend:onnx", "blend:onnx_int8")
BESIDE = (AS_IT_COMES, "onnx", "onnx_int8")


def main(args):
    labels = read_labels(Path(args.data_dir) / "label.txt")
    texts, truth = read_examples(Path(args.data_dir) / "dev.txt", labels)
    require_packages("bench_models.py", "matplotlib")
    if "paddleslim" in args.pruners:
        require_packages("--pruners paddleslim", "paddleslim", requirements="core/requirements-compress.txt")
    from core.export import versions
    from tests.bench.measured_models import draw, measure

    found = encoders(args)
    seeds = list(dict.fromkeys(args.seeds))
    made = {(name, seed): make_models(name, *found[name], seed, args) for name in found for seed in seeds}
    rows, refused = [], []
    for (name, seed), models in made.items():
        for place, folder, format, shown in cells(name, args.recipe, models):
            row = {**place, "seed": seed, "format": shown}
            try:
                row.update(measure(folder, format, texts, truth, args.repeats, shown == AS_IT_COMES))
            except UsageError as error:  # where no threshold was good enough, or a blend not better
                print(f"{row['model']}  {format}: {error}", flush=True)
                why = str(error).partition(": ")[2].replace(str(folder), "")
                refused.append({**row, "why": why})
                continue
            rows.append(row)
            where = "  ".join([row["model"], f"seed {seed}", row["width"], row["pruner"], shown])
            print(f"{where}  {row['accuracy']:.2%}  {row['ms']:.3f} ms", flush=True)
    threads = os.environ["OMP_NUM_THREADS"]
    where = {"cpu": cpu_name(), "threads": int(threads), "samples": len(texts), "batch_size": BATCH_SIZE}
    of = {"recipe": args.recipe, "seeds": seeds}
    output = Path(args.output)
    write_json(output, {**where, **of, "versions": versions(), "rows": rows, "refused": refused})
    title = f"KUAKE-QIC dev, {len(texts)} samples, {where['cpu']}, {threads} threads"
    draw([averaged(own) for own in grouped(rows).values()], output.with_suffix(".png"), title)
    print_table(rows)
    print_students(rows, refused)
    plain = [row for row in rows if row["format"] not in STUDENTS]
    extra = statistics.median(row["ms_with_tokenisation"] - row["ms"] for row in plain)
    print(f"\nTokenisation adds {extra:.3f} ms a sample.")


def cells(name, recipe, models):
    """What is measured of one encoder and seed.

    Args:
        name, recipe (str): of the encoder and its training.
        models (dict): of make_models.

    Yields:
        tuple[dict, Path, str, str]: model, width, pruner and minutes; export folder; format; the format's name in the
        tables.
    """
    from core.predictor import available_formats

    name = name if recipe == PLAIN else f"{name}, {recipe}"
    whole = {"model": name, "width": "1/1", "pruner": "-", "minutes": None}
    yield whole, models["plain"], "onnx", AS_IT_COMES
    for (width, pruner), (folder, minutes) in models["made"].items():
        place = {"model": name, "width": width, "pruner": pruner, "minutes": minutes}
        for format in available_formats(folder):
            yield place, folder, format, format
    for format in STUDENTS:
        yield whole, models["made"]["1/1", "-"][0], format, format
    for layers, folder in models["small"].items():
        for format in (*available_formats(folder), *STUDENTS):
            yield {**whole, "model": f"{name}, layers:{layers}"}, folder, format, format


# ------------------------------------------------------------------------------------------------------------- tables


def grouped(rows):
    """(model, width, pruner, format) -> its rows, one a seed."""
    found = {}
    for row in rows:
        found.setdefault((row["model"], row["width"], row["pruner"], row["format"]), []).append(row)
    return found


def averaged(rows):
    """One row with the means of several seeds' numbers."""
    numbers = ("accuracy", "ms", "ms_with_tokenisation", "file_mb")
    return {**rows[0], **{key: statistics.mean(row[key] for row in rows) for key in numbers}}


def spread(values, pattern):
    """The mean of the seeds and, of several, ± their standard deviation (of a sample); - where there is none."""
    values = [value for value in values if value is not None]
    if not values:
        return "-"
    mean = pattern.format(statistics.mean(values))
    return f"{mean} ± {pattern.format(statistics.stdev(values))}" if len(values) > 1 else mean


def print_table(rows):
    """A row a model, width and pruner: accuracy and ms/sample of each format, minutes of the pruning of all widths,
    and the time that tokenisation adds; of several seeds the mean ± standard deviation."""
    formats = ["paddle", "paddle_bf16", AS_IT_COMES, "onnx", "onnx_int8"]
    found = grouped(row for row in rows if row["format"] not in STUDENTS)
    scored = [format for format in formats if format not in ("onnx", AS_IT_COMES)]
    headings = [
        "model",
        "width",
        "pruner",
        *(f"accuracy, {name}" for name in scored),
        *(f"ms, {name}" for name in formats),
    ]
    headings += ["MB, paddle", "MB, onnx_int8", "minutes to prune"]
    print("\n| " + " | ".join(headings) + " |\n" + "| --- " * len(headings) + "|")
    for place in dict.fromkeys(key[:3] for key in found):

        def cell(format, key, pattern, place=place):
            return spread([row[key] for row in found.get((*place, format), ())], pattern)

        columns = [*place, *(cell(name, "accuracy", "{:.2%}") for name in scored)]
        columns += [cell(name, "ms", "{:.2f}") for name in formats]
        columns += [cell("paddle", "file_mb", "{:.0f}"), cell("onnx_int8", "file_mb", "{:.0f}")]
        columns.append(cell("paddle", "minutes", "{:.1f}"))
        print("| " + " | ".join(columns) + " |")


def print_students(rows, refused):
    """A row a model and format with a student, and of the models that these stand beside.

    The accuracy out of fold is that of thresholds and weights which the samples had no share in. A format that some
    seeds have not says of how many it tells, and below the table is why.

    Args:
        rows, refused (list[dict]): what was measured, and what there is not, with why.
    """
    whole = [row for row in rows if row["width"] == "1/1" and row["format"] in (*BESIDE, *STUDENTS)]
    seeds = len({row["seed"] for row in rows})
    print("\n| model | format | accuracy | out of fold | the student answers | ms | ms, with tokenisation |")
    print("| --- " * 7 + "|")
    for (model, _, _, format), own in grouped(whole).items():
        shown = format if len(own) == seeds else f"{format} ({len(own)} of {seeds} seeds)"
        columns = [model, shown, spread([row["accuracy"] for row in own], "{:.2%}")]
        columns += [spread([row.get(key) for row in own], "{:.2%}") for key in ("accuracy_out_of_fold", "share")]
        columns += [spread([row[key] for row in own], "{:.3f}") for key in ("ms", "ms_with_tokenisation")]
        print("| " + " | ".join(columns) + " |")
    for row in refused:
        print(f"\n{row['model']}, seed {row['seed']}, {row['format']}: {row['why']}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--work_dir", required=True, help="checkpoints and what is made of them are kept here")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[PLAIN_SEED], help="of the trainings; the tables have mean ± sd"
    )
    parser.add_argument("--recipe", default=PLAIN, choices=list(NAMED_RECIPES), help="of the fine-tuning")
    parser.add_argument("--compress_flags", default="--learning_rate 5e-5 --num_train_epochs 2")
    parser.add_argument("--pruners", nargs="*", default=PRUNERS, choices=PRUNERS, help="none of them: no pruning")
    parser.add_argument("--layer_students", nargs="*", type=int, default=[4], help="layers of such students; or none")
    parser.add_argument("--layer_flags", default="--learning_rate 1.5e-4", help="of their distillation")
    parser.add_argument("--model_name_or_path", help="this encoder alone")
    parser.add_argument("--learning_rate", default="1e-4", help="of its fine-tuning")
    parser.add_argument("--output", default=Path(__file__).with_name("bench_models.json"), help="JSON; .png beside it")
    parser.add_argument("--ernie", type=boolean, default=True, help="try the ERNIE models too")
    with exit_on_usage_error():
        main(parser.parse_args())
