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


def origins_of_files(folder, names=("train.txt", "dev.txt", "test.txt"), paths=None):
    """How many labels of a folder's files a model has given: file -> origin -> number; empty without origins.jsonl.

    Args:
        folder (Path | None): with train.txt and the others; what cannot be read counts for nothing.
        paths (dict[str, Path] | None): train, dev or test -> the file in its place, with an origins.jsonl of its own.
    """
    found = {}
    for name in names:
        path = (paths or {}).get(name.removesuffix(".txt"), folder and Path(folder) / name)
        if path is None:
            continue
        path = Path(path)
        origins = read_origins(path.parent)
        if origins and path.is_file():
            lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
            pairs = [line.rsplit("\t", 1) for line in lines if "\t" in line]
            counts = origin_counts((text for text, _ in pairs), (label.strip() for _, label in pairs), origins)
            found.update({name: counts} if counts else {})
    return found


def origin_lines(found):
    """What a person should know of these labels: lines.

    Args:
        found (dict): of origins_of_files.
    """
    for name, counts in found.items():
        told = ", ".join(f"{count:,} from {origin}" for origin, count in counts.items())
        line = f"{name}: labels that no person has given: {told} ({ORIGINS_FILE})"
        if name != "train.txt":
            line += "; a score on them tells how alike two models are: have people label this file"
        yield line
