"""Masked-language training of an encoder on the texts that it will classify, before it is fine-tuned on them
(Gururangan et al., 2020, arXiv 2004.10964). train.py --do_pretrain runs this; it continues after a kill.
"""

import contextlib
import time
from pathlib import Path

import paddle
from paddlenlp.utils.log import logger

from core.checkpoints import weights_digest
from core.divergence import Diverged
from core.masked_heads import load_masked
from core.masked_words import (
    MaskedTexts,
    learn_masked_words,
    split_texts,
    states_at,
    train_on,
)
from core.processes import is_first, own_number, take_first, wait_for_all
from core.quick_training import quick_training
from core.trainer import seed_dropout
from core.unlabelled import PRETRAINED, PRETRAINING_FILE, is_pretrained
from utils import replaced_folder, staged_files, write_json

# In the output folder while it is not finished: weights, optimizer and the steps that are done.
STATE_FILE = "pretraining.pdstate"
SAVE_SECONDS = 300
# Texts from whose masked places a head starts: enough for a regression, whatever the corpus.
HEAD_TEXTS = 20_000


def pretrain(run):
    """Train the encoder of --model_name_or_path on the texts, or find that this was done.

    Args:
        run (train.Run): with unlabelled.pretraining.

    Returns:
        str: the folder of the trained encoder; an ERNIE or a BERT has its head for masked words there too.

    Raises:
        UsageError: see is_pretrained, load_masked and learn_masked_words; too few texts have tokens of the vocabulary.
        KeyboardInterrupt: with a message that says how to continue.
    """
    output_dir, facts = Path(run.args.output_dir), run.unlabelled.pretraining
    folder = output_dir / PRETRAINED
    if is_pretrained(run.args, facts):
        logger.info(f"{folder} holds the result of this masked-language training already, and is used")
    else:
        with saying_how_to_continue(output_dir):
            try:
                _train(run, facts, output_dir)
            except Diverged:  # there is nothing to continue from, and another rate may be tried here
                forget(output_dir)
                raise
    wait_for_all()  # the first one's files are there, and none looks for those that it deletes
    forget(output_dir)
    return str(folder)


def forget(output_dir):
    """Delete what a masked-language training keeps while it is not finished."""
    if not is_first():
        return
    for name in (STATE_FILE, PRETRAINING_FILE):
        (output_dir / name).unlink(missing_ok=True)


def _train(run, facts, output_dir):
    flags, name, seed = run.stage_flags, run.model_flags.model_name_or_path, run.args.seed
    paddle.utils.unique_name.switch()  # the optimizer's state names parameters, which count up in a process
    paddle.seed(seed)
    model, tokenizer, has_head = load_masked(name, run.max_length)
    trained, held_out = split_texts(
        run.unlabelled.corpus, tokenizer, run.max_length, seed, flags.mlm_probability, "--do_pretrain"
    )
    before, start, head_texts = None, None, None
    if (state := read_state(output_dir, facts)) is not None:
        model.set_state_dict(state["model"])
        before, start = state["before"], (state["step"], state["optimizer"])
        logger.info(f"Continuing the masked-language training from step {state['step']}")
    elif not has_head:
        head_texts = MaskedTexts(trained.features[:HEAD_TEXTS], tokenizer, seed, flags.mlm_probability)

    def train(_, before):
        take_first(parameter.detach() for parameter in model.parameters())
        if is_first():
            with staged_files(output_dir) as stage:
                write_json(stage / PRETRAINING_FILE, {"facts": facts})
        saver = StateSaver(output_dir, model, facts, before)
        done, steps = start[0] if start else 0, flags.pretrain_epochs * len(trained)
        batches = batches_after(model, trained, flags.pretrain_epochs, seed, done)
        rate = flags.pretrain_learning_rate
        train_on(model, model.parameters(), batches, steps, rate, "encoder and head", start, saver.after_step)

    first = "before" if has_head else "before, with a linear head"
    told = f"Masked-language training of {name}: ", first, "after"
    with quick_training(model):
        before, after = learn_masked_words(model, trained, held_out, train, head_texts, before, told)
    if not is_first():
        return
    with replaced_folder(output_dir / PRETRAINED, lambda path: (path / PRETRAINING_FILE).is_file()) as new:
        tokenizer.save_pretrained(str(new))
        model.save_pretrained(str(new))
        content = {"facts": facts, "weights": weights_digest(new), "before": before, "after": after}
        write_json(new / PRETRAINING_FILE, content)
    logger.info(f"The encoder is in {output_dir / PRETRAINED}")


def batches_after(model, texts, epochs, seed, done):
    """States at masked places through which the gradient reaches the encoder, and the tokens that were there.

    Args:
        model: in training mode.
        texts (MaskedTexts): to train on.
        epochs (int): passes over them.
        seed (int): of each step's dropout.
        done (int): steps to leave out, whose masks are drawn and thrown away.

    Yields:
        tuple: Tensors [places, hidden] and [places].
    """
    step = 0
    for number in range(epochs):
        for ids, places, tokens in texts.own_batches(1 + number):
            if step >= done:
                seed_dropout(seed, step, own_number())
                yield states_at(model, ids, places), paddle.to_tensor(tokens)
            step += 1


class StateSaver:
    """Writes all that is needed to go on, in one file, by a rename, every SAVE_SECONDS.

    Args:
        folder (Path): to write into.
        model: that is trained.
        facts (dict): what training it is.
        before (dict): what was measured first.
    """

    def __init__(self, folder, model, facts, before):
        self.folder, self.model, self.facts, self.before = folder, model, facts, before
        self.last = time.monotonic()

    def after_step(self, step, optimizer):
        """Write where it is time, in the first process."""
        if not is_first() or time.monotonic() - self.last < SAVE_SECONDS:
            return
        state = {"facts": self.facts, "before": self.before, "step": step}
        state.update(model=self.model.state_dict(), optimizer=optimizer.state_dict())
        with staged_files(self.folder) as stage:
            paddle.save(state, str(stage / STATE_FILE))
        self.last = time.monotonic()


def read_state(folder, facts):
    """What a StateSaver with the same facts wrote, or None."""
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    state = paddle.load(str(path))
    return state if state["facts"] == facts else None


@contextlib.contextmanager
def saying_how_to_continue(folder):
    """Let Ctrl-C end the training with the way to continue it."""
    try:
        yield
    except KeyboardInterrupt:
        way = "continues from the last state that was saved" if (folder / STATE_FILE).is_file() else "starts over"
        raise KeyboardInterrupt(f"interrupted; the same command {way}") from None
