"""The flags of long texts (core/long_texts.py), and what is wrong with them; nothing here needs paddle or numpy."""

from utils import UsageError

WAYS = ("truncate", "head_tail", "windows")
POOLINGS = ("mean", "max")

# Flags that have a part in windows alone -> their defaults.
OF_WINDOWS = {"stride": None, "window_pooling": None, "train_windows": None}

# Windows of a text in each step of a training, at most, where --train_windows does not say.
TRAIN_WINDOWS = 8


def long_text_facts(flags, stored, max_length, trains=False):
    """What is done with long texts: as the flags say, else as the model has it, else nothing.

    Args:
        flags (core.run_flags.DataArguments): as parsed.
        stored (dict | None): of the model's config.json.
        max_length (int): tokens of a window.
        trains (bool): whether a training follows, which chooses the pooling anew where no flag says it.

    Returns:
        dict | None: for core.long_texts.LongText, its pooling None where a training will choose it; None: truncate.
    """
    stored = stored or {}
    way = flags.long_text or stored.get("way", "truncate")
    if way != "windows":
        return {"way": way} if way == "head_tail" else None
    known = stored if stored.get("way") == "windows" else {}
    stride = flags.stride or known.get("stride") or default_stride(max_length)
    pooling = flags.window_pooling or (None if trains else known.get("pooling") or "mean")
    return {"way": way, "stride": stride, "pooling": pooling}


def reads_windows(content):
    """Whether a model reads long texts in windows, by the content of its config.json or export.json."""
    return (content.get("long_text") or {}).get("way") == "windows"


def default_stride(max_length):
    """Three quarters of a window: a passage of a quarter is whole in one of them, wherever it lies."""
    return max(1, (max_length - 2) * 3 // 4)


def check_long_text(facts, max_length):
    """Refuse windows with gaps between them.

    Raises:
        UsageError: naming the largest stride.
    """
    if facts and facts.get("stride") and facts["stride"] > max_length - 2:
        raise UsageError(
            f"--stride {facts['stride']}: with --max_length {max_length} a window has {max_length - 2} tokens beside "
            "[CLS] and [SEP], and those between two windows would never be read; give at most that"
        )


def long_text_problems(flags, stored, args, ngrams=False, pruner="builtin"):
    """What is wrong with the flags.

    Args:
        flags (core.run_flags.DataArguments): as parsed.
        stored (dict | None): of the model's config.json.
        args: PaddleNLP's TrainingArguments, or their fields.
        ngrams (bool): whether the model has n-gram features, or gets them.
        pruner (str): --pruner.

    Returns:
        list[str]: messages.
    """
    problems = []
    if flags.long_text not in (None, *WAYS):
        return [f"--long_text {flags.long_text}: not known; use one of {', '.join(WAYS)}"]
    if flags.window_pooling not in (None, *POOLINGS):
        problems.append(f"--window_pooling {flags.window_pooling}: not known; use {' or '.join(POOLINGS)}")
    for name in ("stride", "train_windows"):
        value = getattr(flags, name)
        if value is not None and value < 1:
            problems.append(f"--{name} {value}: must be at least 1")
    way = flags.long_text or (stored or {}).get("way", "truncate")
    if way != "windows":
        idle = [f"--{name}" for name, default in OF_WINDOWS.items() if getattr(flags, name) != default]
        if idle:
            problems.append(f"{' '.join(idle)}: nothing without --long_text windows; add that, or leave it out")
        return problems
    if flags.train_windows is not None and not (args.do_train or args.do_compress):
        problems.append("--train_windows: for a training, all else reads each window; add --do_train, or leave it out")
    others = "--long_text head_tail or truncate"
    if ngrams:
        problems.append(
            "--long_text windows does not work with n-gram features, which are counted in whole texts; give "
            f"--ngram_features False, or {others}"
        )
    if args.to_static:
        problems.append(f"--long_text windows does not work with --to_static True; leave that out, or give {others}")
    if pruner != "builtin":
        problems.append(f"--long_text windows does not work with --pruner {pruner}; leave that out, or give {others}")
    return problems


def train_windows(flags):
    """Windows of a text in each step of a training, at most."""
    return flags.train_windows or TRAIN_WINDOWS


def long_text_for_fingerprint(facts, flags):
    """What decides a training's result; old runs, and those that truncate, have none of it."""
    if facts is None:
        return {}
    more = {"train_windows": train_windows(flags)} if facts["way"] == "windows" else {}
    return {"long_text": {**facts, **more}}
