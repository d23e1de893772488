"""The steps of bench_retrieval.py: data, trainings and recalls, each done once, and the figures made of them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from core.predictor import Predictor
from retrieval_based.data import read_recalled
from retrieval_based.scores import recall_at, recalled_arrays
from retrieval_based.utils import vote as votes
from tests.bench.retrieval_scores import auroc, disagreement
from utils import read_examples, read_json, read_labels, read_lines, write_json, write_lines

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = 3
NEAREST = 10  # texts whose mean similarity is a score of the open set
RECALL_NUM = 100
# As in `make bench-quality`.
CLASSIFIER = (
    "--num_train_epochs 4 --learning_rate 1e-4 --max_length 128 --per_device_train_batch_size 32 "
    "--per_device_eval_batch_size 32 --evaluation_strategy epoch --save_strategy epoch --save_total_limit 1 "
    "--load_best_model_at_end --metric_for_best_model accuracy --disable_tqdm True"
).split()
DUAL = (
    "--epochs 4 --learning_rate 1e-4 --warmup_proportion 0.1 --max_seq_length 128 --batch_size 32 --save_total_limit 1"
).split()

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


def as_flags(**values):
    """name=value as --name value: list."""
    return [part for name, value in values.items() for part in (f"--{name}", value)]


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
        wanted = {
            "command": [str(part) for part in (script, *flags)],
            "samples": [self.args.max_train_samples, self.args.max_test_samples],
            "after": [read_json(folder / f"{other}.json").get("started") for other in after],
        }
        done = read_json(folder / f"{name}.json")
        if wanted.items() <= done.items():
            return
        start = time.time()
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"}
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        result = subprocess.run([sys.executable, *wanted["command"]], cwd=ROOT, env=environment, **streams)
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
        flags = {"input_file": self.folder / "all.txt", "save_dir": folder, "seed": self.seed}
        self.step("split", "data/split.py", *as_flags(**flags), "--splits", "0.9", "0.1", "0", "--force")
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
        folder, output = self.folder / "data" / part, self.folder / "models" / name
        flags = as_flags(
            train_set_file=folder / "train.txt",
            corpus_file=folder / "train.txt",
            similar_text_pair_file=folder / "dev.txt",
            model_name_or_path=self.args.model_name_or_path,
            save_dir=output,
            recall_result_dir=output / "recall",
            device="cpu",
            seed=self.seed,
        )
        own = [*DUAL, *self.args.dual_flags.split()]
        self.step(name, "retrieval_based/train.py", *flags, *own, after=["split"])

    def train_classifier(self):
        output = self.folder / "models" / "classifier"
        flags = as_flags(
            data_dir=self.folder / "data",
            model_name_or_path=self.args.model_name_or_path,
            output_dir=output,
            device="cpu",
            seed=self.seed,
        )
        own = [*CLASSIFIER, *self.args.classifier_flags.split()]
        self.step("classifier", "train.py", "--do_train", "--do_export", *flags, *own, after=["split"])

    def recalled(self, model, corpus, queries):
        """Hits in data/<corpus> of the texts in data/<queries>: scores, label ids, and class ids of the queries."""
        model = named(model, self.args)
        name = f"{model}, {corpus.replace('/', ' ')}, {queries.replace('/', ' ')}"
        flags = as_flags(
            model_name_or_path=self.folder / "models" / model / "model_best",
            corpus_file=self.folder / "data" / corpus,
            similar_text_pair_file=self.folder / "data" / queries,
            recall_num=RECALL_NUM,
            hnsw_ef=2 * RECALL_NUM,
            recall_result_dir=self.folder / "recall",
            recall_result_file=f"{name}.txt",
            device="cpu",
        )
        self.step(name, "retrieval_based/recall.py", *flags, after=[model])
        return recalled_arrays(read_recalled(self.folder / "recall" / f"{name}.txt"), self.labels)

    def probabilities(self, split):
        """The classifier's, float64 [texts, labels]."""
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
        seen = disagreement(sure["test"], shares["test"], truth["test"])
        recall = recall_at(names[2], names[1])
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
            rows[f"{name}: AUROC"] = 100 * auroc(known, unknown)
            rows[f"{name}: known kept"] = 100 * float((known >= threshold).mean())
            rows[f"{name}: unknown rejected"] = 100 * float((unknown < threshold).mean())
        return rows
