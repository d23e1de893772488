"""The model card of an export folder: README.md in Chinese, README_en.md in English (core/card_text.py has the words).

A card holds what is known and measured, and says of all else that it is not known. Each ends with a line that has the
SHA-256 of what is above it: a card that somebody wrote, or changed, is kept, and only one of ours is replaced.
"""

import dataclasses
import hashlib
import os
import re
from pathlib import Path

import numpy as np

from core.arguments import load_argument_classes, plain
from core.card_text import card_lines
from core.checkpoints import CARD_FILES, EXPORT_FILE, MODEL_WEIGHTS, read_run_file, weights_digest
from core.confusions import Confusions, bootstrap, class_scores, wilson
from core.cpu import cpu_name
from core.recipe_flags import RecipeArguments
from core.run_flags import MAX_LENGTH, DataArguments
from core.stage_flags import StageArguments
from utils import read_json, staged_files, write_json

MARK = re.compile(r"<!-- model card; SHA-256 of all above: ([0-9a-f]{64}) -->\s*")

# In a fingerprint, but of no interest or no recipe: paths, digests, and what the library derives from other flags.
NO_RECIPE = {
    *("model_name_or_path", MODEL_WEIGHTS, "data", "unlabelled_texts", "pretrain_texts", "label_words", "template"),
    "texts",
    *(
        "sharding",
        "hybrid_parallel_topo_order",
        "greater_is_better",
        "label_names",
        "wandb_api_key",
        "label_smoothing_",
    ),
}

# Told even at their default.
ALWAYS = ("num_train_epochs", "learning_rate", "per_device_train_batch_size", "max_length", "max_seq_length", "seed")

# What a compression is decided by.
OF_COMPRESSION = ("strategy", "width_mult_list", "learning_rate", "num_train_epochs", "max_steps", "seed")

# Trainings that were continued with another one's result: how many are followed back to the first model.
MAX_CHAIN = 5


@dataclasses.dataclass
class Card:
    """All that a card may say.

    Attributes:
        labels (list[str]): in class order.
        content (dict): of export.json.
        sizes (dict[str, dict]): split -> samples, labels (name -> samples), as data_sizes gives them.
        flags (list[tuple[str, str]]): of the training; empty where it is not known.
        trained (bool): whether anything is known of the training.
        compression (list[tuple[str, str]]): flags of a compression that followed; empty without one.
        base (dict): see base_model.
        by_dev (list[str]): what dev decided: best, stop, adjust, rounds, widths, weights.
        scores (dict | None): see dev_scores.
        why_no_scores (str): the reason, in English.
        rows (list[dict]): of core.same_answers.verify_export; empty where nothing was compared.
        student (dict | None): of core.student_card.describe_student, where the model is a student: kind (ngram or
            layers), layers (list[int], from 1), texts (train, unlabelled and made, how many it learnt from), scores
            (the teacher's, of dev_scores), agreement (with the teacher's labels, from 0 to 1), stages (format of the
            teacher -> cascade and blend, as in stages.json).
    """

    labels: list
    content: dict
    sizes: dict
    flags: list = dataclasses.field(default_factory=list)
    trained: bool = False
    compression: list = dataclasses.field(default_factory=list)
    base: dict = dataclasses.field(default_factory=dict)
    by_dev: list = dataclasses.field(default_factory=list)
    scores: "dict | None" = None
    why_no_scores: str = ""
    rows: list = dataclasses.field(default_factory=list)
    student: "dict | None" = None
    machine: dict = dataclasses.field(default_factory=lambda: {"cpu": cpu_name(), "threads": threads()})


def threads():
    """The CPU threads that this process computes with, or None where that is not known."""
    return int(os.environ["OMP_NUM_THREADS"]) if os.environ.get("OMP_NUM_THREADS", "").isdigit() else None


# ------------------------------------------------------------------------------------------------------- what is known


def data_sizes(labels, **splits):
    """How many samples each split has, in all and by label: for run.json and for a card.

    Args:
        labels (list[str]): in class order.
        **splits (tuple | None): texts and class ids; None is left out.

    Returns:
        dict[str, dict]: split -> samples, labels.
    """
    found = {}
    for name, examples in splits.items():
        if examples:
            counts = np.bincount(np.asarray(examples[1], dtype=np.int64), minlength=len(labels))
            found[name] = {"samples": len(examples[1]), "labels": dict(zip(labels, counts.tolist()))}
    return found


def dev_scores(labels, truth, logits, seed):
    """Scores on dev with 95 % intervals: Wilson's of shares of texts, the bootstrap's of F1 and macro averages.

    The bootstrap's interval of 48 right answers of 48 would be from 100 to 100 %.

    Args:
        labels (list[str]): in class order.
        truth: class ids [samples]; at least one.
        logits (np.ndarray): [samples, classes].
        seed (int): of the bootstrap.

    Returns:
        dict: samples; accuracy, macro_precision, macro_recall, macro_f1, each a tuple of value, lower and upper bound;
        most_common (share of the most frequent label, which always guessing it would reach); classes, a dict a label
        with label, samples, precision, recall, f1 (tuples as above); confused, at most 5 tuples of the true label, the
        predicted one and their samples.
    """
    confusions = Confusions(np.asarray(truth), logits.argmax(axis=1), len(labels))
    scores = class_scores(confusions.right, confusions.predicted, confusions.true)
    of_classes, of_macro, _ = bootstrap(confusions, seed)
    right, total = int(confusions.right.sum()), confusions.total
    result = {"samples": total, "accuracy": (right / total, *wilson(right, total))}
    result["most_common"] = float(confusions.true.max()) / total
    names = ("precision", "recall", "f1")
    for place, name in enumerate(names):
        result[f"macro_{name}"] = (float(scores[:, place].mean()), *of_macro[:, place].tolist())
    result["classes"] = []
    for row, label in enumerate(labels):
        right, predicted, true = (
            int(counts[row]) for counts in (confusions.right, confusions.predicted, confusions.true)
        )
        own = {"label": label, "samples": true}
        for place, (name, of) in enumerate({"precision": predicted, "recall": true}.items()):
            own[name] = (float(scores[row, place]), *(wilson(right, of) if of else (0.0, 1.0)))
        own["f1"] = (float(scores[row, 2]), *of_classes[:, row, 2].tolist())
        result["classes"].append(own)
    pairs = confusions.most_confused(5)
    result["confused"] = [(labels[true], labels[predicted], count) for true, predicted, count in pairs]
    return result


def field_defaults(*classes):
    """The defaults of dataclasses' fields by their names."""
    found = {}
    for field in (field for each in classes for field in dataclasses.fields(each)):
        if field.default is not dataclasses.MISSING:
            found[field.name] = plain(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
    return found


def told_flags(values, defaults):
    """Flags that are not at their default, and those of ALWAYS, as they are written: list[tuple[str, str]].

    Args:
        values (dict): of a fingerprint.
        defaults (dict): by name; a flag that has none there is told.
    """
    names = [name for name in ALWAYS if name in values and values[name] is not None]
    names += [
        name
        for name, value in values.items()
        if name not in NO_RECIPE and name not in ALWAYS and (name not in defaults or value != defaults[name])
    ]
    return [(name, shown(values[name])) for name in names]


def shown(value):
    """A flag's value in a card, which others read: of a path, its last part alone."""
    if isinstance(value, (list, tuple)):
        return " ".join(shown(part) for part in value)
    text = str(value)
    return Path(text).name if "/" in text or "\\" in text else text


def training_flags(fingerprint, name="CompressionArguments"):
    """told_flags of a training.

    Args:
        fingerprint (dict): from run.json.
        name (str): the class of PaddleNLP's arguments, see core.arguments.ARGUMENT_FILES.
    """
    _, arguments = load_argument_classes(name)
    defaults = field_defaults(arguments, DataArguments, RecipeArguments, StageArguments)
    defaults.update(max_length=MAX_LENGTH, processes=1)
    return told_flags(fingerprint, defaults)


def decided_by_dev(fingerprint, compression=()):
    """What dev decided in a training: the card's by_dev.

    Args:
        fingerprint (dict): from run.json.
        compression (list[tuple[str, str]]): flags of a compression.
    """
    found = [
        code
        for name, code in {
            "load_best_model_at_end": "best",
            "early_stopping": "stop",
            "logit_adjustment": "adjust",
            "pseudo_labels": "rounds",
        }.items()
        if fingerprint.get(name)
    ]
    return found + ["widths"] * any("dynabert" in value for name, value in compression if name == "strategy")


def stated_licence(folder):
    """The licence that a model's folder states itself, or None.

    It is looked for in config.json (license), in README.md (license: in its front matter) and in a file LICENSE, whose
    first line is told.

    Args:
        folder (Path): of a model.

    Returns:
        tuple[str, str] | None: the licence, and the file that says so.
    """
    config = read_json(folder / "config.json")
    for name in ("license", "licence"):
        if isinstance(config.get(name), str) and config[name].strip():
            return config[name].strip()[:80], "config.json"
    for path in sorted(folder.iterdir()):
        name = path.name.lower()
        if not path.is_file() or not re.fullmatch(r"readme(_\w+)?\.md|licen[cs]e(\.txt|\.md)?", name):
            continue
        text = path.read_bytes()[:20_000].decode("utf-8", errors="replace").lstrip("\ufeff")
        if name.startswith("readme"):
            front = re.match(r"---\s*\n(.*?)\n---\s*\n", text.replace("\r\n", "\n"), re.DOTALL)
            match = re.search(r"^licen[cs]e:\s*['\"]?([\w.+-]+)", front[1], re.MULTILINE) if front else None
            if match:
                return match[1], path.name
        elif lines := [line.strip() for line in text.splitlines() if line.strip()]:
            return lines[0][:80], path.name
    return None


def base_model(model_dir, fingerprint):
    """The model that a training began with, followed back through trainings, and its licence where it is stated.

    Args:
        model_dir: of the trained model.
        fingerprint (dict): of its run.json; empty where there is none.

    Returns:
        dict: name (str | None, the last part of a path); licence and file (str) where they are stated, else why: name
        (a model's name, no folder), gone, changed (its folder holds other weights now), silent or unknown.
    """
    here, names = Path(os.path.realpath(model_dir)), []
    if here.is_dir() and (found := stated_licence(here)):
        return {"name": here.name, "licence": found[0], "file": found[1], "names": names}
    why = "unknown"
    for _ in range(MAX_CHAIN):
        given, digest = fingerprint.get("model_name_or_path"), fingerprint.get(MODEL_WEIGHTS)
        if not given:
            break
        names.append(shown(given))
        folder = Path(os.path.realpath(given))
        if not folder.is_dir() or folder == here:
            why = "gone" if folder == here or shown(given) != given else "name"
            break
        if digest and weights_digest(folder) != digest:
            why = "changed"
            break
        if found := stated_licence(folder):
            return {"name": names[-1], "licence": found[0], "file": found[1], "names": names}
        why, fingerprint, here = "silent", read_run_file(folder).get("fingerprint") or {}, folder
    return {"name": names[-1] if names else None, "why": why, "names": names}


# ------------------------------------------------------------------------------------------------------------- writing


def is_unchanged(path):
    """Whether a file is a card that was written here and not touched since; line ends do not count."""
    try:
        text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
    except (OSError, ValueError):
        return False
    above, _, last = text.rstrip("\n").rpartition("\n")
    match = MARK.fullmatch(last)
    return bool(match) and hashlib.sha256(f"{above}\n".encode()).hexdigest() == match[1]


def marked(lines):
    """A card as bytes: its lines, and the one that has their SHA-256."""
    text = "".join(f"{line}\n" for line in lines)
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    return f"{text}<!-- model card; SHA-256 of all above: {digest} -->\n".encode()


def write_cards(folder, card, warn):
    """Write README.md and README_en.md into an export folder; one that was not written here, or was changed, is kept.

    Args:
        folder: the export folder, finished.
        card (Card): what is known.
        warn (Callable): gets a line for the files that are kept.

    Returns:
        list[str]: the names of the files that were kept.
    """
    folder = Path(folder)
    kept = [
        name for name in CARD_FILES if os.path.lexists(folder / name) and not is_unchanged(folder / name)
    ]  # a link that leads nowhere is somebody's, too
    with staged_files(folder) as stage:
        files = dict(read_json(folder / EXPORT_FILE).get("files", {}))
        for name in CARD_FILES:
            files.pop(name, None)
            if name not in kept:
                (stage / name).write_bytes(marked(card_lines(card, CARD_FILES[name])))
                files[name] = (stage / name).stat().st_size
        content = read_json(folder / EXPORT_FILE)
        if content:
            write_json(stage / EXPORT_FILE, {**content, "files": dict(sorted(files.items()))}, ascii_only=True)
    if kept:
        warn(
            f"{folder}: {' and '.join(kept)} {'is' if len(kept) == 1 else 'are'} kept, being no model card as it is "
            "written here, or changed since; what is said there may be of an earlier export. To get a new one, move "
            "it away and export again"
        )
    return kept
