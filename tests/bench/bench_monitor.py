"""Does analysis/monitor.py alarm when it should, and only then? Is its estimated accuracy right? `make bench-monitor`.

    python tests/bench/bench_monitor.py --data_dir ../shared --params_path checkpoint --work_dir .bench/monitor

The model was trained on KUAKE-QIC's train.txt. In each draw its dev.txt is dealt out anew:

halves    one half against the other: runs with an alarm, of 200 (at most 1 % are promised), by test too
power     a log of 100, 300 or 1,000 lines against the other 955 ones; 0, 10, 20 or 40 % of the log are texts of
          TNEWS, or the largest label but one has twice its share (of dev's own texts; 400 lines in place of 1,000,
          as there are no more of that label): runs with an alarm
accuracy  of the same logs, the estimated accuracy less the true one (no answer to a text of TNEWS is right), the mean
          of its absolute value, and how often the 95 % interval has the true one in it
labels    with 20 % of TNEWS in 1,000 lines: how many of the 100 texts to label are TNEWS (20 by chance), and how many
          answers to the others are wrong

The temperature is fitted on the reference of each draw, as an export fits it on dev. Logits and features are computed
once, and each cell's result is kept, in --work_dir.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root

from analysis.estimated_accuracy import estimate_accuracy
from analysis.monitoring import find_shifts, worth_labelling
from analysis.traffic import OPEN_KEY, Traffic
from core.calibration import confidences, fit_temperature
from core.checkpoints import trained_labels
from core.hashed_ngrams import buckets_of, make_bucket
from core.progress import progress_bar
from utils import read_cases, read_examples, read_json, staged_files, write_json

TESTS = ("labels", "confidence", "length", "vocabulary", "embedding")
SIZES, SHARES, ALPHA, REFERENCE = (100, 300, 1000), (0.0, 0.1, 0.2, 0.4), 0.01, 955
# Draws of the permutations: those of monitor.py for `halves`, fewer for the many runs of `power`.
FULL, QUICK = (4999, 999), (1999, 999)
KEY = make_bucket(OPEN_KEY)


class Data:
    """Texts of both sets with the model's logits and features; rows of TNEWS come behind those of dev.

    Args:
        args: data_dir, params_path, work_dir.
    """

    def __init__(self, args):
        self.labels = trained_labels(str(args.params_path), None, None)
        texts, ids = read_examples(args.data_dir / "kuake_qic" / "dev.txt", self.labels)
        files = [args.data_dir / "tnews_fewshot" / f"{name}.txt" for name in ("train", "dev", "test")]
        others = [text for path in files for _, text, *_ in read_cases(path)]
        self.dev, self.texts = len(texts), texts + others
        self.truth = np.array(ids + [-1] * len(others))
        path = args.work_dir / "answers.npz"
        if not path.is_file():
            from analysis.classifier import Classifier  # needs paddle, which takes seconds

            own = {"params_path": args.params_path, "device": "cpu", "seed": 3, "batch_size": 32}
            classifier = Classifier(argparse.Namespace(**own, max_seq_length=None), self.labels)
            logits, features = classifier.compute(self.texts, "texts")
            with staged_files(args.work_dir) as stage:
                np.savez(stage / path.name, logits=logits, features=features)
        with np.load(path) as kept:
            self.logits, self.features = kept["logits"], kept["features"]
        self.predicted = self.logits.argmax(axis=1)
        self.buckets = [buckets_of(text, KEY) for text in self.texts]

    def traffic(self, rows, temperature):
        names = [self.labels[class_id] for class_id in self.predicted[rows]]
        texts = [self.texts[row] for row in rows]
        lengths, sure = np.array(list(map(len, texts))), confidences(self.logits[rows], temperature)
        return Traffic("", names, sure, lengths, texts, embedding=self.features[rows])

    def run(self, reference, log, random, draws):
        """Alarms (set of names), estimated and true accuracy, and whether the interval has the true one in it."""
        temperature = fit_temperature(self.logits[reference], self.truth[reference])
        sets = [self.traffic(rows, temperature) for rows in (reference, log)]
        buckets = tuple([self.buckets[row] for row in rows] for rows in (reference, log))
        shifts, _ = find_shifts(*sets, buckets, random, draws)
        right = self.predicted == self.truth
        found = estimate_accuracy(sets[1].confidence, sets[0].confidence, right[reference], random)
        true = float(right[log].mean())
        inside = found.interval[0] <= true <= found.interval[1]
        return [shift.name for shift in shifts if shift.adjusted <= ALPHA], found.accuracy, true, bool(inside)

    def log(self, pool, size, share, random):
        """Rows: `size` of the pool, a share of them replaced by TNEWS."""
        other = round(size * share)
        others = self.dev + random.choice(len(self.texts) - self.dev, other, replace=False)
        return np.concatenate([random.permutation(pool)[: size - other], others])

    def doubled(self, pool, size, label, random):
        """Rows of the pool, where a label has twice its share of dev."""
        many = round(2 * size * float((self.truth[: self.dev] == label).mean()))
        pool = random.permutation(pool)
        own = self.truth[pool] == label
        assert own.sum() >= many
        return np.concatenate([pool[own][:many], pool[~own][: size - many]])


def cell(args, name, draws, one):
    """The results of `draws` calls of one(random), kept in --work_dir."""
    path = args.work_dir / f"{name}_{draws}.json"
    if not path.is_file():
        results = [one(np.random.default_rng([args.seed, number])) for number in progress_bar(range(draws), desc=name)]
        with staged_files(args.work_dir) as stage:
            write_json(stage / path.name, {"results": results})
    return read_json(path)["results"]


def told(results):
    """Cells of a table: runs with an alarm; bias, mean absolute error, coverage."""
    alarms = 100 * np.mean([bool(names) for names, *_ in results])
    errors = 100 * np.array([found - true for _, found, true, _ in results])
    inside = 100 * np.mean([inside for *_, inside in results])
    true = 100 * np.mean([true for _, _, true, _ in results])
    return f"{alarms:.1f} % | {true:.1f} | {errors.mean():+.1f} | {np.abs(errors).mean():.1f} | {inside:.0f} %"


def run_halves(args, data):
    def one(random):
        order = random.permutation(data.dev)
        return data.run(order[: data.dev // 2], order[data.dev // 2 :], random, FULL)

    results = cell(args, "halves", args.false_draws, one)
    print(f"halves | alarms | true | bias | error | covered\n1/2 and 1/2 | {told(results)}")
    for name in TESTS:
        print(f"  {name}: {100 * np.mean([name in names for names, *_ in results]):.1f} %")


def run_power(args, data):
    label = int(np.argsort(-np.bincount(data.truth[: data.dev]))[1])
    print(f"\nlines | other | alarms | true | bias | error | covered   (doubled: {data.labels[label]})")
    for size in SIZES:
        for share in (*SHARES, "doubled"):
            lines = 400 if share == "doubled" and size == 1000 else size

            def one(random, share=share, lines=lines):
                order = random.permutation(data.dev)
                reference, pool = order[:REFERENCE], order[REFERENCE:]
                if share == "doubled":
                    log = data.doubled(pool, lines, label, random)
                else:
                    log = data.log(pool, lines, share, random)
                return data.run(reference, log, random, QUICK)

            results = cell(args, f"power_{lines}_{share}", args.draws, one)
            by_test = {name: sum(name in names for names, *_ in results) for name in TESTS}
            print(f"{lines} | {share} | {told(results)} | {by_test}", flush=True)


def run_labels(args, data):
    found = []
    for number in range(5):
        random = np.random.default_rng([args.seed, number])
        order = random.permutation(data.dev)
        rows = data.log(order[REFERENCE:], 1000, 0.2, random)
        temperature = fit_temperature(data.logits[order[:REFERENCE]], data.truth[order[:REFERENCE]])
        sets = [data.traffic(some, temperature) for some in (order[:REFERENCE], rows)]
        place = {data.texts[row]: row for row in rows}
        chosen = np.array([place[text] for text in worth_labelling(*sets, 100, number)])
        others, own = chosen[chosen >= data.dev], chosen[chosen < data.dev]
        wrong = data.predicted[own] != data.truth[own]
        found.append((len(others), 100 * wrong.mean(), 100 * (data.predicted[rows] != data.truth[rows])[:800].mean()))
    mean = np.mean(found, axis=0)
    print(
        f"\nto label: {mean[0]:.1f} of 100 are TNEWS; of the others {mean[1]:.1f} % are wrong ({mean[2]:.1f} % of all)"
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True, help="../shared: kuake_qic and tnews_fewshot")
    parser.add_argument("--params_path", type=Path, required=True, help="a checkpoint trained on KUAKE-QIC")
    parser.add_argument("--work_dir", type=Path, default=Path(".bench/monitor"))
    parser.add_argument("--false_draws", type=int, default=200)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args(argv)
    data = Data(args)
    run_labels(args, data)
    run_halves(args, data)
    run_power(args, data)


if __name__ == "__main__":
    main()
