"""Answers of a model, read from files of predictions or from the server's log, for monitor.py."""

import array
import collections
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import numpy as np

from core.dialects import Rejected
from core.hashed_ngrams import buckets_of, key_name, key_path, make_bucket, read_key
from core.sources import find_sources
from core.tables import open_table
from utils import UsageError

# A line of the server's log has these; see deploy/simple_serving/prediction_log.py.
LOG_KEYS = {"label", "confidence", "ngrams", "key", "version"}

# Names of columns, in the order of preference, where no flag names them.
COLUMNS = {
    "text": ("text", "sentence", "content", "query", "文本"),
    "label": ("prediction", "label"),
    "score": ("score", "confidence"),
}
# Of deploy/batch/predict.py, before those: with --min_confidence `label` may be unknown and `guess` is what the model
# said; `predicted_` stands before all names where the input has labels of its own.
OWN_COLUMNS = (
    {"label": "predicted_guess", "score": "predicted_guess_score"},
    {"label": "predicted_label", "score": "predicted_score"},
    {"label": "guess", "score": "guess_score"},
)
EMBEDDING = "embedding"

# Texts that are in both sets are hashed with no secret.
OPEN_KEY = b""


@dataclass
class Traffic:
    """Answers to some texts.

    Attributes:
        name (str): of the file, for messages.
        labels (list[str]): the predicted ones.
        confidence (np.ndarray): float64 [texts], their probabilities.
        lengths (np.ndarray | None): int [texts], characters.
        texts (list[str] | None): where they are known.
        truth (list[str] | None): the true labels, where they are known.
        buckets (list[list[int]] | None): of the n-grams, from the server's log.
        key (str | None): the name of the key that these were hashed with.
        embedding (np.ndarray | None): float32 [texts, units].
        version (str | None): of the export, where the server's log says so.
        left_out (Counter): reason -> lines that are not used.
    """

    name: str
    labels: list
    confidence: np.ndarray
    lengths: Optional[np.ndarray] = None
    texts: Optional[list] = None
    truth: Optional[list] = None
    buckets: Optional[list] = None
    key: Optional[str] = None
    embedding: Optional[np.ndarray] = None
    version: Optional[str] = None
    left_out: collections.Counter = field(default_factory=collections.Counter)

    def __len__(self):
        return len(self.labels)

    def newest(self, number):
        """The last ones, all of them where `number` is None: a Traffic."""
        start = 0 if number is None else max(0, len(self) - number)
        parts = ("labels", "confidence", "lengths", "texts", "truth", "buckets", "embedding")
        kept = {name: None if getattr(self, name) is None else getattr(self, name)[start:] for name in parts}
        return Traffic(self.name, **kept, key=self.key, version=self.version, left_out=self.left_out)


def read_traffic(paths, columns, model=None, exports=None):
    """Read files of predictions, or the server's log.

    Args:
        paths (list[Path]): all of one kind, the oldest first.
        columns (dict[str, str | None]): of text, label and score, the name of the column; None: to be found.
        model (str | None): of the log's lines, those of this model.
        exports (Collection[str] | None): versions (see core.confidence.version_of); of the log's lines, those of the
            version that the newest such line has. None: all lines have to be of one.

    Raises:
        UsageError: a file is neither of the two, has a value that is none, or has several models.
    """
    if all(map(_is_log, paths)):
        return _read_log(paths, model, exports)
    if any(map(_is_log, paths)):
        raise UsageError(f"{paths[0]}: --log takes either logs of the server or files of predictions, not both")
    parts = [_read_predictions(path, columns) for path in paths]
    whole = parts[0]
    for part in parts[1:]:
        whole = _joined(whole, part)
    return whole


def _joined(first, second):
    def both(name, join):
        values = getattr(first, name), getattr(second, name)
        return None if values[0] is None or values[1] is None else join(values)

    arrays = {name: both(name, np.concatenate) for name in ("confidence", "lengths", "embedding")}
    lists = {name: both(name, lambda values: values[0] + values[1]) for name in ("labels", "texts", "truth")}
    return Traffic(first.name, **lists, **arrays)


# ------------------------------------------------------------------------------------------------------ the server's


def _lines(path):
    """(number, line) of a file that a server may be writing: its last line counts once it has its end."""
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n") and line.strip():
                    yield number, line
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); give the path of a readable file") from None


def _is_log(path):
    _, first = next(_lines(path), (0, b""))
    return _log_line(first) is not None


def _log_line(line):
    """The dict of a line of the server's log, its n-grams as an array, or None."""
    try:
        content = json.loads(line)
        if not isinstance(content, dict) or not content.keys() >= LOG_KEYS:
            return None
        content["ngrams"], content["confidence"] = array.array("H", content["ngrams"]), float(content["confidence"])
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return content


def _read_log(paths, model, exports):
    rows, left_out, models, name = [], collections.Counter(), collections.Counter(), str(paths[-1])
    for path in paths:
        for _, line in _lines(path):
            content = _log_line(line)
            if content is None:
                left_out["unreadable"] += 1
                continue
            models[str(content.get("model"))] += 1
            if model is None or content.get("model") == model:
                rows.append(content)
    if model is None and len(models) > 1:
        raise UsageError(f"{name}: lines of several models ({', '.join(sorted(models))}); choose one with --model")
    if not rows:
        raise UsageError(f"{name}: no line of the model {model}; --model takes {', '.join(sorted(models))}")
    versions = collections.Counter(row["version"] for row in rows)
    wanted = next((row["version"] for row in reversed(rows) if exports is None or row["version"] in exports), None)
    if wanted is None:
        raise UsageError(
            f"{name}: all lines are of another export ({', '.join(sorted(versions))}) than --export_dir "
            f"({', '.join(sorted(exports))}); give the export that answered"
        )
    if exports is None and len(versions) > 1:
        raise UsageError(
            f"{name}: lines of several exports ({', '.join(sorted(versions))}), whose answers are not comparable; "
            "choose one with --export_dir"
        )
    kept = [row for row in rows if row["version"] == wanted]
    left_out["other_export"] += len(rows) - len(kept)
    keys = sorted({row["key"] for row in kept})
    if len(keys) > 1:
        raise UsageError(f"{name}: lines of several keys ({', '.join(keys)}); give files of one key")
    texts = [row.get("text") for row in kept]
    return Traffic(
        name,
        [row["label"] for row in kept],
        np.array([row["confidence"] for row in kept]),
        np.array([row.get("length", 0) for row in kept], dtype=np.int64),
        None if None in texts else texts,
        buckets=[row["ngrams"] for row in kept],
        key=keys[0],
        embedding=_embeddings([row.get(EMBEDDING) for row in kept], name),
        version=wanted,
        left_out=+left_out,
    )


def _embeddings(values, name):
    """float32 [texts, units] of lists of numbers, or None where one is missing.

    Raises:
        UsageError: they differ in their length, or are no numbers.
    """
    if not values or any(value is None or value == "" for value in values):
        return None
    try:
        found = np.array([json.loads(one) if isinstance(one, str) else one for one in values], dtype=np.float32)
    except (ValueError, TypeError):
        found = np.empty(0)
    if found.ndim != 2 or not np.isfinite(found).all():
        raise UsageError(f"{name}: {EMBEDDING!r} has to be as many numbers in every row; leave the column out")
    return found


# ------------------------------------------------------------------------------------------------ files of predictions


def column_names(names):
    """The columns' names in small letters -> their places; the first one of a name counts."""
    return {name.strip().lower(): place for place, name in reversed(list(enumerate(names)))}


def is_predictions(path):
    """Whether a file names a column of labels and one of scores."""
    if _is_log(path):
        return True
    (source,) = find_sources([path])
    names = column_names(open_table(source).names or ())
    return own_columns(names) != {} or all(any(name in names for name in COLUMNS[kind]) for kind in ("label", "score"))


def own_columns(names):
    """Of OWN_COLUMNS those that are among the names: dict, empty where none are."""
    return next((own for own in OWN_COLUMNS if all(name in names for name in own.values())), {})


def _read_predictions(path, columns):
    """Read a table with columns of COLUMNS; train.py's Text, Label, Prediction, Score is one too."""
    (source,) = find_sources([path])
    table = open_table(source)
    names = column_names(table.names or ())
    places, own = {}, own_columns(names)
    for kind, known in COLUMNS.items():
        wanted = (columns[kind].strip().lower(),) if columns.get(kind) else known
        tried = wanted if columns.get(kind) or kind not in own else (own[kind],)
        places[kind] = next((names[name] for name in tried if name in names), None)
        if places[kind] is None and (kind != "text" or columns.get(kind)):
            there = ", ".join(table.names or ()) or f"{table.width} columns without names"
            raise UsageError(f"{path}: no column {' or '.join(wanted)}, only {there}; name it with --{kind}_column")
    answers = {names[name] for name in ("prediction", "predicted_label", "predicted_guess") if name in names}
    true_column = names.get("label") if places["label"] in answers else None  # beside `guess` it is the model's
    embedding, found = names.get(EMBEDDING), collections.defaultdict(list)
    for number, row in table.rows():
        if isinstance(row, Rejected):
            raise UsageError(f"{path}:{number}: {row.reason}; correct the file of predictions")
        label, score = row[places["label"]].strip(), _number(row[places["score"]])
        if not label or score is None:
            what = "no label" if not label else f"{row[places['score']]!r} is no probability from 0 to 1"
            raise UsageError(f"{path}:{number}: {what}; correct the file, or name the --label_column, --score_column")
        found["label"].append(label)
        found["score"].append(score)
        for kind, place in (("text", places["text"]), ("truth", true_column), (EMBEDDING, embedding)):
            if place is not None:
                found[kind].append(row[place].strip())
    if not found:
        raise UsageError(f"{path}: no rows; give a file with predictions")
    texts, truth = found.get("text"), found.get("truth")
    return Traffic(
        str(path),
        found["label"],
        np.array(found["score"], dtype=np.float64),
        np.array([len(text) for text in texts]) if texts else None,
        texts,
        truth if truth and all(truth) else None,
        embedding=_embeddings(found.get(EMBEDDING), str(path)),
    )


def _number(text):
    """A probability, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


# ---------------------------------------------------------------------------------------------------------- vocabulary


def vocabularies(reference, traffic, key_file=None):
    """The buckets of the n-grams of both sets, hashed alike.

    Args:
        reference, traffic (Traffic): the two.
        key_file (Path | None): the key of the server's log; None: beside the log.

    Returns:
        tuple[list, list] | None: of each set list[list[int]]; None where one of them has neither texts nor n-grams.

    Raises:
        UsageError: the key is missing, or another one.
    """
    if reference.texts and traffic.texts:
        bucket = make_bucket(OPEN_KEY)
        return tuple([buckets_of(text, bucket) for text in one.texts] for one in (reference, traffic))
    hashed = next((one for one in (traffic, reference) if one.buckets), None)
    others = [one for one in (reference, traffic) if not one.buckets]
    if hashed is None or any(one.texts is None for one in others):
        return None
    if not others:
        if reference.key != traffic.key:
            raise UsageError(
                f"{reference.name}: hashed with the key {reference.key}, but {traffic.name} with {traffic.key}: their "
                "words cannot be compared; give files of one key"
            )
        return reference.buckets, traffic.buckets
    path = key_file or key_path(hashed.name.removesuffix(".1"))
    key = read_key(path)
    if key_name(key) != hashed.key:
        raise UsageError(f"{path}: this is the key {key_name(key)}, but {hashed.name} was made with {hashed.key}")
    bucket = make_bucket(key)
    return tuple(one.buckets or [buckets_of(text, bucket) for text in one.texts] for one in (reference, traffic))
