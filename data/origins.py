"""Where labels come from, where it was no person: origins.jsonl beside train.txt, which data/llm_label.py writes."""

import json
from pathlib import Path

from utils import UsageError

ORIGINS_FILE = "origins.jsonl"


def read_origins(folder):
    """Text -> (label, origin) of the texts whose label a model has given; empty without the file.

    Args:
        folder (Path): that of train.txt.

    Raises:
        UsageError: a line is not what llm_label.py writes.
    """
    path, found = Path(folder) / ORIGINS_FILE, {}
    if not path.is_file():
        return found
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            content = json.loads(line)
            found[content["text"]] = (content["label"], content["origin"])
        except (ValueError, KeyError, TypeError):
            raise UsageError(f"{path}:{number}: not readable; delete the line, or write the file again") from None
    return found


def origin_counts(texts, names, origins):
    """Origin -> how many of these samples have their label from there and still have it.

    Args:
        texts (Iterable[str]): of the samples.
        names (Iterable[str]): their labels.
        origins (dict): of read_origins.
    """
    counts = {}
    for text, name in zip(texts, names):
        label, origin = origins.get(text, (None, None))
        if label == name:
            counts[origin] = counts.get(origin, 0) + 1
    return counts
