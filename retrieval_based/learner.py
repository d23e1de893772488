"""The training of the dual encoder: steps, checkpoints, and the same bits after a break."""

import hashlib
import json
import shutil
import sys
import time

import numpy as np
import paddle
from paddlenlp.trainer.trainer_utils import set_seed
from tqdm import tqdm

from core.batches import LengthGroupedBatchSampler
from core.loading import set_device
from core.processes import average_gradients, count_processes, own_number, wait_for_all
from core.progress import progress_bar
from core.quick_training import adamw, quick_training
from core.trainer import seed_dropout
from retrieval_based.base_model import Embedder
from retrieval_based.checkpoints import DEFAULTS, OPTIMIZER_FILE, STATE_FILE, is_checkpoint
from retrieval_based.data import draw_partners, recall_lines
from retrieval_based.model import batch_loss
from retrieval_based.scores import training_metrics
from retrieval_based.search import search_corpus
from utils import UsageError, read_json, replaced_folder, write_json, write_lines

# Flags that decide the result, beside the settings of the model: a checkpoint continues a training that has the same.
DECIDING = ("margin", "scale", *DEFAULTS, "positives", "batch_size", "learning_rate", "epochs", "warmup_proportion")
DECIDING += ("weight_decay", "seed")


def fingerprint(args, settings, corpus, train_data, processes):
    """What decides the result of this training, as JSON values by name."""
    content = json.dumps([corpus.names, *train_data], ensure_ascii=False)
    values = {name: getattr(args, name) for name in DECIDING}
    values.update(settings, processes=processes, data=hashlib.sha256(content.encode("utf-8")).hexdigest())
    return json.loads(json.dumps(values))


def train(args, corpus, train_data, dev):
    """Train as the flags say, in this process or with those of a launch.

    Args:
        args, corpus, train_data, dev: as for Learner.

    Returns:
        Learner: at its end.

    Raises:
        UsageError: as Learner; no such device.
    """
    set_device(args.device)
    if count_processes() > 1:
        paddle.distributed.init_parallel_env()
    learner = Learner(args, corpus, train_data, dev)
    learner.fit()
    return learner


class Learner:
    """A training: the model, its optimizer, the step that it is at and the best accuracy so far.

    Args:
        args: the flags.
        corpus (Corpus): what is searched, and the labels' names.
        train_data, dev (tuple): texts and class ids; dev may be None.

    Attributes:
        best (float): the best accuracy on dev so far; below 0 without --evaluate.
        rank (int): of this process; the first alone evaluates, saves and speaks.
        step (int): steps done.

    Raises:
        UsageError: no such model; a checkpoint to resume that is not of this training.
    """

    def __init__(self, args, corpus, train_data, dev):
        self.args, self.corpus, self.dev = args, corpus, dev
        self.processes, self.rank = count_processes(), own_number()
        # Optimizer files name parameters by their number in the process: begin at 0 whatever was built before.
        paddle.utils.unique_name.switch()
        set_seed(args.seed)  # before the projection is drawn
        name = args.resume_from_checkpoint or args.model_name_or_path
        self.embedder = Embedder(str(name), **{key: getattr(args, key) for key in DEFAULTS})
        self.model = self.embedder.model
        texts, label_ids = train_data
        self.features, self.label_ids = self.embedder.encode(texts), np.array(label_ids)
        self.embedder.watch.warned = self.rank > 0
        self.embedder.watch.look(str(args.train_set_file), texts, self.features)
        self.name_features = self.embedder.encode(list(corpus.names.values()))
        lengths = [len(feature["input_ids"]) for feature in self.features]
        self.sampler = LengthGroupedBatchSampler(lengths, args.batch_size, args.seed, self.processes, self.rank)
        self.total_steps = args.epochs * len(self.sampler)
        self.step, self.best, self.kept = 0, -1.0, []
        self.optimizer, self.schedule = adamw(
            self.model.parameters(), args.learning_rate, self.total_steps, args.warmup_proportion, args.weight_decay
        )
        self.fingerprint = fingerprint(args, self.embedder.settings, corpus, train_data, self.processes)
        if args.resume_from_checkpoint:
            self._resume(args.resume_from_checkpoint)

    def _resume(self, folder):
        state = read_json(folder / STATE_FILE)
        other = state["fingerprint"]
        changed = [name for name, value in self.fingerprint.items() if other.get(name) != value]
        if changed:
            raise UsageError(
                f"--resume_from_checkpoint {folder}: of a training with another {', '.join(changed)}; give the same, "
                "or start a new one from it with --model_name_or_path"
            )
        self.optimizer.set_state_dict(paddle.load(str(folder / OPTIMIZER_FILE)))
        self.step = state["step"]
        if (self.args.save_dir / "model_best").is_dir():  # else the best of the rest is the best
            self.best = state["best"]

    # ---------------------------------------------------------------------------------------------------- steps

    def fit(self):
        """Train to the end."""
        args, length = self.args, len(self.sampler)
        self.model.train()
        loss, since, start = 0.0, 0, time.perf_counter()
        options = {"desc": "training", "unit": "step", "disable": self.rank > 0}
        with progress_bar(total=self.total_steps, initial=self.step, **options) as bar, quick_training(self.model):
            for epoch in range(self.step // length, args.epochs):
                self.sampler.set_epoch(epoch)
                partners = draw_partners(self.label_ids, args.seed, epoch)
                for rows in list(self.sampler)[self.step - epoch * length :]:
                    loss, since = loss + self._one_step(np.array(rows), partners), since + 1
                    bar.update()
                    if self.step % args.log_steps == 0:
                        speed = since / (time.perf_counter() - start)
                        self._say(
                            f"global step {self.step}, epoch: {epoch + 1}, loss: {loss / since:.5f}, "
                            f"speed: {speed:.2f} step/s"
                        )
                        loss, since, start = 0.0, 0, time.perf_counter()
                    if self.step % (args.save_steps or length) == 0 or self.step == self.total_steps:
                        pause = time.perf_counter()
                        self._checkpoint()
                        start += time.perf_counter() - pause

    def _one_step(self, rows, partners):
        args = self.args
        seed_dropout(args.seed, self.step, self.rank)
        label_ids = self.label_ids[rows]
        queries = self._vectors(self.features, rows)
        texts = names = None
        if args.positives != "label":
            texts = self._vectors(self.features, partners[rows])
        if args.positives != "text":
            # Each name is encoded once; its vector stands at all texts of the label.
            labels, where = np.unique(label_ids, return_inverse=True)
            names = self._vectors(self.name_features, labels)
            names = paddle.index_select(names, paddle.to_tensor(where.astype("int64")))
        loss = batch_loss(queries, texts, names, label_ids, args.margin, args.scale)
        loss.backward()
        average_gradients(self.model.parameters())
        self.optimizer.step()
        self.optimizer.clear_grad()
        self.schedule.step()
        self.step += 1
        return float(loss)

    def _vectors(self, features, rows):
        """With gradients and dropout: [rows, dim]."""
        return self.model(**self.embedder.batch([features[row] for row in rows]))

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
        wait_for_all()

    def _is_best(self):
        args, labels = self.args, list(self.corpus.names)
        texts, truth = self.dev[0], [labels[index] for index in self.dev[1]]
        hits = search_corpus(self.embedder, self.corpus, texts, args)
        metrics = training_metrics(hits, self.dev[1], labels, self.corpus.is_names)
        self._say(f"global step {self.step}, " + ", ".join(f"{name}: {value:.2%}" for name, value in metrics.items()))
        if metrics["accuracy"] <= self.best:
            return False
        self.best = metrics["accuracy"]
        content = {args.recall_result_file: recall_lines(texts, truth, hits)}
        write_lines(args.recall_result_dir, content, "--recall_result_dir")
        return True

    def _save(self, folder, to_resume=False):
        with replaced_folder(folder, is_checkpoint, "--save_dir") as stage:
            facts = {"margin": self.args.margin, "scale": self.args.scale, "step": self.step}
            self.embedder.save(stage, **facts)
            if to_resume:
                paddle.save(self.optimizer.state_dict(), str(stage / OPTIMIZER_FILE))
                state = {"step": self.step, "best": self.best, "fingerprint": self.fingerprint}
                write_json(stage / STATE_FILE, state)
        if to_resume and self.args.save_total_limit:
            self.kept.append(folder)
            while len(self.kept) > self.args.save_total_limit:
                shutil.rmtree(self.kept.pop(0), ignore_errors=True)
