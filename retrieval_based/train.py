"""Train a dual encoder with in-batch negatives: texts near texts of their label and near its name.

One card or CPU:
    python retrieval_based/train.py --train_set_file data/train.txt --corpus_file data/label.txt \\
        --similar_text_pair_file data/dev.txt --save_dir checkpoint/retrieval --device gpu

Several cards, each text's negatives being those of all of them:
    unset CUDA_VISIBLE_DEVICES; python -m paddle.distributed.launch --gpus 0,1 retrieval_based/train.py …

Without a model hub: python data/build_encoder.py, then --model_name_or_path data/offline_encoder.

Each --save_steps, or at the end of each epoch, a checkpoint goes to <save_dir>/model_<step>; with --evaluate True the
one with the best accuracy on --similar_text_pair_file is in <save_dir>/model_best. The same seed gives the same
weights, also after a break that --resume_from_checkpoint <save_dir>/model_<step> continues.
"""

import argparse
import hashlib
import json
import shutil
import sys
import time
import types
from pathlib import Path

import numpy as np
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from utils import (  # noqa: E402
    UsageError,
    exit_on_usage_error,
    load_module,
    prepare_cpu,
    read_examples,
    read_json,
    write_json,
    write_lines,
)

data = load_module("retrieval_data", HERE / "data.py")
recall = load_module("retrieval_recall", HERE / "recall.py")
evaluate = load_module("retrieval_evaluate", HERE / "evaluate.py")

STATE_FILE = "train_state.json"
OPTIMIZER_FILE = "optimizer.pdopt"
# What decides the result: a checkpoint continues a training that has the same.
DECIDING = ("margin", "scale", "output_emb_size", "pooling", "positives", "batch_size", "learning_rate", "epochs",
            "warmup_proportion", "weight_decay", "max_seq_length", "seed")  # fmt: skip


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--train_set_file", type=Path, default=Path("data/train.txt"), help="<text>, tab, <label> (%(default)s)")
    recall.add_corpus_flags(parser)
    add("--model_name_or_path", default="rocketqa-zh-dureader-query-encoder",
        help="an encoder, or a checkpoint to go on from with new data (default: %(default)s)")  # fmt: skip
    add("--save_dir", type=Path, default=Path("checkpoint/retrieval"), help="(default: %(default)s)")
    add("--resume_from_checkpoint", type=Path, help="a model_<step> of this training, to continue it")
    add("--positives", choices=("label", "text", "both"), default="both",
        help="what a text is drawn near: its label's name, another text of its label, both (%(default)s)")  # fmt: skip
    add("--margin", type=float, default=0.2, help="taken off the cosine with the positive (default: %(default)s)")
    add("--scale", type=float, default=30.0, help="that cosines are multiplied with (default: %(default)s)")
    add("--output_emb_size", type=int, help="units of a vector; 0: the encoder's own (default: 256)")
    add("--pooling", choices=("mean", "cls"), help="mean of all tokens, or the first one (default: mean)")
    add("--max_seq_length", type=int, help="tokens kept of a text (default: 64)")
    add("--batch_size", type=int, default=64, help="texts of a step on one process (default: %(default)s)")
    add("--learning_rate", type=float, default=5e-5, help="its highest value (default: %(default)s)")
    add("--epochs", type=int, default=10, help="(default: %(default)s)")
    add("--warmup_proportion", type=float, default=0.0, help="of the steps, in which the rate rises (%(default)s)")
    add("--weight_decay", type=float, default=0.0, help="(default: %(default)s)")
    add("--evaluate", type=true_or_false, default=True, help="at each checkpoint (default: %(default)s)")
    add("--save_steps", type=int, default=0, help="between checkpoints; 0: one an epoch (default: %(default)s)")
    add("--save_total_limit", type=int, default=0, help="checkpoints kept beside model_best; 0: all (%(default)s)")
    add("--log_steps", type=int, default=10, help="(default: %(default)s)")
    add("--device", default="gpu", help="gpu, gpu:<n> or cpu; without a GPU the CPU is used (default: %(default)s)")
    add("--seed", type=int, default=42, help="of batches, positives, dropout, projection (default: %(default)s)")
    args = parser.parse_args(argv)
    least = {"batch_size": 2, "epochs": 1, "log_steps": 1, "save_steps": 0, "save_total_limit": 0,
             "output_emb_size": 0, "max_seq_length": 3}  # fmt: skip
    for name, smallest in least.items():
        value = getattr(args, name)
        if value is not None and value < smallest:
            parser.error(f"--{name} {value}: give {smallest} or more")
    for name in ("scale", "learning_rate"):
        if not getattr(args, name) > 0:
            parser.error(f"--{name} {getattr(args, name)}: give a number above 0")
    for name in ("warmup_proportion", "margin"):
        if not 0 <= getattr(args, name) < 1:
            parser.error(f"--{name} {getattr(args, name)}: give a number from 0 to below 1")
    recall.check_corpus_flags(parser, args)
    return args


def true_or_false(text):
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text}: give True or False")
    return text.lower() == "true"


def read_data(args):
    """Read the training texts, the corpus and, with --evaluate, the dev texts.

    Returns:
        tuple: Corpus; texts and class ids (in the order of its names) for training; the same of dev, or None.
    """
    corpus = data.read_corpus(args.corpus_file)
    labels = list(corpus.names)
    dev = read_examples(args.similar_text_pair_file, labels) if args.evaluate else None
    return corpus, read_examples(args.train_set_file, labels), dev


def fingerprint(args, settings, corpus, train_data, processes):
    """What decides the result of this training, as JSON values by name."""
    content = json.dumps([corpus.names, *train_data], ensure_ascii=False)
    values = {name: getattr(args, name) for name in DECIDING}
    values.update(settings, processes=processes, data=hashlib.sha256(content.encode("utf-8")).hexdigest())
    return json.loads(json.dumps(values))


class Learner:
    """A training: the model, its optimizer, the step that it is at and the best accuracy so far.

    Args:
        args: the flags.
        corpus (Corpus): what is searched, and the labels' names.
        train_data, dev (tuple): texts and class ids; dev may be None.

    Raises:
        UsageError: no such model; a checkpoint to resume that is not of this training.
    """

    def __init__(self, args, corpus, train_data, dev):
        import paddle

        import trainer as lib

        self.base = load_module("retrieval_base_model", HERE / "base_model.py")
        self.losses = load_module("retrieval_model", HERE / "model.py")
        self.args, self.paddle, self.lib, self.corpus, self.dev = args, paddle, lib, corpus, dev
        self.processes = paddle.distributed.get_world_size()
        self.rank = paddle.distributed.get_rank() if self.processes > 1 else 0
        # Optimizer files name parameters by their number in the process: begin at 0 whatever was built before.
        paddle.utils.unique_name.switch()
        lib.set_seed(args.seed)  # before the projection is drawn
        names = ("pooling", "output_emb_size", "max_seq_length")
        name = args.resume_from_checkpoint or args.model_name_or_path
        self.embedder = self.base.Embedder(str(name), **{key: getattr(args, key) for key in names})
        self.model = self.embedder.model
        texts, label_ids = train_data
        self.features, self.label_ids = self.embedder.encode(texts), np.array(label_ids)
        self.name_features = self.embedder.encode(list(corpus.names.values()))
        self.sampler = lib.LengthGroupedBatchSampler(
            [len(feature["input_ids"]) for feature in self.features], args.batch_size, args.seed,
            num_replicas=self.processes, rank=self.rank,
        )  # fmt: skip
        self.total_steps = args.epochs * len(self.sampler)
        self.step, self.best, self.kept = 0, -1.0, []
        self._make_optimizer()
        self.fingerprint = fingerprint(args, self.embedder.settings, corpus, train_data, self.processes)
        if args.resume_from_checkpoint:
            self._resume(args.resume_from_checkpoint)

    def _make_optimizer(self):
        from paddlenlp.transformers import LinearDecayWithWarmup

        args, paddle = self.args, self.paddle
        self.schedule = LinearDecayWithWarmup(args.learning_rate, self.total_steps, args.warmup_proportion)
        decayed = {weight.name for name, weight in self.model.named_parameters()
                   if "bias" not in name and "norm" not in name}  # fmt: skip
        self.optimizer = paddle.optimizer.AdamW(
            self.schedule, parameters=self.model.parameters(), weight_decay=args.weight_decay,
            apply_decay_param_fun=lambda name: name in decayed, grad_clip=paddle.nn.ClipGradByGlobalNorm(1.0),
        )  # fmt: skip

    def _resume(self, folder):
        state = read_json(folder / STATE_FILE)
        other = state["fingerprint"]
        changed = [name for name, value in self.fingerprint.items() if other.get(name) != value]
        if changed:
            raise UsageError(
                f"--resume_from_checkpoint {folder}: of a training with another {', '.join(changed)}; give the same, "
                "or start a new one from it with --model_name_or_path"
            )
        self.optimizer.set_state_dict(self.paddle.load(str(folder / OPTIMIZER_FILE)))
        self.step = state["step"]
        if (self.args.save_dir / "model_best").is_dir():  # else the best of the rest is the best
            self.best = state["best"]

    # ---------------------------------------------------------------------------------------------------- steps

    def fit(self):
        """Train to the end; the best accuracy on dev, or None without --evaluate."""
        args, length = self.args, len(self.sampler)
        self.model.train()
        loss, since, start = 0.0, 0, time.perf_counter()
        with tqdm(
            total=self.total_steps, initial=self.step, desc="training", unit="step", disable=self.rank > 0
        ) as bar:
            for epoch in range(self.step // length, args.epochs):
                self.sampler.set_epoch(epoch)
                partners = data.draw_partners(self.label_ids, args.seed, epoch)
                for rows in list(self.sampler)[self.step - epoch * length :]:
                    loss, since = loss + self._one_step(np.array(rows), partners), since + 1
                    bar.update()
                    if self.step % args.log_steps == 0:
                        speed = since / (time.perf_counter() - start)
                        self._say(f"global step {self.step}, epoch: {epoch + 1}, loss: {loss / since:.5f}, "
                                  f"speed: {speed:.2f} step/s")  # fmt: skip
                        loss, since, start = 0.0, 0, time.perf_counter()
                    if self.step % (args.save_steps or length) == 0 or self.step == self.total_steps:
                        pause = time.perf_counter()
                        self._checkpoint()
                        start += time.perf_counter() - pause
        return self.best if args.evaluate else None

    def _one_step(self, rows, partners):
        args, embedder = self.args, self.embedder
        self.lib.seed_dropout(args.seed, self.step, self.rank)
        label_ids = self.label_ids[rows]
        queries = self.model(**embedder.batch([self.features[row] for row in rows]))
        texts = names = None
        if args.positives != "label":
            texts = self.model(**embedder.batch([self.features[row] for row in partners[rows]]))
        if args.positives != "text":
            # Each name is encoded once; its vector stands at all texts of the label.
            labels, where = np.unique(label_ids, return_inverse=True)
            names = self.model(**embedder.batch([self.name_features[label] for label in labels]))
            names = self.paddle.index_select(names, self.paddle.to_tensor(where.astype("int64")))
        loss = self.losses.batch_loss(queries, texts, names, label_ids, args.margin, args.scale)
        loss.backward()
        self.losses.average_gradients(self.model.parameters())
        self.optimizer.step()
        self.optimizer.clear_grad()
        self.schedule.step()
        self.step += 1
        return float(loss)

    def _say(self, line):
        if self.rank == 0:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()

    # ---------------------------------------------------------------------------------------------- checkpoints

    def _checkpoint(self):
        """Evaluate and save, in the first process."""
        if self.rank == 0:
            is_best = self.args.evaluate and self._is_best()
            self._save(self.args.save_dir / f"model_{self.step}", to_resume=True)
            if is_best:
                self._save(self.args.save_dir / "model_best")
        if self.processes > 1:
            self.paddle.distributed.barrier()

    def _is_best(self):
        args, labels = self.args, list(self.corpus.names)
        texts, truth = self.dev[0], [labels[index] for index in self.dev[1]]
        hits = recall.search_corpus(self.embedder, self.corpus, texts, args)
        metrics = evaluate.training_metrics(hits, self.dev[1], labels, self.corpus.is_names)
        self._say(f"global step {self.step}, " + ", ".join(f"{name}: {value:.2%}" for name, value in metrics.items()))
        if metrics["accuracy"] <= self.best:
            return False
        self.best = metrics["accuracy"]
        write_lines(args.recall_result_dir, {args.recall_result_file: data.recall_lines(texts, truth, hits)},
                    "--recall_result_dir")  # fmt: skip
        return True

    def _save(self, folder, to_resume=False):
        with self.base.replaced_folder(folder) as stage:
            facts = {"margin": self.args.margin, "scale": self.args.scale, "step": self.step}
            self.embedder.save(stage, **facts)
            if to_resume:
                self.paddle.save(self.optimizer.state_dict(), str(stage / OPTIMIZER_FILE))
                state = {"step": self.step, "best": self.best, "fingerprint": self.fingerprint}
                write_json(stage / STATE_FILE, state)
        if to_resume and self.args.save_total_limit:
            self.kept.append(folder)
            while len(self.kept) > self.args.save_total_limit:
                shutil.rmtree(self.kept.pop(0), ignore_errors=True)


def main(argv=None):
    args = parse_flags(argv)
    corpus, train_data, dev = read_data(args)
    resumed = args.resume_from_checkpoint
    if resumed and not (read_json(resumed / STATE_FILE) and (resumed / OPTIMIZER_FILE).is_file()):
        raise UsageError(f"--resume_from_checkpoint {resumed}: not a model_<step> folder of a training; give one")

    prepare_cpu()
    import paddle

    from train import set_device  # the repository's, not this file

    set_device(types.SimpleNamespace(device=args.device, fp16=False))
    if paddle.distributed.get_world_size() > 1:
        paddle.distributed.init_parallel_env()
    learner = Learner(args, corpus, train_data, dev)
    best = learner.fit()
    if best is not None and learner.rank == 0:
        print(f"best accuracy on {args.similar_text_pair_file}: {best:.2%}, {args.save_dir / 'model_best'}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
