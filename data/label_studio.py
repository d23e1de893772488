"""Label Studio's formats: what its exports hold, and the tasks with predictions that it imports."""

import re
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from core.columns import ID
from utils import UsageError, shortened

# What doccano.py --text_file adds to a text, which comes back with the export.
META_KEYS = ("score", "given_label", "origin")
# Keys of JSON-MIN that are neither data nor answers; those of the second group come behind the answers.
ID_KEY, MIN_KEYS = "id", ("annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement")
# What shows that a record is JSON-MIN.
MIN_MARKS = {"annotator", "annotation_id", "lead_time"}

MEDIA = re.compile(
    r"\s*(data:(image|audio|video)/|\S+\.(png|jpe?g|gif|bmp|webp|tiff?|svg|wav|mp3|m4a|flac|ogg|mp4|webm|pdf)(\?\S*)?\s*$)",
    re.IGNORECASE,
)
ADDRESS = re.compile(r"\s*(https?|s3|gs)://\S+\s*$|\s*[\d\W]*$")


class LabelStudioError(Exception):
    """What is wrong with one record, without its place."""


@dataclass
class Project:
    """Where the records of one export have their texts and their labels.

    Attributes:
        text_key (str | None): of the data; None where nothing was exported by Label Studio.
        choices (list[str]): names of the <Choices> that were used; JSON before 1.0 may have None in it.
        choice (str | None): the one that the user chose.
    """

    text_key: str
    choices: list
    choice: str = None

    def only_choice(self):
        """The name of the <Choices> that count.

        Raises:
            LabelStudioError: there are several, and none was chosen.
        """
        if self.choice is None and len(self.choices) > 1:
            names = ", ".join(map(str, self.choices))
            raise LabelStudioError(f"several answers ({names}); choose one, such as --choice {self.choices[0]}")
        return self.choice if self.choice is not None else next(iter(self.choices), None)


def is_task(value):
    """Whether a record is one of Label Studio's JSON."""
    return isinstance(value, dict) and isinstance(value.get("data"), dict)


def is_minimal(value):
    """Whether a record is one of JSON-MIN."""
    return isinstance(value, dict) and not is_task(value) and bool(MIN_MARKS & set(value))


def find_project(where, values, text_key=None, choice=None):
    """Find in all records of an export where texts and labels are.

    Args:
        where: the file, for messages.
        values (list): the records.
        text_key, choice (str | None): the user's choice.

    Raises:
        UsageError: no text or several in each task, pictures, an unknown --text_key or --choice.
    """
    tasks, minimal = list(filter(is_task, values)), list(filter(is_minimal, values))
    if not tasks and not minimal:
        return Project(text_key, [], choice)
    found = {result.get("from_name") for task in tasks for result in results_of(task) if _is_choice(result)}
    answers = _answer_keys(where, minimal, text_key, choice)
    choices = [*sorted(found, key=str), *answers]
    rows = [task["data"] for task in tasks]
    rows += [{key: value[key] for key in _data_keys(value) if key not in answers} for value in minimal]
    if choice is not None and choices and choice not in choices:
        raise UsageError(f"{where}: no <Choices> of the name {choice}; --choice takes {', '.join(map(str, choices))}")
    return Project(_find_text_key(where, rows, text_key), choices, choice)


def _answer_keys(where, records, text_key, choice):
    """The keys of JSON-MIN that hold answers: they stand between the id and the annotator, behind the data.

    Where the data has an id of its own, or a program has sorted the keys, all keys but that of the text do.
    """
    found = {}
    for value in records:
        keys = list(value)
        first = keys.index(ID_KEY) if ID_KEY in keys else 0
        last = min((keys.index(key) for key in MIN_KEYS if key in keys), default=0)
        if not 0 < first < last:
            break
        found.update(dict.fromkeys(keys[first + 1 : last]))
    else:
        return list(found)
    rows = [{key: value[key] for key in _data_keys(value) if key != choice} for value in records]
    own = _find_text_key(where, rows, text_key)
    return list(dict.fromkeys(key for value in records for key in _data_keys(value) if key != own))


def _data_keys(value):
    return [key for key in value if key not in (ID_KEY, *MIN_KEYS, *META_KEYS)]


def _find_text_key(where, rows, text_key):
    """The key of the texts: the user's, `text`, the only one with texts, or one with by far the longest."""
    values = {}
    for row in rows:
        for key, value in row.items():
            if key not in META_KEYS:
                values.setdefault(key, []).append(value)
    if text_key is not None:
        if text_key not in values:
            raise UsageError(f"{where}: no task has {text_key!r}; --text_key takes {', '.join(values)}")
        _refuse_media(where, {text_key: values[text_key]})
        return text_key
    if "text" in values:
        _refuse_media(where, {"text": values["text"]})
        return "text"
    texts = {}
    for key, some in values.items():
        some = [value for value in some if isinstance(value, str) and value.strip()]
        if some:
            texts[key] = some
    no_text = {key for key, some in texts.items() if all(map(_is_no_text, some))}
    kept = {key: some for key, some in texts.items() if key not in no_text}
    if not kept:
        _refuse_media(where, texts)
        keys = ", ".join(values) or "nothing"
        raise UsageError(f"{where}: no text in the tasks, only {keys}; name it with --text_key")
    if len(kept) == 1:
        return next(iter(kept))
    # Names of sources and the like come again and again, and titles are short.
    varied = {key: some for key, some in kept.items() if 2 * len(set(some)) > len(some)} or kept
    lengths = {key: sum(map(len, some)) / len(some) for key, some in varied.items()}
    first, *others = sorted(lengths, key=lengths.get, reverse=True)
    if others and lengths[first] < 3 * lengths[others[0]]:
        shown = "; ".join(f"{key}: {shortened(varied[key][0], 30)!r}" for key in (first, *others))
        raise UsageError(f"{where}: several texts in each task ({shown}); choose one, such as --text_key {first}")
    return first


def _is_no_text(value):
    """Whether a value is an address, a number or a file."""
    return bool(ADDRESS.match(value) or MEDIA.match(value) or ID.fullmatch(value.strip()))


def _refuse_media(where, values):
    for key, some in values.items():
        if some and all(isinstance(value, str) and MEDIA.match(value) for value in some):
            raise UsageError(
                f"{where}: {key!r} holds pictures, sound or documents, such as {shortened(some[0])!r}; this needs a "
                "project with texts"
            )


def results_of(task):
    """The results of the annotations of a task that were not cancelled; predictions are none: list[dict]."""
    annotations = task.get("annotations", task.get("completions")) or []
    results = []
    for annotation in annotations if isinstance(annotations, list) else ():
        if isinstance(annotation, dict) and not annotation.get("was_cancelled"):
            results += [result for result in annotation.get("result") or [] if isinstance(result, dict)]
    return results


def _is_choice(result):
    value = result.get("value")
    return isinstance(value, dict) and "choices" in value


def labels_of_task(task, project):
    """The labels that annotators gave to a task: list, empty where none did.

    Raises:
        LabelStudioError: they gave something else, or there are several <Choices>.
    """
    results, labels = results_of(task), []
    name = project.only_choice()
    for result in results:
        if _is_choice(result):
            if "start" in result["value"]:
                raise LabelStudioError(
                    "choices for parts of the text; this needs a project with <Choices> for all of it"
                )
            if result.get("from_name") == name:
                labels += result["value"]["choices"] or []
    if results and not project.choices:
        values = [result.get("value") or {} for result in results]
        kinds = {str(result.get("type") or next(iter(value), "nothing")) for result, value in zip(results, values)}
        what = "spans" if any({"start", "labels"} & set(value) for value in values) else ", ".join(sorted(kinds))
        raise LabelStudioError(f"{what} instead of choices; this needs a project with <Choices>")
    return labels


def labels_of_minimal(value, project):
    """The labels of a JSON-MIN record.

    Raises:
        LabelStudioError: there are several <Choices>.
    """
    answer = value.get(project.only_choice())
    return answer.get("choices") if isinstance(answer, dict) else answer


# ----------------------------------------------------------------------------------------------------- the way back


def make_tasks(rows, text_key, choice, to_name, model_version):
    """Tasks for Label Studio's import, with predictions that the annotator sees.

    Args:
        rows (list[dict]): with text, label, score ("" for none), given_label and origin.
        text_key (str): under which the interface finds the text.
        choice, to_name (str): names of the interface's <Choices> and <Text>.
        model_version (str): whose predictions these are.

    Returns:
        list[dict]: JSON-ready.
    """
    tasks = []
    for row in rows:
        task = {"data": {text_key: row["text"], **{key: row[key] for key in META_KEYS}}}
        label = row["label"] or row["given_label"]
        if label:
            value = {"choices": [label]}
            result = {"from_name": choice, "to_name": to_name, "type": "choices", "value": value}
            prediction = {"model_version": model_version if row["label"] else "given_label", "result": [result]}
            if row["label"] and row["score"]:
                prediction["score"] = float(row["score"])
            task["predictions"] = [prediction]
        tasks.append(task)
    return tasks


def make_interface(labels, text_key, choice, to_name):
    """The labelling interface that the tasks are made for: lines of XML."""
    name, to_name, key = quoteattr(choice), quoteattr(to_name), quoteattr(f"${text_key}")
    choices = [f"    <Choice value={quoteattr(label)}/>" for label in labels]
    head = f'  <Choices name={name} toName={to_name} choice="single" showInline="true">'
    return ["<View>", f"  <Text name={to_name} value={key}/>", head, *choices, "  </Choices>", "</View>"]
