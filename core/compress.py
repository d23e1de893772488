"""Make a trained classifier smaller: DynaBERT width pruning (arXiv 2004.04037) for train.py --do_compress.

One set of weights serves all widths: a layer at width 1/2 uses the first half of its attention heads and of its
feed-forward neurons. Heads and neurons are sorted by importance first, then the widths learn from the full model.
PaddleSlim's implementation of the same method is --pruner paddleslim (core/paddleslim_pruner.py).
"""

import copy
import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import paddle
from paddle.nn import functional as F
from paddlenlp.trainer.trainer_utils import IntervalStrategy
from paddlenlp.utils.log import logger

from core import paddleslim_pruner
from core.arguments import check_widths
from core.checkpoints import remove_old_safetensors
from core.export import export_classifier, graph_bytes
from core.loading import MODEL_FILE
from core.progress import progress_bar
from core.same_answers import dynamic_logits, verify_export
from core.trainer import ClassificationTrainer
from utils import UsageError, format_table, staged_files

# Weight of each layer's hidden states in the loss. 0.1 (paddleslim's) gave 0.6 points less at width 1/2 on KUAKE-QIC.
HIDDEN_WEIGHT = 1.0
# Batches of training data whose gradients rank heads and neurons.
IMPORTANCE_BATCHES = 60


class SlicedLinear(paddle.nn.Linear):
    """A Linear that uses its first `rows` inputs and first `columns` outputs only.

    An existing Linear becomes one by a change of its class: parameters and their names stay.
    """

    def forward(self, input):
        weight, bias = self.weight, self.bias
        if [self.rows, self.columns] != weight.shape:
            weight = weight[: self.rows, : self.columns]
            bias = None if bias is None else bias[: self.columns]
        return F.linear(input, weight, bias)


def encoder_layers(model):
    """The model's transformer layers.

    Raises:
        UsageError: it has none of the kind that can be pruned.
    """
    layers = getattr(getattr(model.base_model, "encoder", None), "layers", None)
    if not layers or not all(isinstance(layer, paddle.nn.TransformerEncoderLayer) for layer in layers):
        raise UsageError(f"{type(model).__name__} has no encoder that DynaBERT can prune; use an ERNIE or BERT model")
    return list(layers)


def linears(layer):
    """(Linear, whether its outputs shrink, whether it belongs to the attention) of one layer."""
    attention = layer.self_attn
    for linear in (attention.q_proj, attention.k_proj, attention.v_proj):
        yield linear, True, True
    yield attention.out_proj, False, True
    yield layer.linear1, True, False
    yield layer.linear2, False, False


def make_supernet(model):
    """Let set_width change how much of each layer is used."""
    for layer in encoder_layers(model):
        layer.all_heads = layer.self_attn.num_heads
        for linear, *_ in linears(layer):
            linear.__class__ = SlicedLinear
    set_width(model, Fraction(1))


def set_width(model, width):
    """Use the first `width` (Fraction) of the heads and neurons of each layer of a supernet."""
    for layer in encoder_layers(model):
        layer.self_attn.num_heads = int(layer.all_heads * width)
        for linear, shrinks_outputs, is_attention in linears(layer):
            linear.rows, linear.columns = linear.weight.shape
            if shrinks_outputs:
                linear.columns = kept_units(layer, linear.columns, is_attention, width)
            else:
                linear.rows = kept_units(layer, linear.rows, is_attention, width)


def kept_units(layer, units, is_attention, width):
    """How many of the units of an attention or feed-forward layer are left at this width."""
    return layer.self_attn.num_heads * layer.self_attn.head_dim if is_attention else int(units * width)


def sort_by_importance(model, batches, loss_function):
    """Reorder heads and neurons, the most important first; the model's answers stay the same.

    The importance of a head or neuron is |d loss / d mask| where the mask multiplies its output (Michel et al., arXiv
    1905.10650; DynaBERT eq. 2), summed over batches. With W the rows of the next Linear that read the unit, this is
    |sum(W * dW)|, so no mask has to be built in.

    Args:
        model: a supernet at full width.
        batches (Iterable[dict]): tensors with labels.
        loss_function: of logits and labels.
    """
    layers = encoder_layers(model)
    heads = [np.zeros(layer.all_heads) for layer in layers]
    neurons = [np.zeros(layer.linear2.weight.shape[0]) for layer in layers]
    model.eval()
    for batch in batches:
        labels = batch.pop("labels")
        loss_function(model(**batch), labels).backward()
        for index, layer in enumerate(layers):
            read = [linear.weight * linear.weight.grad for linear in (layer.self_attn.out_proj, layer.linear2)]
            per_unit = [value.sum(axis=1).numpy() for value in read]
            heads[index] += np.abs(per_unit[0].reshape(layer.all_heads, -1).sum(axis=1))
            neurons[index] += np.abs(per_unit[1])
        for parameter in model.parameters():
            parameter.clear_gradient(False)
    for index, layer in enumerate(layers):
        by_head = np.arange(layer.self_attn.out_proj.weight.shape[0]).reshape(layer.all_heads, -1)
        order = {
            True: by_head[np.argsort(-heads[index], kind="stable")].reshape(-1),
            False: np.argsort(-neurons[index], kind="stable"),
        }
        for linear, sorts_outputs, is_attention in linears(layer):
            chosen = paddle.to_tensor(order[is_attention])
            linear.weight.set_value(paddle.index_select(linear.weight, chosen, axis=1 if sorts_outputs else 0))
            if sorts_outputs and linear.bias is not None:
                linear.bias.set_value(paddle.index_select(linear.bias, chosen))


def full_size_state(model):
    """The weights of a supernet at its present width, as a plain model's: what is left out is 0.

    A unit whose outgoing weights are 0 adds nothing, so a plain model with these weights gives the pruned one's
    answers: it can be loaded, evaluated and trained on. It is not smaller; the exported graph is.
    """
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    names = {id(layer): name for name, layer in model.named_sublayers()}
    for layer in encoder_layers(model):
        for linear, *_ in linears(layer):
            name = names[id(linear)]
            state[f"{name}.weight"] = np.copy(state[f"{name}.weight"])
            state[f"{name}.weight"][linear.rows :] = 0
            state[f"{name}.weight"][:, linear.columns :] = 0
            if linear.bias is not None:
                state[f"{name}.bias"] = np.copy(state[f"{name}.bias"])
                state[f"{name}.bias"][linear.columns :] = 0
    return state


def narrow_copy(model):
    """A copy of a supernet at its present width whose layers really have that size, for export."""
    model = copy.deepcopy(model)
    for layer in encoder_layers(model):
        for linear, *_ in linears(layer):
            weight, bias = linear.weight[: linear.rows, : linear.columns], linear.bias[: linear.columns]
            for name, value in (("weight", weight), ("bias", bias)):
                assign = paddle.nn.initializer.Assign(value)
                setattr(linear, name, linear.create_parameter(value.shape, default_initializer=assign))
            linear.__class__ = paddle.nn.Linear  # no slicing is left in the graph
    return model


class DynaBERTTrainer(ClassificationTrainer):
    """Trains all widths of a supernet at once, each to give the full model's logits and hidden states.

    Args:
        teacher: the full model, in evaluation mode.
        widths (list[Fraction]): from the widest to the narrowest.
        on_better (Callable): called with a width when it was never better on dev.
    """

    def __init__(self, *args, teacher, widths, on_better, **kwargs):
        super().__init__(*args, **kwargs)
        self.teacher, self.widths, self.on_better = teacher, widths, on_better
        self.best = {}

    @staticmethod
    def forward_with_states(model, inputs):
        """Logits, and the output of each encoder layer."""
        states = []
        hooks = [
            layer.register_forward_post_hook(lambda layer, inputs, output: states.append(output))
            for layer in encoder_layers(model)
        ]
        logits = model(**inputs)
        for hook in hooks:
            hook.remove()
        return logits, states

    def training_step(self, model, inputs):
        inputs = self._prepare_inputs(inputs)
        inputs.pop("labels", None)
        with paddle.no_grad(), self.autocast_smart_context_manager():
            self.target = self.forward_with_states(self.teacher, inputs)
        total = 0
        for width in self.widths:
            set_width(self.model, width)
            total = total + super().training_step(model, dict(inputs))
        return total / len(self.widths)

    def compute_loss(self, model, inputs, return_outputs=False):
        if "labels" in inputs:
            return super().compute_loss(model, inputs, return_outputs)
        logits, states = self.forward_with_states(model, inputs)
        teacher_logits, teacher_states = self.target
        loss = F.cross_entropy(logits, F.softmax(teacher_logits, axis=-1), soft_label=True)
        for state, teacher_state in zip(states, teacher_states):
            loss = loss + HIDDEN_WEIGHT * F.mse_loss(state, teacher_state)
        return loss

    def evaluate(self, *args, **kwargs):
        name = (self.args.metric_for_best_model or "accuracy").replace("eval_", "", 1)
        sign = -1 if name == "loss" else 1
        for width in self.widths:
            set_width(self.model, width)
            logger.info(f"width_mult {folder_width(width)}:")
            metrics = super().evaluate(*args, **kwargs)
            logger.info(f"acc: {metrics['eval_accuracy']}, ")
            best = self.best.get(width)
            if best is None or sign * metrics[f"eval_{name}"] > sign * best[f"eval_{name}"]:
                self.best[width] = dict(metrics)
                self.on_better(width)
        return metrics


def folder_width(width):
    """How a width is written in a folder's name: 2/3 is 0.67."""
    return str(round(float(width), 2))


# ------------------------------------------------------------------------------------------- what --do_compress does


def compress(trainer, labels, types, facts=None, pruner="builtin", know=lambda logits: {}):
    """Prune and quantise the trainer's model as args.strategy says; write a folder for each result, log a table.

    Args:
        trainer (ClassificationTrainer): with the trained model and both data sets.
        labels (list[str]): label names in class order.
        types (list[str]): formats of EXPORT_TYPES; the ptq strategies add onnx_int8.
        facts (dict | None): for each export.json, such as whose weights were compressed.
        pruner (str): of PRUNERS.
        know (Callable): from a model's logits on dev to more facts: each export has a temperature of its own.

    Returns:
        list[tuple]: of each export its folder, the logits on dev of its model, and verify_export's rows.
    """
    args = trainer.args
    if pruner == "paddleslim":
        paddleslim_pruner.require_paddleslim()
    if "ptq" in args.strategy and "onnx_int8" not in types:
        types = [*types, "onnx_int8"]
    logger.info("Teacher's evaluation starts.")
    teacher_metrics = trainer.evaluate()
    results = {"teacher_accuracy": teacher_metrics["eval_accuracy"]}
    size = paddleslim_pruner.size_of(trainer.model, trainer.max_length)
    rows = [describe("teacher", size, trainer.max_length, None, "dynamic", teacher_metrics["eval_accuracy"])]
    if "dynabert" in args.strategy:
        exports = prune(trainer, labels, types, facts, pruner, know)
    else:
        logits = dynamic_logits(trainer, trainer.model)
        exports = [("1", trainer.model, Path(args.output_dir), logits)]
        options = {"types": types, "dev": trainer.eval_dataset, "facts": {**(facts or {}), **know(logits)}}
        export_classifier(trainer.model, trainer.tokenizer, labels, trainer.max_length, args.output_dir, **options)
    finished = []
    for width, model, folder, logits in exports:
        size = paddleslim_pruner.size_of(model, trainer.max_length)
        compared = verify_export(folder, trainer.eval_dataset, logits)
        finished.append((folder, logits, compared))
        for row in compared:
            if row["format"] != "dynamic":
                path, tokens = folder / row["file"], trainer.max_length
                rows.append(describe(width, size, tokens, path, row["format"], row["accuracy"]))
                suffix = "" if row["format"] == "paddle" else f"_{row['format']}"
                results[f"{folder.name if width != '1' else 'model'}{suffix}_accuracy"] = row["accuracy"]
    for line in format_table(rows):
        logger.info(line)
    trainer.save_metrics("compress", results)
    return finished


def describe(width, size, tokens, path, format, accuracy):
    """One row of the table that compress logs; `size` is size_of's."""
    parameters, flops = size
    work = {} if flops is None else {f"FLOPs, {tokens} tokens": f"{flops / 1e6:.1f} M"}
    return {
        "width_mult": width,
        "format": format,
        "parameters": f"{parameters / 1e6:.2f} M",
        **work,
        "MB": "-" if path is None else f"{graph_bytes(path) / 1e6:.1f}",
        "dev accuracy": f"{accuracy:.2%}",
    }


def prune(trainer, labels, types, facts=None, pruner="builtin", know=lambda logits: {}):
    """Train the widths of args.width_mult_list and export each into output_dir/width_mult_<width>.

    Returns:
        list[tuple[str, PretrainedModel, Path, np.ndarray]]: width, narrow model, folder and logits on dev, from the
        widest to the narrowest.
    """
    args = copy.copy(trainer.args)
    heads = encoder_layers(trainer.model)[0].self_attn.num_heads
    widths = check_widths(args.width_mult_list or ["3/4"], heads)
    widths = sorted({Fraction(width) for width in widths}, reverse=True)
    teacher = trainer.model
    teacher.eval()
    options = {"labels": labels, "types": types, "facts": {"pruner": pruner, **(facts or {})}, "know": know}
    if pruner == "paddleslim":
        narrow = paddleslim_pruner.narrow_models(trainer, widths)
        states = (paddleslim_pruner.full_size_state(model, teacher) for model in narrow)
        for width, state in zip(widths, states):
            save_plain(args.output_dir, width, state, teacher)
        return [export_width(trainer, width, model, **options) for width, model in zip(widths, narrow)]
    student = copy.deepcopy(teacher)
    make_supernet(student)
    loader = trainer.get_train_dataloader()
    batches = (map_values(paddle.to_tensor, batch) for batch in itertools.islice(loader, IMPORTANCE_BATCHES))
    batches = progress_bar(batches, total=min(len(loader), IMPORTANCE_BATCHES), desc="Ranking heads and neurons")
    sort_by_importance(student, batches, trainer.criterion)
    for layer in student.sublayers(include_self=True):
        if isinstance(layer, paddle.nn.Dropout):
            layer.p = 0.0
        elif isinstance(layer, paddle.nn.MultiHeadAttention):
            layer.dropout = 0.0

    def save(width):
        save_plain(args.output_dir, width, full_size_state(student), student)

    # Dev is looked at every save_steps, and at the end; there are no checkpoints of the supernet.
    steps = len(trainer.get_train_dataloader()) // args.gradient_accumulation_steps * args.num_train_epochs
    steps = args.max_steps if args.max_steps > 0 else max(1, int(steps))
    args.evaluation_strategy, args.eval_steps = IntervalStrategy.STEPS, max(1, min(args.save_steps, steps))
    args.save_strategy, args.load_best_model_at_end = IntervalStrategy.NO, False
    same = ("criterion", "tokenizer", "data_collator", "train_dataset", "eval_dataset", "compute_metrics")
    same = {name: getattr(trainer, name) for name in (*same, "group_by_length", "max_length")}
    learner = DynaBERTTrainer(model=student, args=args, teacher=teacher, widths=widths, on_better=save, **same)
    logger.info("DynaBERT training starts. This period will cost some time.")
    learner.train()
    if learner.state.global_step % args.eval_steps:
        learner.evaluate()

    exports = []
    for width in widths:
        logger.info(f"Best result of width_mult {float(width):.2f}: {learner.best[width]['eval_accuracy']:.4f}")
        student.set_state_dict(paddle.load(str(width_folder(args.output_dir, width) / MODEL_FILE)))
        set_width(student, width)
        exports.append(export_width(trainer, width, narrow_copy(student), **options))
    logger.info("Pruned models have been exported.")
    return exports


def width_folder(output_dir, width):
    """Where a width goes."""
    return Path(output_dir) / f"width_mult_{folder_width(width)}"


def save_plain(output_dir, width, state, model):
    """Write full-size weights, see full_size_state, and the config of `model` into the width's folder."""
    model.config.architectures = [type(model).__name__]
    with staged_files(width_folder(output_dir, width)) as stage:
        paddle.save(map_values(paddle.to_tensor, state), str(stage / MODEL_FILE))
        model.config.save_pretrained(str(stage))
    remove_old_safetensors(width_folder(output_dir, width))


def export_width(trainer, width, model, labels, types, facts, know):
    """Export a narrow model into its width's folder.

    Returns:
        tuple[str, PretrainedModel, Path, np.ndarray]: width, narrow model, folder and logits on dev.
    """
    folder, logits = width_folder(trainer.args.output_dir, width), dynamic_logits(trainer, model)
    facts = {"width_mult": str(width), **facts, **know(logits)}
    options = {"types": types, "dev": trainer.eval_dataset, "facts": facts}
    export_classifier(model, trainer.tokenizer, labels, trainer.max_length, folder, "pruned_model", **options)
    return str(width), model, folder, logits


def map_values(function, values):
    """The dict with `function` applied to each of its values."""
    return {name: function(value) for name, value in values.items()}
