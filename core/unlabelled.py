"""Texts without labels: which of them may be learnt from, and which encoder was trained on them. Without paddle."""

import hashlib
import json
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from core.checkpoints import differences, weights_digest
from core.distill_flags import distills
from core.stage_flags import PARTS, needs_dev, stages
from utils import UsageError, read_cases, read_json

# Fewer teach a head for masked words nothing, and leave too few to measure it on.
MIN_TEXTS = 100

# In an output folder: the encoder after its masked-language training. In that folder, beside its weights, and while
# it is not finished in the output folder: what training it is, and what it gave.
PRETRAINED = "pretrained"
PRETRAINING_FILE = "pretraining.json"


@dataclass
class Unlabelled:
    """What the stages of a training learn from beside the labelled texts.

    Args:
        path (str | None): the file.
        texts (list[str]): of the file, each once, none that is in train, dev or test.
        left_out (int): texts of the file that are not among them.
        corpus (list[str]): train's texts and these, each once, none that is in dev or test.
        pretraining (dict | None): what decides the result of a masked-language training; None without one.
    """

    path: Optional[str]
    texts: list
    left_out: int
    corpus: list
    pretraining: Optional[dict] = None


def stages_for_fingerprint(flags, unlabelled):
    """What decides a training's result: the values of the stages that are asked for, and their texts.

    Args:
        flags (StageArguments): the run's.
        unlabelled (Unlabelled | None): None without a stage: old runs have none.

    Returns:
        dict: JSON values by name.
    """
    values = {name: getattr(flags, name) for stage in stages(flags) for name in (stage, *PARTS[stage])}
    if needs_dev(flags):
        values["unlabelled_texts"] = digest(unlabelled.texts)
    if flags.do_pretrain:
        values["pretrain_texts"] = digest(unlabelled.corpus)
    return values


def digest(texts):
    """SHA-256 of texts in their order."""
    return hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode("utf-8")).hexdigest()


def same_text(text):
    """What texts have in common that differ in width, case and space alone."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def find_file(flags, data_flags):
    """The file of unlabelled texts, or None: data.txt belongs to the training data of its folder alone.

    Args:
        flags (StageArguments): the run's.
        data_flags: with data_dir and train_path.
    """
    if flags.unlabelled_path:
        return flags.unlabelled_path
    path = Path(data_flags.data_dir) / "data.txt"
    is_beside = Path(data_flags.train_path).resolve().parent == path.resolve().parent
    return str(path) if is_beside and path.is_file() else None


def prepare_unlabelled(flags, data_flags, encoder, max_length, args, train):
    """Read what the stages need, and see that a masked-language training may go on in output_dir.

    Args:
        flags (StageArguments): the run's.
        data_flags: with the paths.
        encoder (str): directory or name of the model that is started from.
        max_length (int): tokens kept of a text.
        args (TrainingArguments): the run's, or their fields.
        train (tuple[list[str], list[int]] | None): the training data.

    Returns:
        Unlabelled | None: None without a stage, where no student is distilled either.

    Raises:
        UsageError: see read_unlabelled and is_pretrained.
    """
    if not stages(flags) and not distills(args):
        return None
    unlabelled = read_unlabelled(flags, data_flags, train[0])
    if flags.do_pretrain:
        unlabelled.pretraining = pretraining_facts(flags, encoder, max_length, args.seed, unlabelled.corpus)
        is_pretrained(args, unlabelled.pretraining)
    return unlabelled


def read_unlabelled(flags, data_flags, train_texts):
    """Read the unlabelled texts; dev's and test's are left out wherever they occur.

    Args:
        flags (StageArguments): with a stage.
        data_flags: with the paths.
        train_texts (list[str]): of the training data.

    Returns:
        Unlabelled: without `pretraining`.

    Raises:
        UsageError: a file cannot be read, or there are too few texts for what is asked for.
    """
    path = find_file(flags, data_flags)
    given = [text for _, text, *_ in read_cases(path)] if path else []
    held_out = set()
    for other in {data_flags.dev_path, data_flags.test_path, str(Path(data_flags.data_dir) / "test.txt")}:
        if Path(other).is_file():
            held_out.update(same_text(text) for _, text, *_ in read_cases(other))
    seen, corpus = set(held_out), []
    add_unseen(train_texts, seen, corpus)
    texts = []
    add_unseen(given, seen | {same_text(text) for text in train_texts}, texts)
    corpus += texts
    if flags.pseudo_labels and not texts:
        raise UsageError(
            f"--pseudo_labels True: {path or Path(data_flags.data_dir) / 'data.txt'} has no text that is not in "
            "train, dev or test; give a file of texts without labels, one a line, as --unlabelled_path"
        )
    if flags.do_pretrain and len(corpus) < MIN_TEXTS:
        raise UsageError(
            f"--do_pretrain: {len(corpus)} different texts in train{f' and {path}' if path else ''}; give {MIN_TEXTS} "
            "or more, with --unlabelled_path"
        )
    return Unlabelled(path, texts, len(given) - len(texts), corpus)


def add_unseen(texts, seen, result):
    """Add to a list, and to the set of what was seen, each text that differs from all before it."""
    for text in texts:
        key = same_text(text)
        if key not in seen:
            seen.add(key)
            result.append(text)


# -------------------------------------------------------------------------------------- a masked-language training


def pretraining_facts(flags, encoder, max_length, seed, corpus):
    """What decides the result of a masked-language training: dict of JSON values.

    Args:
        flags (StageArguments): the run's.
        encoder (str): directory or name.
        max_length, seed (int): the run's.
        corpus (list[str]): the texts.
    """
    values = {name: getattr(flags, name) for name in PARTS["do_pretrain"]}
    if (processes := int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))) > 1:
        values["processes"] = processes  # their dropout differs from that of one
    return {**values, "encoder": weights_digest(encoder) or encoder, "max_length": max_length, "seed": seed,
            "texts": digest(corpus)}  # fmt: skip


def is_pretrained(args, facts):
    """Whether output_dir holds the result of this masked-language training.

    Args:
        args (TrainingArguments): the run's, or their fields.
        facts (dict): see pretraining_facts.

    Raises:
        UsageError: it holds that of another one, or a part of it, which only --overwrite_output_dir replaces; or a
            folder that no training made.
    """
    folder = Path(args.output_dir) / PRETRAINED
    finished, unfinished = (read_json(path / PRETRAINING_FILE) for path in (folder, folder.parent))
    if folder.exists() and not finished:
        raise UsageError(f"{folder}: is there and was not made here; move it away, or choose another --output_dir")
    for found, where, state in ((finished, folder, "an"), (unfinished, folder.parent, "an unfinished")):
        if found and found.get("facts") != facts and not args.overwrite_output_dir:
            raise UsageError(
                f"{where}: holds {state} encoder's masked-language training with another "
                f"{differences(found.get('facts') or {}, facts)}; add --overwrite_output_dir to replace it, or choose "
                "another --output_dir"
            )
    if finished.get("facts") != facts:
        return False
    if finished.get("weights") != weights_digest(folder):
        raise UsageError(f"{folder}: its weights were changed after the training; delete it, or move it away")
    return True
