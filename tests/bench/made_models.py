"""The models of bench_models.py: each is made by the commands that a user would type, and made once."""

import subprocess
import sys
import time
from pathlib import Path

from tests.bench.machine import BATCH_SIZE, ROOT
from utils import read_json, write_json

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
PRUNE_FOLDERS = {"builtin": "prune", "paddleslim": "prune_paddleslim"}
TIME_FILE = "bench_minutes.json"

# The seed whose folders have no number in their names, and the recipe that is not named.
PLAIN_SEED, PLAIN = 42, "plain"


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


def model_folder(work_dir, name, recipe, seed):
    """Where a fine-tuned model and all that is made of it lies: Path."""
    parts = [name.replace(" ", "_"), *([recipe] if recipe != PLAIN else [])]
    return Path(work_dir).resolve() / "_".join([*parts, *([f"seed_{seed}"] if seed != PLAIN_SEED else [])])


def make_models(name, model, rate, seed, args):
    """Train, export, distil and prune one encoder with one seed.

    Args:
        name, model, rate (str): see encoders.
        seed (int): of the training, and of all that is made of it.
        args: the flags of bench_models.py.

    Returns:
        dict: made, (width, pruner) -> export folder and minutes of the pruning, None where that is not known; plain,
        the plain export; small, layers -> the export folder of the student with so many layers.
    """
    from tests.bench.measured_models import export_plain

    folder = model_folder(args.work_dir, name, args.recipe, seed)
    common = ["--data_dir", args.data_dir, "--seed", seed, *COMMON, *EXPORT_TYPES]
    if not (folder / "export" / "export.json").exists():
        paths = ["--model_name_or_path", model, "--output_dir", folder, "--learning_rate", rate]
        recipe = [] if args.recipe == PLAIN else ["--recipe", args.recipe]
        run("train.py", "--do_train", "--do_eval", "--do_export", *paths, *recipe, *common, *TRAIN)
    plain = folder / "plain_export"
    if not plain.exists():
        export_plain(folder, plain)
    make_ngram_student(folder, common)
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
    small = {layers: make_layer_student(folder, layers, common, args.layer_flags) for layers in args.layer_students}
    return {"made": made, "plain": plain, "small": {layers: path for layers, path in small.items() if path}}


def distill(folder, output, student, *more):
    """The command that distils a model."""
    paths = ["--model_name_or_path", folder, "--output_dir", output]
    run("train.py", "--do_compress", "--strategy", "distill", "--student", student, *paths, *more)


def make_ngram_student(folder, common):
    """A student of n-grams in the export of a model."""
    if not (folder / "export" / "student").exists():
        distill(folder, folder, "ngram", *common)


def make_layer_student(folder, layers, common, flags):
    """A student with some of a model's layers, exported by itself, and a student of n-grams of its own.

    It goes into a folder beside the model's export, in which the last student that is distilled would take the place
    of the one of n-grams.

    Returns:
        Path | None: its export folder; None where the model has no more layers than that.
    """
    has = read_json(folder / "config.json").get("num_hidden_layers", 0)
    if has <= layers:
        print(f"{folder.name}: has {has} layers, so no student of {layers}", flush=True)
        return None
    small = folder / "small" / f"distill_layers_{layers}"
    if not (small / "export.json").exists():
        distill(folder, folder / "small", f"layers:{layers}", *common, *TRAIN, *flags.split())
    if not (small / "export" / "export.json").exists():
        run("train.py", "--do_export", "--model_name_or_path", small, "--output_dir", small, *common)
    make_ngram_student(small, common)
    return small / "export"
