"""How well does a semantic index classify, take new labels and reject unknown texts? Run by `make bench-retrieval`.

    python tests/bench_retrieval.py --data_dir ../shared/kuake_qic
    python tests/bench_retrieval.py --data_dir ../shared/kuake_qic --parts accuracy --seeds 1 2 3

A tenth of train.txt, by the seed and stratified, is dev: all that is chosen (epoch, neighbours, temperature, weight,
threshold) is chosen there. The figures are on --data_dir's dev.txt. Parts:

accuracy     label-name index, vote of the training texts, classifier (train.py as in `make bench-quality`), both
             together, and what they say where they disagree
new_labels   an encoder trained on all labels but three, which then are added by their training texts alone, beside
             one that was trained on all
open_set     the same encoder with its labels alone: are the three others' texts seen to be unknown?

A step that is already in --work_dir, with the same command, is not repeated; one process a core. What --dual_flags
changes has them in its name, so that encoders trained otherwise share the data and the classifier.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from utils import load_module, read_examples, read_json, read_labels, read_lines, write_json, write_lines  # noqa: E402

data = load_module("retrieval_data", ROOT / "retrieval_based" / "data.py")
votes = load_module("retrieval_vote", ROOT / "retrieval_based" / "utils" / "vote.py")
evaluate = load_module("retrieval_evaluate", ROOT / "retrieval_based" / "evaluate.py")

PARTS = ("accuracy", "new_labels", "open_set")
LEFT_OUT = 3
NEAREST = 10  # texts whose mean similarity is a score of the open set
RECALL_NUM = 100
# As in `make bench-quality`.
CLASSIFIER = ["--num_train_epochs", "4", "--learning_rate", "1e-4", "--max_length", "128",
              "--per_device_train_batch_size", "32", "--per_device_eval_batch_size", "32", "--evaluation_strategy",
              "epoch", "--save_strategy", "epoch", "--save_total_limit", "1", "--load_best_model_at_end",
              "--metric_for_best_model", "accuracy", "--disable_tqdm", "True"]  # fmt: skip
DUAL = ["--epochs", "4", "--learning_rate", "1e-4", "--warmup_proportion", "0.1", "--max_seq_length", "128",
        "--batch_size", "32", "--save_total_limit", "1"]  # fmt: skip

# What is searched: model, corpus and queries, below data/.
BOTH = ("dev.txt", "test.txt")
RECALLS = {
    "accuracy": [("dual", "label.txt", "test.txt"), *(("dual", "train.txt", queries) for queries in BOTH)],
    "new_labels": [(model, "train.txt", queries) for model in ("dual", "dual_few") for queries in BOTH],
    "open_set": [
        ("dual_few", "few/train.txt", f"{kind}/{queries}") for kind in ("few", "unknown") for queries in BOTH
    ],
}


def named(name, args):
    """The name of what depends on --dual_flags."""
    return f"{name} {args.dual_flags.replace('/', ' ')}".strip()


class Bench:
    """The steps of one seed, each done once; its folder holds data, models and what they found."""

    def __init__(self, args, seed):
        self.args, self.seed, self.folder = args, seed, (args.work_dir / f"seed {seed}").resolve()
        self.labels = read_labels(args.data_dir / "label.txt")
        random = np.random.RandomState(seed)
        self.left_out = [self.labels[index] for index in sorted(random.permutation(len(self.labels))[:LEFT_OUT])]

    def step(self, name, script, *flags, after=()):
        """Run a script once; again where its command, the number of samples or a step before it is another."""
        folder = self.folder / "steps"
        wanted = {"command": [str(part) for part in (script, *flags)],
                  "samples": [self.args.max_train_samples, self.args.max_test_samples],
                  "after": [read_json(folder / f"{other}.json").get("started") for other in after]}  # fmt: skip
        done = read_json(folder / f"{name}.json")
        if wanted.items() <= done.items():
            return
        start = time.time()
        result = subprocess.run([sys.executable, *wanted["command"]], cwd=ROOT, stdout=subprocess.PIPE,
                                env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.STDOUT,
                                encoding="utf-8")  # fmt: skip
        if result.returncode:
            raise RuntimeError(f"seed {self.seed}, {name}: {result.stdout[-3000:]}")
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{name}.json", {**wanted, "started": start, "seconds": time.time() - start})
        print(f"seed {self.seed}, {name}: {time.time() - start:.0f} s", file=sys.stderr, flush=True)

    def write_data(self):
        """data/: train, dev and test of all labels; data/few/: without the three; data/unknown/: theirs alone."""
        source, folder = self.args.data_dir.resolve(), self.folder / "data"
        every = read_lines(source / "train.txt")
        if self.args.max_train_samples:
            every = every[: self.args.max_train_samples]
        write_lines(self.folder, {"all.txt": every})
        self.step("split", "data/split.py", "--input_file", self.folder / "all.txt", "--save_dir", folder, "--splits",
                  "0.9", "0.1", "0", "--seed", self.seed, "--force")  # fmt: skip
        test = read_lines(source / "dev.txt")[: self.args.max_test_samples or None]
        write_lines(folder, {"test.txt": test, "label.txt": self.labels})
        for split in ("train", "dev", "test"):
            rows = [line.split("\t") for line in read_lines(folder / f"{split}.txt")]
            few = [row for row in rows if row[1] not in self.left_out]
            # recall.py wants labels of the corpus, which these have not: the similarities alone are looked at.
            unknown = [[text, few[0][1]] for text, label in rows if label in self.left_out]
            for name, chosen in (("few", few), ("unknown", unknown)):
                write_lines(folder / name, {f"{split}.txt": ["\t".join(row) for row in chosen]})

    def train_dual(self, name, part):
        """Train a dual encoder on data/<part>; its folder is models/<name>, with the flags."""
        name = named(name, self.args)
        folder = self.folder / "data" / part
        self.step(name, "retrieval_based/train.py", "--train_set_file", folder / "train.txt", "--corpus_file",
                  folder / "train.txt", "--similar_text_pair_file", folder / "dev.txt", "--model_name_or_path",
                  self.args.model_name_or_path, "--save_dir", self.folder / "models" / name, "--recall_result_dir",
                  self.folder / "models" / name / "recall", "--device", "cpu", "--seed", self.seed, *DUAL,
                  *self.args.dual_flags.split(), after=["split"])  # fmt: skip

    def train_classifier(self):
        output = self.folder / "models" / "classifier"
        self.step("classifier", "train.py", "--do_train", "--do_export", "--data_dir", self.folder / "data",
                  "--model_name_or_path", self.args.model_name_or_path, "--output_dir", output, "--device", "cpu",
                  "--seed", self.seed, *CLASSIFIER, *self.args.classifier_flags.split(), after=["split"])  # fmt: skip

    def recalled(self, model, corpus, queries):
        """Hits in data/<corpus> of the texts in data/<queries>: scores, label ids, and class ids of the queries."""
        model = named(model, self.args)
        name = f"{model}, {corpus.replace('/', ' ')}, {queries.replace('/', ' ')}"
        self.step(name, "retrieval_based/recall.py", "--model_name_or_path",
                  self.folder / "models" / model / "model_best", "--corpus_file", self.folder / "data" / corpus,
                  "--similar_text_pair_file", self.folder / "data" / queries, "--recall_num", RECALL_NUM,
                  "--hnsw_ef", 2 * RECALL_NUM, "--recall_result_dir", self.folder / "recall",
                  "--recall_result_file", f"{name}.txt", "--device", "cpu", after=[model])  # fmt: skip
        return evaluate.arrays(data.read_recalled(self.folder / "recall" / f"{name}.txt"), self.labels)

    def probabilities(self, split):
        """The classifier's, float64 [texts, labels]."""
        from predictor import Predictor

        predictor = Predictor(self.folder / "models" / "classifier" / "export", num_threads=1)
        assert predictor.labels == self.labels
        return predictor.probabilities(read_examples(self.folder / "data" / f"{split}.txt", self.labels)[0])

    def vote(self, model, corpus="train.txt"):
        """Shares on dev and test of the vote that is best on dev: dict[str, np.ndarray], k and temperature."""
        found = {split: self.recalled(model, corpus, f"{split}.txt") for split in ("dev", "test")}
        chosen = votes.choose_vote(*found["dev"], len(self.labels))
        return {split: votes.vote(*found[split][:2], len(self.labels), *chosen) for split in found}, chosen

    def truth(self, split):
        return np.array(read_examples(self.folder / "data" / f"{split}.txt", self.labels)[1])

    # ---------------------------------------------------------------------------------------------------- parts

    def accuracy(self):
        """Rows of the table, in percent."""
        truth = {split: self.truth(split) for split in ("dev", "test")}
        names = self.recalled("dual", "label.txt", "test.txt")
        shares, (k, temperature) = self.vote("dual")
        sure = {split: self.probabilities(split) for split in ("dev", "test")}
        weight = votes.choose_weight(sure["dev"], shares["dev"], truth["dev"])
        threshold = votes.choose_fall_back(sure["dev"], shares["dev"], truth["dev"])
        seen = votes.disagreement(sure["test"], shares["test"], truth["test"])
        recall = evaluate.recall_at(names[2], names[1])
        rows = {
            "label-name index": recall[1],
            "training-text vote": votes.accuracy(shares["test"], truth["test"]),
            "classifier": votes.accuracy(sure["test"], truth["test"]),
            "hybrid, blend": votes.accuracy(votes.blend(sure["test"], shares["test"], weight), truth["test"]),
            "hybrid, fall back": votes.accuracy(
                votes.fall_back(sure["test"], shares["test"], threshold), truth["test"]
            ),
            "label-name index, recall@5": recall[5],
            "they disagree": seen["share"],
            "classifier there": seen["classifier"],
            "vote there": seen["index"],
            "accuracy where they agree": seen["agree"],
        }
        chosen = {"k": k, "temperature": temperature, "classifier's weight": weight, "fall-back below": threshold}
        return {**{name: 100 * value for name, value in rows.items()}, **chosen}

    def new_labels(self):
        """Accuracy on all test texts, those of known and those of new labels, in percent, of both encoders."""
        truth, rows = self.truth("test"), {}
        new = np.isin(truth, [self.labels.index(label) for label in self.left_out])
        for name, model in (("labels added by texts alone", "dual_few"), ("trained on all labels", "dual")):
            right = self.vote(model)[0]["test"].argmax(axis=1) == truth
            for texts, chosen in (("all texts", right), ("known labels", right[~new]), ("new labels", right[new])):
                rows[f"{name}: {texts}"] = 100 * float(chosen.mean())
        return rows

    def open_set(self):
        """AUROC in percent, and what a threshold that keeps 95 % of dev's known texts does on test."""
        rows, scores = {}, {}
        for split in ("dev", "test"):
            for kind in ("few", "unknown"):
                similar, _, _ = self.recalled("dual_few", "few/train.txt", f"{kind}/{split}.txt")
                scores["nearest", split, kind] = similar[:, 0]
                scores[f"mean of {NEAREST}", split, kind] = similar[:, :NEAREST].mean(axis=1)
        for name in ("nearest", f"mean of {NEAREST}"):
            known, unknown = scores[name, "test", "few"], scores[name, "test", "unknown"]
            threshold = votes.fit_threshold(scores[name, "dev", "few"])
            rows[f"{name}: AUROC"] = 100 * votes.auroc(known, unknown)
            rows[f"{name}: known kept"] = 100 * float((known >= threshold).mean())
            rows[f"{name}: unknown rejected"] = 100 * float((unknown < threshold).mean())
        return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True, help="train.txt, dev.txt (the test), label.txt")
    parser.add_argument("--work_dir", type=Path, default=Path(".bench/retrieval"))
    parser.add_argument("--model_name_or_path", default="data/offline_encoder")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--dual_flags", default="", help='more for retrieval_based/train.py: "--positives text"')
    parser.add_argument("--classifier_flags", default="", help="more for train.py")
    parser.add_argument("--max_train_samples", type=int, default=0, help="of train.txt; 0: all, to be tried quickly")
    parser.add_argument("--max_test_samples", type=int, default=0, help="of dev.txt; 0: all")
    args = parser.parse_args()
    args.model_name_or_path = Path(args.model_name_or_path).resolve()
    benches = [Bench(args, seed) for seed in args.seeds]
    for bench in benches:
        bench.write_data()
    jobs = []
    for bench in benches:
        if {"accuracy", "new_labels"} & set(args.parts):
            jobs.append((bench.train_dual, "dual", "."))
        if {"new_labels", "open_set"} & set(args.parts):
            jobs.append((bench.train_dual, "dual_few", "few"))
        if "accuracy" in args.parts:
            jobs.append((bench.train_classifier,))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(lambda job: job[0](*job[1:]), jobs))
        recalls = dict.fromkeys(recall for part in args.parts for recall in RECALLS[part])
        list(pool.map(lambda job: job[0].recalled(*job[1]), [(bench, one) for bench in benches for one in recalls]))
        results = {part: list(pool.map(lambda bench, part=part: getattr(bench, part)(), benches))
                   for part in args.parts}  # fmt: skip
    write_json(args.work_dir / f"{named('results', args)}.json", {"seeds": args.seeds, **results})
    for part, rows in results.items():
        print(f"\n| {part} | {', '.join(f'seed {seed}' for seed in args.seeds)} | mean |\n| --- | --- | --- |")
        for name in rows[0]:
            values = [row[name] for row in rows]
            print(f"| {name} | {', '.join(f'{value:.4g}' for value in values)} | {np.mean(values):.4g} |")
    if set(args.parts) - {"accuracy"}:
        for bench in benches:
            print(f"\nLeft out with seed {bench.seed}: {' '.join(bench.left_out)}")


if __name__ == "__main__":
    main()
