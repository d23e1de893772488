"""PaddleSlim beside our own pruning: --pruner paddleslim, and the work of a model (core/requirements-compress.txt).

Its OFA (once for all) trains the widths as PaddleNLP 2.8.1 documents it, by Trainer.compress
(paddlenlp/trainer/trainer_compress.py), so that published recipes can be repeated. Where the two are wrong, the
smallest piece is replaced while they run, and the comment says which fault it mends. What comes out is a plain narrow
model a width, which is then written, exported and measured like ours.
"""

import contextlib
import copy
import math
import os
import tempfile

import numpy as np
import paddle
from paddle.jit.dy2static.program_translator import ProgramTranslator
from paddle.nn import functional as F
from paddlenlp.trainer import trainer_compress
from paddlenlp.utils.log import logger

from core.cpu import paddle_version
from core.progress import progress_bar
from utils import UsageError

# Operations of a traced program that multiply matrices.
PRODUCTS = ("mul", "matmul", "matmul_v2")


def require_paddleslim():
    """Raise UsageError where PaddleSlim is installed but cannot be imported."""
    try:
        import paddleslim.nas.ofa  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"--pruner paddleslim: PaddleSlim cannot be imported ({error}); run: pip install -r "
            "core/requirements-compress.txt; where libGL is missing, which its OpenCV needs: apt-get install libgl1 "
            "libglib2.0-0"
        ) from None


def narrow_models(trainer, widths):
    """Train the widths with PaddleSlim; the trainer and its model stay as they are.

    Args:
        trainer (ClassificationTrainer): with the full model and both data sets.
        widths (list[Fraction]): of which each leaves whole heads.

    Returns:
        list[PretrainedModel]: for each width a plain model whose layers have that size.
    """
    os.makedirs(trainer.args.output_dir, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=trainer.args.output_dir, prefix=".writing-") as folder:
        worker = copy.copy(trainer)
        # The model becomes the supernet in place, and the library's callbacks know the trainer's own.
        worker.model = worker.model_wrapped = copy.deepcopy(trainer.model)
        worker.model.train()  # or the student has no dropout until dev was first looked at
        # What a training before in the same run has left: its scheduler has come to rate 0.
        worker.reset_optimizer_and_scheduler()
        worker.args = args = copy.copy(trainer.args)
        # Fractions, since the library evaluates the flag's strings as Python.
        args.width_mult_list = [str(width) for width in widths]
        # Quantisation is ours. The supernet's weights, which nothing else can load, go with the folder.
        args.strategy, args.output_dir = "dynabert", folder
        train_loader, eval_loader = Loader(trainer.get_train_dataloader()), Loader(trainer.get_eval_dataloader())
        worker.get_train_dataloader, worker.get_eval_dataloader = lambda: train_loader, lambda dataset: eval_loader
        steps = args.max_steps if args.max_steps > 0 else len(train_loader) * args.num_train_epochs
        # It looks at dev and saves at multiples of save_steps alone: a shorter run saved nothing, and then failed.
        args.save_steps = max(1, min(args.save_steps, math.ceil(steps)))
        models = []
        with mended(trainer.model, models), forgotten_traces():
            worker.compress(custom_evaluate=dev_accuracy)
    return models


class Loader:
    """The batches of a DataLoader as tensors; each pass is the next epoch, in an order of its own.

    PaddleNLP's loop never tells the sampler which epoch it is in.
    """

    def __init__(self, loader):
        self.loader, self.epoch = loader, 0

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        self.loader.batch_sampler.set_epoch(self.epoch)
        self.epoch += 1
        for batch in self.loader:
            yield {name: paddle.to_tensor(value) for name, value in batch.items()}


@contextlib.contextmanager
def mended(full, models):
    """Replace the faulty pieces of PaddleSlim and PaddleNLP for a while.

    Args:
        full (PretrainedModel): what is pruned.
        models (list): receives the narrow model of each width, instead of a graph without our tokenizer and labels.
    """
    from paddleslim.nas.ofa.layers import SuperLayerNorm

    def layer_norm(layer, input):
        # PaddleSlim unpacks three results of an operation that gives one.
        return F.layer_norm(input, layer._normalized_shape, layer.weight, layer.bias, layer._epsilon)

    get_model = trainer_compress._get_dynabert_model
    rank = trainer_compress.compute_neuron_head_importance

    def get_model_of_copy(model, width):
        # PaddleNLP narrows the one model again for each width: the second was a fraction of the first.
        return get_model(copy.deepcopy(model), width)

    def rank_and_forget(model, data_loader, **options):
        check_answers(full, model, next(iter(data_loader)))
        bar = progress_bar(data_loader, desc="Ranking heads and neurons")
        result = rank(model=model, data_loader=bar, **options)
        # The gradients of dev, by which PaddleNLP ranks, would be in the first step of the training.
        model.clear_gradients()
        model.train()
        return result

    def collect(trainer):
        for width in trainer.args.width_mult_list:
            models.append(trainer_compress._export_dynamic_dynabert_model(trainer, width))

    replaced = {
        (SuperLayerNorm, "forward"): layer_norm,
        (trainer_compress, "_get_dynabert_model"): get_model_of_copy,
        (trainer_compress, "compute_neuron_head_importance"): rank_and_forget,
        (trainer_compress, "_dynabert_export"): collect,
    }
    kept = {place: getattr(*place) for place in replaced}
    for (owner, name), function in replaced.items():
        setattr(owner, name, function)
    try:
        yield
    finally:
        for (owner, name), function in kept.items():
            setattr(owner, name, function)


@contextlib.contextmanager
def forgotten_traces():
    """Let Paddle forget which parameters PaddleSlim's traces have met.

    Paddle notes them under the program's address and takes the note away in its own traces alone. A later program at
    the address of one that is gone got them too: its export ended with a KeyError for a parameter of another model.
    """
    try:
        yield
    finally:  # no trace is under way, so all notes are left from earlier ones
        ProgramTranslator.get_instance()._params_recorder.params_dict.clear()


@paddle.no_grad()
def check_answers(full, supernet, batch):
    """Refuse a family of models whose answers PaddleNLP's forward for pruning changes before anything is pruned.

    Args:
        full, supernet (PretrainedModel): put into evaluation mode.
        batch (dict): tensors.

    Raises:
        UsageError: the supernet at full width is another model.
    """
    full.eval()
    supernet.eval()
    expected, given = full(**inputs_of(batch)), supernet(**inputs_of(batch), attention_mask=[None, None])
    difference = float((expected - given).abs().max())
    if not difference < 1e-3:
        raise UsageError(
            f"--pruner paddleslim: the library changes the logits of {type(full).__name__} by {difference:.1e} before "
            "anything is pruned; use --pruner builtin"
        )


def inputs_of(batch):
    """What a model takes of a batch."""
    return {name: batch[name] for name in ("input_ids", "token_type_ids") if name in batch}


@paddle.no_grad()
def dev_accuracy(trainer, model, data_loader):
    """Accuracy of a supernet at its present width, or of the teacher, as Trainer.compress asks for it."""
    model.eval()
    right = total = 0
    for batch in data_loader:
        logits = model(**inputs_of(batch), attention_mask=[None, None])
        logits = logits[0] if isinstance(logits, tuple) else logits
        right += int((logits.argmax(axis=-1) == batch["labels"].flatten()).sum())
        total += len(logits)
    logger.info(f"acc: {right / total}, ")
    if hasattr(model, "ofa_teacher_model"):
        model.train()
        model.ofa_teacher_model.eval()  # the library's own evaluation left the teacher with dropout
    # A width that never gets above 0 is never saved, and the library fails at the end of the training.
    return max(right / total, 1e-9)


def full_size_state(narrow, full):
    """A narrow model's weights in the sizes of the full one: a plain model with them gives the narrow one's answers.

    Args:
        narrow (PretrainedModel): with the first heads and neurons of each layer.
        full (PretrainedModel): the same model at full width.

    Returns:
        dict[str, np.ndarray]: by parameter; 0 for what was left out.
    """
    state = {}
    for name, value in narrow.state_dict().items():
        state[name] = np.zeros(full.state_dict()[name].shape, dtype=value.numpy().dtype)
        state[name][tuple(slice(size) for size in value.shape)] = value.numpy()
    return state


# ---------------------------------------------------------------------------------------------------- size of a model


def size_of(model, tokens):
    """Parameters of a model, and where PaddleSlim can look at it, its work on one text: not with Paddle 3, nor for
    families that it cannot trace (ALBERT, RoBERTa, ERNIE-M) or whose shapes it does not know (RoFormer).

    Args:
        model (paddle.nn.Layer): takes input_ids, int64 [batch, tokens].
        tokens (int): of the text.

    Returns:
        tuple[int, int | None]: parameters; FLOPs, where a multiplication and its addition count as one, as in
            paddleslim.analysis.
    """
    parameters = sum(parameter.size for parameter in model.parameters())
    try:
        if paddle_version().startswith("3."):
            raise ImportError("PaddleSlim 2.6.0 traces a model by what Paddle 3 has renamed")
        from paddleslim.analysis import model_size
        from paddleslim.core import GraphWrapper, dygraph2program
    except ImportError:
        return parameters, None
    model.eval()
    try:
        with forgotten_traces():
            program = dygraph2program(model, [[1, tokens]], dtypes=["int64"])
    except Exception as error:  # of many kinds: it runs the model's code where that was never meant to run
        logger.debug(f"No FLOPs: PaddleSlim cannot trace {type(model).__name__} ({error})")
        return parameters, None
    finally:
        paddle.disable_static()  # which it leaves on when the trace fails
    flops = 0
    for operation in GraphWrapper(program).ops():
        if operation.type() in PRODUCTS:
            # paddleslim.analysis.flops takes x.shape[0] * x.shape[1] * y.shape[1], which holds for two dimensions:
            # a Linear on [batch, tokens, hidden] came out `hidden` times too cheap.
            axis = -2 if operation.type() != "mul" and operation.attr("trans_x") else -1
            sizes = (*operation.outputs("Out")[0].shape(), operation.inputs("X")[0].shape()[axis])
            if min(sizes) < 0:
                return parameters, None
            flops += math.prod(sizes)
    return int(model_size(program)), int(flops)
