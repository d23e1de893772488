"""Who gave a text which label: exports of doccano and Label Studio with several annotators, for agreement.py.

Label Studio   JSON and JSON-MIN of all versions, an annotation being its annotator's (completed_by, annotator,
               or before version 1.0 created_username); a cancelled one is none
doccano        the zip of a project without shared annotation, which has a file an annotator; several such files;
               the lists of numbers and users that versions before 1.3 write
annotate.py    labels.jsonl of its working folder
"""

import collections
import zipfile
from dataclasses import dataclass
from pathlib import Path

from data.annotations import SHARED, RecordError, label_of, listed, one_line, parse_json
from data.label_studio import (
    LabelStudioError,
    find_project,
    is_minimal,
    is_task,
    labels_of_minimal,
    labels_of_task,
)
from utils import UsageError

# What a line of annotate.py's labels.jsonl has; see deploy/annotation/journal.py.
JOURNAL_KEYS = {"text", "annotator", "label", "time"}
# Beside the annotators' files, doccano writes one of the texts that nobody has labelled.
NOBODY = "unknown"


@dataclass(frozen=True)
class Vote:
    """One annotator's label of a text."""

    place: str
    annotator: str
    text: str
    label: str


def read_votes(paths, text_key=None, choice=None):
    """Read who gave which label.

    Args:
        paths (list[Path]): exports; a file of doccano's is its annotator's, who is called as the file is.
        text_key, choice: see data.annotations.read_records.

    Returns:
        tuple[list[Vote], Counter]: the last label of each annotator for each text, in the order of the files; and
        what is to be told -> how often: several_labels, annotations that are left out; pre_annotated, records of
        doccano's that were imported with a model's label, which is its importer's where nobody has changed it.

    Raises:
        UsageError: no such file, records that are none, no annotators' names, or fewer than two annotators.
    """
    files = [part for path in map(Path, paths) for part in _files_of(path)]
    found, told, problems, stamps = {}, collections.Counter(), [], {}
    for number, (where, name, data) in enumerate(files):
        values = list(parse_json(where, data))
        others = [value for _, value in values if not _is_event(value)]
        project = find_project(where, others, text_key, choice)
        for place, value in values:
            told["pre_annotated"] += _is_pre_annotated(value)
            try:
                for annotator, text, label, when in _votes_of(value, project, name):
                    key = annotator, text
                    if _is_event(value) and label is None:  # taken back
                        found.pop(key, None)
                    elif isinstance(label, tuple):
                        told["several_labels"] += 1
                    elif label is not None:
                        earlier = stamps.get(key) if key in found else None
                        # JSON-MIN and the tables of Label Studio's converter begin with the newest.
                        if earlier and earlier[0] == number and (when or "") < earlier[1]:
                            continue
                        if earlier and earlier[0] != number and when is None and found[key].label != label:
                            raise RecordError(
                                f"another label than in {found[key].place}, and both files are called {name}: call "
                                "each file as its annotator, or leave an older export out"
                            )
                        found[key], stamps[key] = Vote(place, annotator, text, label), (number, when or "")
            except (RecordError, LabelStudioError) as error:
                problems.append(f"{place}: {error}")
    if problems:
        raise UsageError(listed(problems))
    annotators = {annotator for annotator, _ in found}
    if len(annotators) > 1 and any(name == SHARED for _, name, _ in files) and SHARED in annotators:
        raise UsageError(
            f"{paths[0]}: doccano calls a file {SHARED} that does not say who gave which label; give the files of a "
            "project without shared annotation, or, where one person gave all of them, call the file as that person"
        )
    if len(annotators) < 2:
        who = f"only {next(iter(annotators))}" if annotators else "nobody"
        raise UsageError(
            f"{paths[0]}: {who} has labelled texts in it; agreement takes two annotators (doccano: a project without "
            "shared annotation; Label Studio: JSON with several annotations a task)"
        )
    return list(found.values()), +told


def names_annotators(path, text_key=None, choice=None):
    """Whether an export says who gave which label, of at least two people who gave each text one."""
    try:
        return not read_votes([path], text_key, choice)[1]["several_labels"]
    except UsageError:
        return False


def _is_event(value):
    """Whether a record is a line of annotate.py's labels.jsonl."""
    return isinstance(value, dict) and value.keys() == JOURNAL_KEYS


def _is_pre_annotated(value):
    """Whether a record of doccano's has the score that doccano.py imported it with."""
    return isinstance(value, dict) and not is_task(value) and not is_minimal(value) and bool(value.get("score"))


def _files_of(path):
    """(place, annotator, bytes) of each file of records: a zip has one an annotator."""
    try:
        if not zipfile.is_zipfile(path):
            return [(str(path), path.stem, path.read_bytes())]
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.lower().endswith((".json", ".jsonl"))]
            if not names:
                raise UsageError(f"{path}: no .json or .jsonl file in it; export the project as JSONL or JSON")
            return [(f"{path}:{name}", Path(name).stem, archive.read(name)) for name in names]
    except (OSError, zipfile.BadZipFile, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: cannot be read ({reason}); give an export of doccano or Label Studio") from None


def _votes_of(value, project, name):
    """(annotator, text, label as of label_of, when) of each annotation of a record.

    `when` is "" where it is not told, and None where the annotator is called as the file is.

    Raises:
        RecordError, LabelStudioError: it is no record, or says nothing about who.
    """
    if not isinstance(value, dict):
        raise RecordError("not a JSON object; export the project as JSONL or JSON")
    if _is_event(value):
        yield _named(value["annotator"]), _text(value["text"], project), label_of(value["label"]), ""
    elif is_task(value):
        text = _text(value["data"].get(project.text_key), project)
        annotations = value.get("annotations", value.get("completions")) or []
        for annotation in annotations if isinstance(annotations, list) else ():
            if isinstance(annotation, dict):
                labels = labels_of_task({**value, "annotations": [annotation]}, project)
                if labels:
                    yield _person(annotation), text, label_of(labels), _when(annotation)
    elif is_minimal(value):
        labels = labels_of_minimal(value, project)
        if labels:
            text = _text(value.get(project.text_key), project)
            yield _named(value.get("annotator")), text, label_of(labels), _when(value)
    elif "annotations" in value:  # doccano before 1.3
        text, votes = _text(value.get("text"), project), collections.defaultdict(list)
        for annotation in value["annotations"] or []:
            if not isinstance(annotation, dict) or "start_offset" in annotation or "label" not in annotation:
                raise RecordError("spans instead of labels; this needs a text classification project")
            votes[_named(annotation.get("user"))].append(annotation["label"])
        for annotator, labels in votes.items():
            yield annotator, text, label_of(labels), ""
    else:
        labels = label_of(value.get("label", value.get("labels", value.get("cats"))))
        text = value.get(project.text_key) if project.text_key else value.get("text", value.get("data"))
        if labels is None or name == NOBODY:
            return
        if isinstance(labels, tuple) and name == SHARED:
            raise RecordError(
                f"{len(labels)} labels ({', '.join(labels)}), and nobody can tell whose; export a project in which "
                "annotation is not shared, which gives a file an annotator"
            )
        yield name, _text(text, project), labels, None


def _when(annotation):
    """When an annotation of Label Studio's was made: text that sorts, "" where it is not told."""
    return next((own for own in map(annotation.get, ("created_at", "updated_at")) if isinstance(own, str)), "")


def _text(text, project):
    if not isinstance(text, str) or not text.strip():
        raise RecordError(f'no text; every record needs one under "{project.text_key or "text"}"')
    return one_line(text)


def _person(annotation):
    """Whose annotation of Label Studio's it is."""
    who = annotation.get("completed_by")
    if isinstance(who, dict):
        who = who.get("email") or who.get("username") or who.get("id")
    return _named(who if who not in (None, "") else annotation.get("created_username"))


def _named(who):
    if isinstance(who, (list, tuple)) and len(who) == 1:
        who = who[0]
    if isinstance(who, dict):
        who = who.get("email") or who.get("id")
    if not isinstance(who, (str, int)) or isinstance(who, bool) or not str(who).strip():
        raise RecordError("an annotation without its annotator; export the project as JSON, with all annotations")
    return one_line(str(who))
