"""PaddleNLP's Trainer for classifiers: metrics, checkpoints that can be continued bit for bit, their rotation.

Where PaddleNLP 2.8.1 or Paddle 2.6.2 is wrong, the smallest piece is overridden here, and the comment says which
fault it mends.
"""

import contextlib
import math
import os
import shutil
from pathlib import Path

import numpy as np
import paddle
from paddlenlp.trainer import EarlyStoppingCallback, Trainer, TrainerCallback, trainer_callback
from paddlenlp.utils.log import logger

from core.batches import LengthGroupedBatchSampler, LengthSortedBatchSampler
from core.checkpoints import (
    OPTIMIZER_FILE,
    RUN_FILE,
    check_finished_training,
    check_unknown_model,
    checkpoint_step,
    differences,
    find_checkpoints,
    is_same_training,
    read_run_file,
    remove_old_safetensors,
    remove_optimizer_states,
    what_is_incomplete,
)
from core.checks import check_batch
from core.divergence import StopWhenDiverged
from core.endings import DISK_ERRORS
from core.locks import locked_folder
from core.ngram_layer import logits_given
from core.processes import wait_for_all
from core.progress import progress_bar
from core.quick_training import quick_optimizer, quick_training
from core.recipe_flags import epsilon
from core.recipes import WeightAverages, adjust_logits, adversarial_step, word_embeddings
from core.windows import choose_pooling, few_at_once
from utils import UsageError, read_json, staged_files, write_json

trainer_callback.tqdm = progress_bar  # the library's bars fill a log file with thousands of lines


def compute_metrics(prediction):
    """Accuracy and macro-averaged precision, recall and F1, as fractions of 1.

    Args:
        prediction (EvalPrediction): logits [samples, classes] and label ids [samples] or [samples, 1].
    """
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    logits, label_ids = prediction.predictions, np.asarray(prediction.label_ids).reshape(-1)
    predicted = logits.argmax(axis=-1)
    classes = np.arange(logits.shape[-1])
    precision, recall, f1, _ = precision_recall_fscore_support(
        label_ids, predicted, labels=classes, average="macro", zero_division=0
    )
    return {
        "accuracy": float(accuracy_score(label_ids, predicted)),
        "macro_precision": float(precision),
        "macro_recall": float(recall),
        "macro_f1": float(f1),
    }


def seed_dropout(seed, step, process):
    """Make the dropout of a step a function of (seed, step, process).

    Paddle pickles only the seed of a CPU generator, not its state, so a resumed run could not go on where it was.
    """
    paddle.seed(int(np.random.SeedSequence([seed, step, process]).generate_state(1)[0]))


class RunCallback(TrainerCallback):
    """Make a resumed run equal to one without a break, which the library forgets."""

    def __init__(self, trainer):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        if self.trainer.averages is not None:
            self.trainer.averages.begin(self.trainer.model, self.trainer.resumed_from)
        # The best checkpoint is stored with the path of the output_dir as it was called then.
        if state.best_model_checkpoint is not None:
            moved = os.path.join(args.output_dir, Path(state.best_model_checkpoint).name)
            if not os.path.exists(state.best_model_checkpoint) and os.path.exists(moved):
                state.best_model_checkpoint = moved

    def on_epoch_begin(self, args, state, control, **kwargs):
        checkpoint, self.trainer.resumed_from = self.trainer.resumed_from, None
        if checkpoint is not None:
            # The sum of losses starts at 0 again, but is divided by all steps in the end.
            self.trainer._total_loss_scalar = read_run_file(checkpoint).get("total_loss", 0.0)

    def on_step_begin(self, args, state, control, **kwargs):
        seed_dropout(args.seed, state.global_step, max(0, args.dataset_rank))


class ResumableEarlyStopping(EarlyStoppingCallback):
    """EarlyStoppingCallback whose count of evaluations without progress survives a resume."""

    def on_train_begin(self, args, state, control, **kwargs):
        super().on_train_begin(args, state, control, **kwargs)
        metric = args.metric_for_best_model
        metric = metric if metric.startswith("eval_") else f"eval_{metric}"
        values = [entry[metric] for entry in state.log_history if metric in entry]
        if values:
            best = int(np.argmax(values) if args.greater_is_better else np.argmin(values))
            self.early_stopping_patience_counter = len(values) - 1 - best


class ClassificationTrainer(Trainer):
    """PaddleNLP's Trainer with length-grouped batches, checkpoints that are known to be whole, and rotation.

    Args:
        group_by_length (bool): see LengthGroupedBatchSampler.
        max_length (int): tokens kept of a text; stored with what is exported.
        fingerprint (dict | None): what makes a run this run; stored in its checkpoints.
        recipe (core.recipes.Recipe | None): what a training does beside plain cross entropy.
        tower_logits (np.ndarray | None): what the n-grams add in training to each text's (core/ngram_layer.py).
        chooses_pooling (bool): whether dev decides in the end how windows are pooled (core/windows.py).
        **kwargs: the Trainer's own.

    Attributes:
        learns_both_towers (bool): whether the loss is of the encoder's and the n-grams' logits together. Against
            labels it is of the encoder's alone: see core.ngrams.TOWER_SHARE.
    """

    learns_both_towers = False

    def __init__(
        self,
        *args,
        group_by_length=True,
        max_length=128,
        fingerprint=None,
        recipe=None,
        tower_logits=None,
        chooses_pooling=False,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.tower_logits, self.chooses_pooling = tower_logits, chooses_pooling
        self.recipe, self.averages = recipe, None
        self.max_length = max_length
        self.group_by_length = group_by_length
        self.fingerprint = fingerprint
        self.data_sizes = None
        self.resumed_from = None
        self.add_callback(RunCallback(self))
        self.add_callback(StopWhenDiverged(self))
        if recipe is not None and recipe.flags.ema_decay:
            self.averages = WeightAverages(recipe.flags.ema_decay)
            self.add_callback(self.averages)

    def data_facts(self):
        """What run.json says of the data beside the fingerprint's digest of it: sizes, where these are known."""
        return {"data": self.data_sizes} if self.data_sizes else {}

    def _get_train_sampler(self):
        check_batch(len(self.train_dataset), self.args, "the training data")
        self.train_dataset.order = LengthGroupedBatchSampler(
            self.train_dataset.lengths,
            self.args.per_device_train_batch_size,
            seed=self.args.seed,
            num_replicas=max(1, self.args.dataset_world_size),
            rank=max(0, self.args.dataset_rank),
            drop_last=self.args.dataloader_drop_last,
            group=self.group_by_length,
        )
        return self.train_dataset.order

    def _get_eval_sampler(self, eval_dataset):
        return LengthSortedBatchSampler(
            eval_dataset.lengths,
            self.args.per_device_eval_batch_size,
            num_replicas=max(1, self.args.dataset_world_size),
            rank=max(0, self.args.dataset_rank),
        )

    def get_test_dataloader(self, test_dataset):
        # The library's own ends with an AssertionError under --dataloader_drop_last True.
        return self.get_eval_dataloader(test_dataset)

    def evaluation_loop(self, dataloader, *args, **kwargs):
        """Run the library's loop over the sorted batches and put logits and labels back into file order."""
        given = self.args.eval_accumulation_steps
        # The library joins each batch's logits to all earlier ones, which copies those: of 7,000 classes that takes
        # most of the time. Joined in blocks they are copied far less often, and do not wait in a GPU's memory.
        self.args.eval_accumulation_steps = given or max(1, math.isqrt(len(dataloader)))
        try:
            with few_at_once(self.model):
                output = super().evaluation_loop(dataloader, *args, **kwargs)
        finally:
            self.args.eval_accumulation_steps = given
        for callback in self.callback_handler.callbacks:
            # predict leaves its progress bar open, and the next log line behind it.
            if getattr(callback, "prediction_bar", None) is not None:
                callback.prediction_bar.close()
                callback.prediction_bar = None
        order = dataloader.batch_sampler.order

        def restore(values):
            if values is None or len(values) != len(order):
                return values
            restored = np.empty_like(values)
            restored[order] = values
            return restored

        return output._replace(predictions=restore(output.predictions), label_ids=restore(output.label_ids))

    def train(self, resume_from_checkpoint=None, **kwargs):
        self.resumed_from = resume_from_checkpoint
        changes = contextlib.nullcontext()
        if self.recipe is not None:
            changes = self.recipe.applied(self.model, self.args.learning_rate)
        quick = quick_training(self.model, not (self.args.recompute or self.args.to_static))
        with changes, quick, logits_given(self.train_dataset, self.tower_logits):
            return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def create_optimizer(self, lr_scheduler=None):
        return quick_optimizer(super().create_optimizer(lr_scheduler))

    def compute_loss(self, model, inputs, return_outputs=False):
        """The recipe's loss in training; an evaluation's is always plain cross entropy."""
        if self.recipe is None or not self.model.training:
            return super().compute_loss(model, inputs, return_outputs)
        inputs = dict(inputs)
        loss, logits = self.recipe.loss(model, inputs, inputs.pop("labels"))
        return (loss, (loss, logits)) if return_outputs else loss

    def training_step(self, model, inputs):
        step = super().training_step
        if self.recipe is None or self.recipe.flags.adversarial == "none":
            return step(model, inputs)
        weight, norm = word_embeddings(self.model), epsilon(self.recipe.flags)
        return adversarial_step(lambda: step(model, dict(inputs)), weight, norm)

    def save_metrics(self, split, metrics, combined=True):
        """Write <split>_results.json and add to all_results.json; the library empties both first, then writes."""
        if self.is_world_process_zero():
            folder = Path(self.args.output_dir)
            contents = {f"{split}_results.json": metrics}
            if combined:
                contents["all_results.json"] = {**read_json(folder / "all_results.json"), **metrics}
            with staged_files(folder) as stage:
                for name, content in contents.items():
                    write_json(stage / name, dict(sorted(content.items())))

    def _save_checkpoint(self, model, metrics=None):
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save and (folder / RUN_FILE).exists():
            # Another training's of the same step: none of its files may be taken for this one's.
            for name in [*read_run_file(folder).get("files", {}), RUN_FILE]:
                (folder / name).unlink(missing_ok=True)
        super()._save_checkpoint(model, metrics=metrics)
        if self.args.should_save:
            if self.averages is not None and not self.args.ignore_save_lr_and_optim:
                self.averages.save(self.model, folder)
            files = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
            run = {"fingerprint": self.fingerprint, "total_loss": self._total_loss_scalar, "files": files}
            write_run_file(folder, run)
            self._delete_old_checkpoints()

    def _rotate_checkpoints(self, use_mtime=False, output_dir=None):
        """Left to _delete_old_checkpoints: the library does nothing in one process (it asks for local_rank 0,
        which is -1 there), and in several it deletes every checkpoint-* it finds, other runs' too."""

    def _delete_old_checkpoints(self):
        """Keep the last save_total_limit checkpoints of this run, and the best one."""
        limit = self.args.save_total_limit
        if not limit or limit < 1:
            return
        own = [
            path
            for path in find_checkpoints(self.args.output_dir)
            if is_same_training(read_run_file(path).get("fingerprint"), self.fingerprint)
            and checkpoint_step(path) <= self.state.global_step  # later ones are left from before a new start
        ]
        best = Path(self.state.best_model_checkpoint).name if self.state.best_model_checkpoint else None
        keep = {own[0].name, best}
        for path in own:
            if len(keep - {None}) < limit:
                keep.add(path.name)
        for path in own:
            if path.name not in keep:
                logger.info(f"Deleting older checkpoint [{path}] due to args.save_total_limit")
                shutil.rmtree(path, ignore_errors=True)


def choose_checkpoint(args, fingerprint):
    """Find the checkpoint to continue from, or None to start from the beginning.

    Raises:
        UsageError: --resume_from_checkpoint names something that cannot be resumed, or output_dir holds another
            model or an unfinished training with other settings.
    """
    asked = args.resume_from_checkpoint
    if asked is not None and asked.lower() not in ("true", "false"):
        if not Path(asked).is_dir():
            raise UsageError(f"--resume_from_checkpoint {asked}: no such directory; give a checkpoint-<step> folder")
        lacks = what_is_incomplete(asked) or lacks_optimizer(asked, args)
        if read_run_file(asked).get("removed"):
            # A prompted model has no config.json of its own and is nobody's --model_name_or_path.
            trains_on = (Path(asked) / "config.json").is_file()
            use = f"to train on from its weights, give --model_name_or_path {asked} and another --output_dir"
            use = use if trains_on else "without --do_train it is evaluated, predicted with and exported as before"
            raise UsageError(f"--resume_from_checkpoint {asked}: {lacks} (--keep_optimizer True keeps it); {use}")
        if lacks:
            raise UsageError(f"--resume_from_checkpoint {asked}: not complete ({lacks}); give another one")
        check_finished_training(args, fingerprint)
        return asked
    check_finished_training(args, fingerprint)
    if args.overwrite_output_dir or (asked or "").lower() == "false":
        check_unknown_model(args, fingerprint)
        return None
    started, others = read_run_file(args.output_dir).get("unfinished"), []
    for path in find_checkpoints(args.output_dir):
        run = read_run_file(path)
        lacks = what_is_incomplete(path) or lacks_optimizer(path, args)
        if lacks and not run.get("removed"):
            logger.warning(f"{path} is skipped: not complete ({lacks})")
        elif not lacks and is_same_training(run.get("fingerprint"), fingerprint):
            logger.info(f"Continuing the interrupted training from {path}; --overwrite_output_dir starts over.")
            return str(path)
        elif not lacks and (started is None or is_same_training(started, run.get("fingerprint"))):
            others.append(path)
    if others:  # of an unfinished training: a finished one's are passed by
        path = max(others, key=lambda path: (path / RUN_FILE).stat().st_mtime)
        changed = differences(read_run_file(path).get("fingerprint") or {}, fingerprint)
        raise UsageError(
            f"{args.output_dir}: holds an unfinished training with another {changed}; add --overwrite_output_dir "
            f"to start over, --resume_from_checkpoint {path} to continue it, or choose another --output_dir"
        )
    if asked is not None:
        raise UsageError(
            f"--resume_from_checkpoint {asked}: {args.output_dir} has no complete checkpoint of this training"
        )
    check_unknown_model(args, fingerprint)
    return None


def lacks_optimizer(checkpoint, args):
    """Say that a complete checkpoint was saved without its optimizer state and so cannot be continued, or None."""
    if args.ignore_load_lr_and_optim or any(map(OPTIMIZER_FILE.fullmatch, read_run_file(checkpoint)["files"])):
        return None
    return "it was saved with --ignore_save_lr_and_optim True"


def train_and_save(trainer, checkpoint, keep_optimizer=True):
    """Train, then write the model (the best one, with --load_best_model_at_end), metrics and state to output_dir.

    Args:
        trainer (ClassificationTrainer): with the run's fingerprint.
        checkpoint (str | None): from choose_checkpoint.
        keep_optimizer (bool): whether the checkpoints keep their optimizer states when the training is finished.

    Raises:
        UsageError: another process trains there, or the disk is full.
        KeyboardInterrupt: with a message that says how to continue.
    """
    args = trainer.args
    wait_for_all()  # all ranks have looked at run.json by now
    lock = locked_folder(args.output_dir) if args.should_save else contextlib.nullcontext()
    with lock, saying_how_to_continue(trainer):
        if args.should_save:
            write_run_file(args.output_dir, {"unfinished": trainer.fingerprint})
        result = trainer.train(resume_from_checkpoint=checkpoint)
        if trainer.chooses_pooling:
            result.metrics.update(choose_pooling(trainer))
        if trainer.recipe is not None and trainer.recipe.flags.logit_adjustment:
            result.metrics.update(adjust_logits(trainer))
        if args.should_save:
            with staged_files(args.output_dir) as stage:
                trainer.save_model(str(stage))
            if removed := remove_old_safetensors(args.output_dir):
                logger.info(
                    f"{removed} was of the model before this one and is removed; --save_safetensors True writes it"
                )
        trainer.log_metrics("train", result.metrics)
        trainer.save_metrics("train", result.metrics)
        trainer.save_state()
        if args.should_save:
            write_run_file(args.output_dir, {"fingerprint": trainer.fingerprint, **trainer.data_facts()})
            if not keep_optimizer:
                names, size = remove_optimizer_states(args.output_dir, trainer.fingerprint)
                if names:
                    logger.info(
                        f"The training is finished: the optimizer states of {', '.join(names)} were removed "
                        f"({size / 1e6:.0f} MB), all else stays; --keep_optimizer True keeps them."
                    )
        wait_for_all()  # others may load what the first process wrote


def write_run_file(folder, content):
    """Write run.json by a rename."""
    with staged_files(folder) as stage:
        write_json(stage / RUN_FILE, content)


@contextlib.contextmanager
def saying_how_to_continue(trainer):
    """Let Ctrl-C and a full disk end a training with the way to continue it."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; {how_to_continue(trainer)}") from None
    except Exception as error:
        is_full = isinstance(error, OSError) and error.errno in DISK_ERRORS
        # What is not written from Python says it in words only.
        if not is_full and "No space left on device" not in str(error):
            raise
        why = error.strerror if is_full else "No space left on device"
        raise UsageError(
            f"{trainer.args.output_dir}: cannot write there ({why}); free some room, then {how_to_continue(trainer)}"
        ) from None


def how_to_continue(trainer):
    """Say what the same command does after an interruption."""
    args = trainer.args
    for path in find_checkpoints(args.output_dir):
        run = read_run_file(path)
        if not what_is_incomplete(path) and is_same_training(run.get("fingerprint"), trainer.fingerprint):
            without = " without --overwrite_output_dir" if args.overwrite_output_dir else ""
            return f"the same command{without} continues from {path}"
    return "the same command starts over: there is no checkpoint yet (--save_strategy and --save_steps say when)"
