"""What do train.py's recipes give, and which of it is real? Run by `make bench-recipes`.

    python tests/bench/bench_recipes.py --data_dir ../shared --data_sets kuake_2000 --jobs 2
    python tests/bench/bench_recipes.py --data_dir ../shared --data_sets kuake_2000 --select
    python tests/bench/bench_recipes.py --data_dir ../shared --encoders data/offline_encoder --data_sets kuake \\
        --recipes plain rdrop_1+fgm_1

Every (data set, encoder, recipe, seed) is one training by train.py in a process and a thread of its own. What each
epoch answers is kept in --work_dir, nothing else: a finished training is not repeated, and one that was cut (kill -9
too) goes on from its last epoch. Two of these may run on one --work_dir at a time.

Data sets (--data_dir has kuake_qic/ and tnews_fewshot/):
  kuake       KUAKE-QIC; 10 % of train, the same share of each label, is held out (--held_out)
  kuake_2000  2,000 lines of its train, drawn with the same share of each label, to learn from; 2,000 others are held
              out, more than who has 2,000 labels would have, so that recipes can be told apart; the rest is data.txt
  tnews       FewCLUE tnews: train and dev have 240 lines each; dev is what is held out, test is called dev below
pretrain, pseudo and teachers_… also read data.txt: what was not drawn, for kuake its own.
Recipes are joined by +: rdrop_1+fgm_1 is both. Each is compared with plain. by_macro_f1 and logit_adjustment change no
training, only what is made of it.

Columns: "chosen on held-out train" is dev at the epoch that is best on what is held out; "best epoch on dev" is dev at
its own best epoch, as such figures are usually published. With --held_out 0 the whole train is learned from, and there
is only the second one. --select ranks by the held-out part alone. CPU seconds are of all of a recipe's trainings,
without evaluations; MB is the most memory that a process had.

Against plain, of the seeds that both have: McNemar's exact test takes the answers of all seeds as independent, so its
p is too small; the interval comes from 10,000 draws of texts and of seeds.
"""

import argparse
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root

from core.checkpoints import weights_digest
from core.locks import locked_folder
from core.progress import progress_bar
from tests.bench.recipe_ngrams import ngram_answers
from tests.bench.recipe_scores import columns, ranking, report, score
from utils import (
    UsageError,
    exit_on_usage_error,
    read_examples,
    read_json,
    read_labels,
    read_lines,
    staged_files,
    write_json,
    write_lines,
)

ROOT = Path(__file__).resolve().parents[2]
ROUNDS_FILE = "pseudo_labels.json"  # see core/pseudo_labels.py, whose import takes seconds
SPLIT_SEED = 1000  # of what is held out and of the 2,000 lines
FLAGS = (
    "--do_train --device cpu --max_length 128 --per_device_eval_batch_size 32 --evaluation_strategy no "
    "--save_strategy epoch --save_total_limit 1 --logging_steps 20 --disable_tqdm True"
).split()
# Layers of the encoder -> learning rate, as in bench_train.py quality and bench_models.py.
LEARNING_RATES = {6: "1.5e-4"}
USUAL_LEARNING_RATE = "1e-4"
TRAINING = """
import sys
from tests.bench.recipe_epochs import keep_epochs
keep_epochs(sys.argv[1], sys.argv[2])
import train
from utils import exit_on_usage_error
with exit_on_usage_error():
    train.main(sys.argv[3:])
"""


class DataSet(NamedTuple):
    """Where a data set lies and how plain is trained on it."""

    folder: str
    dev: str = "dev"  # the file that is reported
    held_out: str = ""  # the file that takes the place of a part of train
    lines: int = 0  # of train; 0: all, of which --held_out are held out
    others: int = 0  # of the lines that are left of train, so many are held out
    epochs: int = 4
    batch_size: int = 32


DATA_SETS = {
    "kuake": DataSet("kuake_qic"),
    "kuake_2000": DataSet("kuake_qic", lines=2000, others=2000),
    "tnews": DataSet("tnews_fewshot", dev="test", held_out="dev", epochs=20, batch_size=16),
}
# Recipe -> flags of train.py; {twice}: twice plain's epochs.
RECIPES = {
    "plain": "",
    "longer": "--num_train_epochs {twice}",
    "rdrop_1": "--rdrop_alpha 1",
    "rdrop_4": "--rdrop_alpha 4",
    "fgm_0.5": "--adversarial fgm --adversarial_epsilon 0.5",
    "fgm_1": "--adversarial fgm --adversarial_epsilon 1",
    "dropouts_5": "--multi_sample_dropout 5",
    "smoothing_0.1": "--label_smoothing 0.1",
    "lr_decay_0.8": "--layerwise_lr_decay 0.8",
    "lr_decay_0.9": "--layerwise_lr_decay 0.9",
    "head_1e-3": "--head_learning_rate 1e-3",
    "ema_0.99": "--ema_decay 0.99",
    "ema_0.999": "--ema_decay 0.999",
    "mean": "--pooling mean",
    "ngrams": "--ngram_features True",
    "pretrain": "--do_pretrain",
    "pretrain_10": "--do_pretrain --pretrain_epochs 10",
    "pseudo": "--pseudo_labels True",
    "teachers_3": "--num_teachers 3",
    "teachers_5": "--num_teachers 5",
    "balanced": "--class_weight balanced",
    "by_macro_f1": "--metric_for_best_model macro_f1",
    "logit_adjustment": "--logit_adjustment True --metric_for_best_model macro_f1",
}
# These are done here on the answers of each epoch, as train.py does them on those of the best; and so are n-grams,
# with which the encoder learns the same as without, unless models with n-grams teach it.
AFTERWARDS = ("by_macro_f1", "logit_adjustment")
TAUGHT = ("pseudo", "teachers_3", "teachers_5")
COMBINATIONS = (
    "rdrop_1+fgm_0.5",
    "rdrop_1+lr_decay_0.9+head_1e-3",
    "fgm_1+ema_0.99",
    "balanced+by_macro_f1",
    "ngrams+rdrop_1",
    "ngrams+pretrain",
    "longer+ngrams+pretrain",
    "head_1e-3+mean+ngrams+pretrain",
)


class Recipe(NamedTuple):
    """A recipe's name in the order of RECIPES, and the training that it needs."""

    name: str
    training: str
    metric: str = "accuracy"
    adjust: bool = False
    adds_ngrams: bool = False

    @classmethod
    def parse(cls, text):
        """Raises UsageError: a part is unknown, or two parts set the same flag or mend the same."""
        parts = sorted(set(text.split("+")), key=lambda part: list(RECIPES).index(part) if part in RECIPES else -1)
        if parts[0] not in RECIPES:
            raise UsageError(f"--recipes {text}: no recipe {parts[0]!r}; join some of {', '.join(RECIPES)} with +")
        flags = [word for part in parts for word in RECIPES[part].split() if word.startswith("--")]
        twice = sorted({flag for flag in flags if flags.count(flag) > 1})
        if twice or {"balanced", "logit_adjustment"} <= set(parts):
            why = f"two parts set {twice[0]}" if twice else "balanced and logit_adjustment mend the same twice"
            raise UsageError(f"--recipes {text}: {why}; leave one out")
        parts = [part for part in parts if part != "plain"]
        adds_ngrams = "ngrams" in parts and not set(parts) & set(TAUGHT)
        training = [part for part in parts if part not in AFTERWARDS and not (adds_ngrams and part == "ngrams")]
        metric = "macro_f1" if set(parts) & set(AFTERWARDS) else "accuracy"
        adjust = "logit_adjustment" in parts
        return cls("+".join(parts) or "plain", "+".join(training) or "plain", metric, adjust, adds_ngrams)


# ---------------------------------------------------------------------------------------------------------------- data


def stratified(ids, number, seed=SPLIT_SEED):
    """Draw rows so that each label has its share; at least one of each label, but never all of it.

    Args:
        ids: class ids [samples].
        number (int): of rows.

    Returns:
        np.ndarray: sorted rows, `number` of them unless the labels' limits forbid it.
    """
    ids, random = np.asarray(ids), np.random.RandomState(seed)
    counts = np.bincount(ids)
    exact = counts * min(1, number / len(ids))
    limits = np.maximum(counts - 1, 0)
    quotas = np.minimum(np.maximum(np.floor(exact).astype(int), counts > 0), limits)
    # The largest remainders get what is missing.
    for label in np.argsort(-(exact - np.floor(exact)), kind="stable"):
        if quotas.sum() < number and quotas[label] < limits[label]:
            quotas[label] += 1
    return np.sort(np.concatenate([random.permutation(np.flatnonzero(ids == c))[:n] for c, n in enumerate(quotas)]))


def write_data(name, source, target, held_out):
    """Write train.txt, held_out.txt, dev.txt, data.txt and label.txt of a data set; the digest of all of them.

    Args:
        name (str): of DATA_SETS.
        source (Path): has its folder.
        target (Path): for the files.
        held_out (float): share of train; 0: there is no held_out.txt, unless the data set says what it is.
    """
    data_set = DATA_SETS[name]
    folder = source / data_set.folder
    labels = read_labels(folder / "label.txt")
    files = {"label.txt": read_lines(folder / "label.txt")}
    for file, split in {"dev.txt": data_set.dev, "held_out.txt": data_set.held_out}.items():
        if split:
            read_examples(folder / f"{split}.txt", labels)
            files[file] = read_lines(folder / f"{split}.txt")
    _, ids = read_examples(folder / "train.txt", labels)
    lines, ids = np.array(read_lines(folder / "train.txt"), dtype=object), np.array(ids)
    if (folder / "data.txt").exists():
        files["data.txt"] = read_lines(folder / "data.txt")
    if data_set.lines and data_set.lines + data_set.others < len(lines):
        rows = stratified(ids, data_set.lines)
        others, other_ids = np.delete(lines, rows), np.delete(ids, rows)
        lines, ids = lines[rows], ids[rows]
        rows = stratified(other_ids, data_set.others, SPLIT_SEED + 1)
        files["held_out.txt"] = list(others[rows])
        files["data.txt"] = [line.rsplit("\t", 1)[0] for line in np.delete(others, rows)]
    elif held_out and not data_set.held_out:
        rows = stratified(ids, round(held_out * len(lines)), SPLIT_SEED + 1)
        files["held_out.txt"], lines = list(lines[rows]), np.delete(lines, rows)
    files["train.txt"] = list(lines)
    digest = hashlib.sha256(json.dumps(files, ensure_ascii=False, sort_keys=True).encode("utf-8")).hexdigest()
    if read_json(target / "digest.json").get("digest") != digest:
        write_lines(target, files, "--work_dir")
        with staged_files(target) as stage:
            write_json(stage / "digest.json", {"digest": digest})
    return digest


# ----------------------------------------------------------------------------------------------------------- trainings


class Cell(NamedTuple):
    """One training."""

    data_set: str
    encoder: Path
    training: str
    seed: int

    def flags(self, learning_rate):
        """Flags of train.py, paths aside."""
        data_set = DATA_SETS[self.data_set]
        own = " ".join(RECIPES[part] for part in self.training.split("+")).format(twice=2 * data_set.epochs).split()
        flags = {"num_train_epochs": data_set.epochs, "per_device_train_batch_size": data_set.batch_size}
        flags.update(learning_rate=learning_rate, seed=self.seed)
        return [*FLAGS, *(str(word) for flag, value in flags.items() for word in (f"--{flag}", value)), *own]


class Bench:
    """The trainings in --work_dir.

    Args:
        args: as parsed.
    """

    def __init__(self, args):
        self.args, self.digests, self.rates = args, {}, {}
        for encoder in args.encoders:
            config = read_json(encoder / "config.json")
            if not config:
                raise UsageError(f"{encoder}: no model there; data/build_encoder.py makes one, or see --encoders")
            self.digests[encoder] = weights_digest(encoder)
            own = LEARNING_RATES.get(config.get("num_hidden_layers"), USUAL_LEARNING_RATE)
            self.rates[encoder] = args.learning_rate or own
        if len({encoder.name for encoder in args.encoders}) < len(args.encoders):
            raise UsageError("--encoders: two have the same name; rename one")
        for name in args.data_sets:
            self.digests[name] = write_data(name, args.data_dir, self.data_folder(name), args.held_out)

    def data_folder(self, name):
        data_set = DATA_SETS[name]
        share = "own" if data_set.held_out else data_set.others or self.args.held_out
        return self.args.work_dir / f"{name}, held out {share}" / "data"

    def folder(self, cell):
        """Of a training while it runs; its figures lie beside it, with .json and .npz behind the name."""
        return self.data_folder(cell.data_set).parent / cell.encoder.name / f"{cell.training}, {cell.seed}"

    def settings(self, cell):
        """What makes a training this training."""
        digests = {"data": self.digests[cell.data_set], "encoder": self.digests[cell.encoder]}
        return {"flags": cell.flags(self.rates[cell.encoder]), **digests}

    def figures(self, cell):
        """The JSON of a finished training, else empty.

        Raises:
            UsageError: what is there was trained with other flags, data or another encoder.
        """
        folder = self.folder(cell)
        path = Path(f"{folder}.json")
        for file in (path, folder / "settings.json"):
            found = read_json(file)
            if found and found["settings"] != self.settings(cell):
                raise UsageError(
                    f"{file}: of a training with other flags, data or another encoder; choose another --work_dir, or "
                    f"delete {folder} and {path}"
                )
        return read_json(path)

    def train(self, cell):
        """Train one cell unless its figures are there, and keep them; None, or what went wrong."""
        folder = self.folder(cell).absolute()
        try:
            with locked_folder(folder, "--work_dir"):
                if not self.figures(cell):
                    self._train(cell, folder)
                shutil.rmtree(folder)
        except (UsageError, RuntimeError) as error:
            return f"{folder}: {error}"

    def _train(self, cell, folder):
        settings, data = self.settings(cell), self.data_folder(cell.data_set).absolute()
        with staged_files(folder) as stage:
            write_json(stage / "settings.json", {"settings": settings})
        paths = [
            "--data_dir",
            data,
            "--output_dir",
            folder / "output",
            "--model_name_or_path",
            cell.encoder.absolute(),
        ]
        if (data / "held_out.txt").exists():
            paths += ["--dev_path", data / "held_out.txt"]
        command = [sys.executable, "-c", TRAINING, data, folder / "epochs", *paths, *settings["flags"]]
        with (folder / "train.log").open("ab") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            code = subprocess.run(list(map(str, command)), cwd=ROOT, env=environment, **streams).returncode
        if code:
            tail = (folder / "train.log").read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"train.py ended with {code}; the same command tries it again\n{tail}")
        self._keep(cell, folder, data)

    def _keep(self, cell, folder, data):
        flags = self.settings(cell)["flags"]
        epochs = int(flags[len(flags) - flags[::-1].index("--num_train_epochs")])  # the last one counts
        rounds = read_json(folder / "output" / ROUNDS_FILE)
        own = folder / "epochs" / (f"pseudo/round-{rounds['kept']}" if rounds else "")
        files = [own / f"epoch-{number}.npz" for number in range(1, epochs + 1)]
        if lost := [path.name for path in files if not path.exists()]:
            raise RuntimeError(f"{', '.join(lost)} is not in epochs/; delete the folder, and it is trained again")
        found, labels = [np.load(path) for path in files], read_labels(data / "label.txt")
        all_parts = [np.load(path) for path in (folder / "epochs").rglob("*.npz")]
        truth = {
            name: read_examples(data / f"{name}.txt", labels)[1] for name in ("dev", "held_out") if name in found[0]
        }
        _, ids = read_examples(data / "train.txt", labels)
        result = {
            "settings": self.settings(cell),
            "epochs": epochs,
            "steps": int(found[-1]["step"]),
            "cpu_seconds": sum(float(part["cpu_seconds"]) for part in all_parts),
            "memory_mb": max(float(part["memory_mb"]) for part in all_parts),
            "counts": np.bincount(ids, minlength=len(labels)).tolist(),
        }
        answers = {}
        for split, true_ids in truth.items():
            scores = [score(epoch[split], true_ids) for epoch in found]
            result[split] = {name: [getattr(one, name) for one in scores] for name in ("accuracy", "macro_f1")}
            answers[split] = np.stack([epoch[split] for epoch in found])
            answers[f"{split}_truth"] = np.array(true_ids)
        with staged_files(folder.parent) as stage:
            np.savez_compressed(stage / f"{folder.name}.npz", **answers)
        with staged_files(folder.parent) as stage:  # after the answers: it says that all is there
            write_json(stage / f"{folder.name}.json", result)

    def train_all(self, cells):
        """Train what is missing, --jobs at a time; what went wrong, a message a cell."""
        # A cell whose figures were kept but whose folder was not yet removed is cleared away too.
        missing = [cell for cell in cells if not self.figures(cell) or self.folder(cell).exists()]
        print(f"{len(cells)} trainings, {len(cells) - len(missing)} of them finished", file=sys.stderr, flush=True)
        problems, pool = [], ThreadPoolExecutor(self.args.jobs)
        try:
            for problem in progress_bar(pool.map(self.train, missing), total=len(missing), desc="trainings"):
                if problem:
                    print(problem, file=sys.stderr, flush=True)
                    problems.append(problem)
        finally:
            pool.shutdown(cancel_futures=True)
        return problems

    def ngram_answers(self, data_set, encoder):
        """See recipe_ngrams.ngram_answers."""
        data, digests = self.data_folder(data_set), self.digests[data_set] + self.digests[encoder]
        name = f"ngrams, {hashlib.sha256(digests.encode()).hexdigest()[:8]}.npz"
        return ngram_answers(data, encoder, data.parent / encoder.name / name)

    def results(self, data_set, encoder, recipes):
        """What the finished trainings give: recipe -> seed -> figures, and the same for their costs."""
        found, costs = {}, {}
        for recipe in recipes:
            for seed in self.args.seeds:
                cell = Cell(data_set, encoder, recipe.training, seed)
                figures = self.figures(cell)
                if figures:
                    stored = np.load(f"{self.folder(cell)}.npz")
                    truth = {split: stored[f"{split}_truth"] for split in ("dev", "held_out") if split in stored}
                    logits = {split: stored[split] for split in truth}
                    if recipe.adds_ngrams:
                        more = self.ngram_answers(data_set, encoder)
                        logits = {split: values + more[split] for split, values in logits.items()}
                        figures = {**figures, "cpu_seconds": figures["cpu_seconds"] + float(more["cpu_seconds"])}
                    epochs = [{split: logits[split][epoch] for split in truth} for epoch in range(figures["epochs"])]
                    scores = columns(epochs, truth, np.array(figures["counts"]), recipe.metric, recipe.adjust)
                    found.setdefault(recipe.name, {})[seed] = scores
                    costs.setdefault(recipe.name, {})[seed] = figures
        return found, costs


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data_dir", type=Path, required=True, help="has kuake_qic/ and tnews_fewshot/")
    add("--work_dir", type=Path, default=Path(".bench/recipes"))
    add("--data_sets", nargs="+", default=list(DATA_SETS), choices=DATA_SETS)
    add("--encoders", nargs="+", type=Path, default=[Path("data/offline_encoder_6")], help="folders of encoders")
    names = ", ".join(RECIPES)
    add("--recipes", nargs="+", default=[*RECIPES, *COMBINATIONS], help=f"some of {names}, or several joined by +")
    add("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    add("--held_out", type=float, default=0.1, help="share of train that epochs are chosen on (default: %(default)s)")
    add("--learning_rate", help="of plain (default: 1.5e-4 for an encoder of 6 layers, else 1e-4)")
    add("--jobs", type=int, default=1, help="trainings at a time, a core each (default: %(default)s)")
    add("--report", action="store_true", help="train nothing; the tables of what is finished")
    add("--select", action="store_true", help="train nothing; the recipes by their accuracy on the held-out part")
    args = parser.parse_args(argv)
    if not 0 <= args.held_out < 1:
        parser.error(f"--held_out {args.held_out}: must be at least 0 and below 1")
    if args.jobs < 1:
        parser.error(f"--jobs {args.jobs}: must be at least 1")
    own = [DATA_SETS[name].held_out or DATA_SETS[name].others for name in args.data_sets]
    if args.select and not args.held_out and not all(own):
        parser.error("--select: nothing is held out with --held_out 0; leave that out, or use --report")
    args.recipes = list(dict.fromkeys(map(Recipe.parse, args.recipes)))
    args.seeds = list(dict.fromkeys(args.seeds))
    return args


def main(argv=None):
    args = parse_flags(argv)
    bench, problems = Bench(args), []
    if not (args.report or args.select):
        # All recipes of a seed before the next seed: a run that is cut has something to compare.
        order = itertools.product(args.seeds, args.data_sets, args.encoders, args.recipes)
        cells = dict.fromkeys(Cell(name, encoder, recipe.training, seed) for seed, name, encoder, recipe in order)
        problems = bench.train_all(list(cells))
    for name, encoder in itertools.product(args.data_sets, args.encoders):
        found, costs = bench.results(name, encoder, args.recipes)
        print(f"\n{name}, {encoder.name}, learning rate {bench.rates[encoder]}:\n")
        lines = ranking(found) if args.select else report(found, costs)
        print("\n".join(lines) if found else "nothing is finished", flush=True)
    if problems:
        raise UsageError(f"{len(problems)} trainings are not finished, see above; the others are kept")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
