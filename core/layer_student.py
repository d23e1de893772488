"""A student with some of its teacher's layers: train.py --do_compress --strategy distill --student layers:4.

It begins as the teacher without the other layers, and learns the teacher's probabilities and the hidden states of the
layers that it kept (Sanh et al. 2019, arXiv 1910.01108; Sun et al. 2019, arXiv 1908.09355, keep every k-th layer too),
on train's texts and on texts without labels. The folder that it is trained in is a checkpoint and an export in one, as
those of pruned models are, and its training resumes like any other.
"""

import copy
import dataclasses
import os

import paddle
from paddle.nn import functional as F
from paddlenlp.trainer import TrainingArguments
from paddlenlp.utils.log import logger

from core import pipeline
from core.batches import TextDataset
from core.checkpoints import run_fingerprint, starting_weights
from core.compress import HIDDEN_WEIGHT, DynaBERTTrainer, encoder_layers
from core.distill_flags import student_folder, student_layers
from core.encoders import make_encoder
from core.export import export_classifier
from core.loading import uses_token_types
from core.same_answers import dynamic_logits, verify_export
from core.sub_runs import digest
from core.trainer import ClassificationTrainer, train_and_save
from utils import UsageError


def chosen_layers(layers, kept):
    """Which layers of the teacher a student keeps, from 0: every k-th one, the last one among them.

    Args:
        layers, kept (int): how many the teacher has, and how many the student shall have.

    Raises:
        UsageError: the student would not be smaller.
    """
    if kept >= layers:
        most = f"use at most {layers - 1}" if layers > 1 else "it cannot be made smaller so; use --student ngram"
        raise UsageError(f"--student layers:{kept}: the model has {layers} layer{'s' * (layers != 1)}; {most}")
    return [round((place + 1) * layers / kept) - 1 for place in range(kept)]


def shortened_copy(model, chosen):
    """A copy of a classifier with some of its layers alone, without dropout."""
    student = copy.deepcopy(model)
    encoder = student.base_model.encoder
    encoder.layers = paddle.nn.LayerList([encoder.layers[place] for place in chosen])
    encoder.num_layers = len(chosen)
    for config in (student.config, student.base_model.config):
        config.num_hidden_layers = len(chosen)
    for layer in student.sublayers(include_self=True):
        if isinstance(layer, paddle.nn.Dropout):
            layer.p = 0.0
        elif isinstance(layer, paddle.nn.MultiHeadAttention):
            layer.dropout = 0.0
    return student


class LayerTrainer(ClassificationTrainer):
    """Trains a student that keeps some of its teacher's layers.

    Args:
        teacher: the full model, in evaluation mode.
        chosen (list[int]): which of its layers the student's are.
    """

    def __init__(self, *args, teacher, chosen, **kwargs):
        super().__init__(*args, **kwargs)
        self.teacher, self.chosen = teacher, chosen

    def compute_loss(self, model, inputs, return_outputs=False):
        """Cross entropy with the teacher's probabilities and the distance of hidden states; on dev the labels'."""
        if not self.model.training:
            return super().compute_loss(model, inputs, return_outputs)
        inputs = {name: value for name, value in inputs.items() if name != "labels"}
        with paddle.no_grad():
            target, states = DynaBERTTrainer.forward_with_states(self.teacher, inputs)
        logits, own = DynaBERTTrainer.forward_with_states(model, inputs)
        loss = F.cross_entropy(logits, F.softmax(target, axis=-1), soft_label=True)
        for state, place in zip(own, self.chosen):
            loss = loss + HIDDEN_WEIGHT * F.mse_loss(state, states[place])
        return (loss, (loss, logits)) if return_outputs else loss


def distill_layers(trainer, run, facts, know):
    """Train the student, or go on, or find that this was done; then export it.

    Args:
        trainer (ClassificationTrainer): with the trained model and dev.
        run (train.Run): flags and data, texts without labels among them.
        facts (dict): for export.json, such as whose weights were distilled.
        know (Callable): from a model's logits on dev to more facts.

    Returns:
        tuple[Path, list[dict], np.ndarray, dict]: the folder, the rows of core.same_answers.verify_export, the
        student's logits on dev without a temperature, and what export.json says of its probabilities.

    Raises:
        UsageError: the model has too few layers, or none of the kind that can be left out; the folder holds another
            training.
    """
    teacher, student_flag = trainer.model, run.model_flags.student
    kept = student_layers(student_flag)
    chosen = chosen_layers(len(encoder_layers(teacher)), kept)
    teacher.eval()
    args, folder = copy.copy(run.args), student_folder(run.args.output_dir, student_flag)
    args.output_dir, args.do_train = str(folder), True
    args.logging_dir = os.path.join(run.args.logging_dir, folder.name)
    texts = list(dict.fromkeys([*run.data.train[0], *run.unlabelled.texts]))
    name = run.model_flags.model_name_or_path if not run.args.do_train else run.args.output_dir
    own = {"student": student_flag, "max_length": run.max_length, "texts": digest(texts)}
    own.update(starting_weights(name, folder))
    fingerprint = run_fingerprint(args, TrainingArguments, [run.data.labels, run.data.dev], **own)
    finished, checkpoint = pipeline.find_start(args, fingerprint)
    if finished:
        plain = copy.copy(args)
        plain.do_train = False
        alone = dataclasses.replace(run, args=plain, data=dataclasses.replace(run.data, train=None, test=None))
        student = pipeline.prepare(alone, str(folder)).model
    else:
        numbers = ", ".join(str(place + 1) for place in chosen)
        logger.info(f"A student of the layers {numbers} learns the model's answers to {len(texts):,} texts")
        student = learn(trainer, shortened_copy(teacher, chosen), chosen, args, fingerprint, texts, checkpoint, run)
    student.eval()
    logits = dynamic_logits(trainer, student)
    known = know(logits)
    facts = {"kind": "layers", "layers": [place + 1 for place in chosen], **facts, **known}
    options = {"types": run.model_flags.export_type, "dev": trainer.eval_dataset, "facts": facts, "texts": texts}
    export_classifier(student, trainer.tokenizer, run.data.labels, trainer.max_length, folder, **options)
    return folder, verify_export(folder, trainer.eval_dataset, logits), logits, known


def learn(trainer, student, chosen, args, fingerprint, texts, checkpoint, run):
    """Train a student; the model as it is left in its folder."""
    encode = make_encoder(trainer.tokenizer, trainer.max_length, uses_token_types(student), texts)
    same = ("criterion", "tokenizer", "data_collator", "eval_dataset", "compute_metrics")
    same = {name: getattr(trainer, name) for name in (*same, "group_by_length", "max_length")}
    learner = LayerTrainer(
        model=student,
        args=args,
        teacher=trainer.model,
        chosen=chosen,
        train_dataset=TextDataset(texts, [0] * len(texts), encode),
        fingerprint=fingerprint,
        **same,
    )
    train_and_save(learner, checkpoint, run.data_flags.keep_optimizer)
    return learner.model
