"""Rows of JSON: what the values of records become, and where the records of a whole file are."""

import json

from core.dialects import Rejected
from core.other_kinds import PYTHON, refuse_other_records
from utils import UsageError, shortened

# Objects inside objects in which records are looked for.
MAX_DEPTH = 3
# Keys of annotation tools, whose exports data/doccano.py reads.
ANNOTATED = ({"data", "annotations"}, {"data", "completions"}, {"annotation_id", "lead_time"})
# Of an answer in an export of Argilla.
ARGILLA = {"value", "user_id"}


def to_text(value):
    """A value of a record as the text of a field: a list of one as that, other lists and objects as JSON."""
    if value.__class__ is str:
        return value
    if value is None:
        return ""
    if isinstance(value, list) and len(value) == 1:
        return to_text(value[0])
    if isinstance(value, dict) and value.keys() >= ARGILLA:
        return to_text(value["value"])
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return json.dumps(value, ensure_ascii=False, default=str) if value != [] else ""
    return "" if value != value else str(value)  # NaN


def refused(record):
    """A Rejected for a record of Prodigy that nobody accepted; None for others.

    The label that such a record has is what the text is not.
    """
    if "_task_hash" in record and record.get("answer") in ("reject", "ignore"):
        content = json.dumps(record, ensure_ascii=False, default=str)
        return Rejected(f"answer of Prodigy: {record['answer']}", shortened(content, 1000))
    return None


def flat(record):
    """A record whose objects are fields of their own: {"data": {"text": …}} has the field data.text."""
    found = {}
    for key, value in record.items():
        if isinstance(value, dict):
            found.update((f"{key}.{name}", inner) for name, inner in value.items())
        else:
            found[key] = value
    return found


def record_names(lines, where):
    """The fields of a file of records, from its first lines, in the order of their appearance."""
    values = []
    for line in lines[:1000]:
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError):
            continue
    return _names_of(values, where)


def _names_of(values, where):
    names = {}
    for value in values:
        if isinstance(value, dict):
            if any(keys <= value.keys() for keys in ANNOTATED):
                raise UsageError(
                    f"{where}: an export of an annotation tool; data/doccano.py reads it (--doccano_file)"
                )
            names.update(dict.fromkeys(flat(value)))
    refuse_other_records(where, values)
    if not names:
        width = max((len(value) for value in values if isinstance(value, list)), default=0)
        names = dict.fromkeys(map(str, range(1, width + 1)))
    if not names:
        raise UsageError(f"{where}: no JSON objects with texts and labels; give one a line, or a list of them")
    return list(names)


def json_rows(source, text):
    """The rows of a file that is one JSON value.

    Args:
        source (core.sources.Source): for messages.
        text (str): the whole file.

    Returns:
        tuple[list[str], Callable]: names of columns, and the rows as core.tables.Table has them; a row's number is
        that of its record, from 1.

    Raises:
        UsageError: not JSON, or no records in it.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip("\ufeff[ \n").startswith("{'"):
            raise UsageError(f"{source.name}: {PYTHON}") from None
        raise UsageError(f"{source.name}: not readable as JSON ({error}); save it again, as JSON or CSV") from None
    records = _records(value, source.name)
    if records and not isinstance(records[0], (dict, list)):
        records = [[record] for record in records]
    names = _names_of(records[:1000], source.name)

    def rows(is_row=None, skim=False, whole=False):
        for number, record in enumerate(records, 1):
            fields = flat(record) if isinstance(record, dict) else dict(zip(names, record))
            if isinstance(record, dict) and (why := refused(record)):
                yield number, why
                continue
            if whole:
                yield number, record if isinstance(record, dict) else fields
                continue
            yield number, [to_text(fields.get(name)) for name in names]

    return names, rows


def _records(value, where, depth=0):
    """The list of records in a JSON value."""
    if isinstance(value, list):
        return value
    parts = list(value.values()) if isinstance(value, dict) else []
    if len(parts) > 1 and all(isinstance(part, list) and len(part) == len(parts[0]) for part in parts):
        is_records = any(isinstance(item, (dict, list)) for part in parts for item in part[:1])
        if not is_records:  # columns of values
            return [dict(zip(value, row)) for row in zip(*parts)]
    if len(parts) > 1 and all(isinstance(part, dict) for part in parts):
        keys = [tuple(part) for part in parts]
        if len(set(keys)) == 1 and len(parts) <= len(keys[0]) and not _is_record(parts[0], parts):
            return [dict(zip(value, row)) for row in zip(*(part.values() for part in parts))]  # pandas: columns
        if all(not isinstance(item, (dict, list)) for part in parts[:1] for item in part.values()):
            return parts  # pandas: index
    if isinstance(value, dict) and depth < MAX_DEPTH:
        held = {key: part for key, part in value.items() if isinstance(part, (list, dict)) and len(part) > 1}
        lists = {
            key: part for key, part in held.items() if isinstance(part, list) and isinstance(part[0], (dict, list))
        }
        if len(lists) == 1:
            return next(iter(lists.values()))
        if len(lists) > 1:
            names = ", ".join(lists)
            raise UsageError(f"{where}: several lists of records ({names}); save each in a file of its own")
        if len(held) == 1:
            return _records(next(iter(held.values())), where, depth + 1)
    raise UsageError(f"{where}: no list of records in this JSON; give a list of objects with a text and a label each")


def _is_record(part, parts):
    """Whether objects of the same keys are records (text, label) and not columns (0, 1, 2 …)."""
    return not all(str(key).isdigit() for key in part)
