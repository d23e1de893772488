"""Files that hold no texts with one label each, known by what is in them: dumps, tags of words, pairs, conversations.

Read as tables they would give nonsense, or a refusal about columns that tells nobody what to do.
"""

import re

from core.columns import HEADER_LABELS, name_score
from utils import UsageError

# The share of lines, or records, that must look so.
MOST, SOME = 0.9, 0.15
PYTHON = "records as Python prints them, not JSON; write them as JSON lines: json.dumps(ast.literal_eval(line))"
SQL = re.compile(
    r"\s*(?:insert\s+(?:or \w+ )?into|copy\s+\S+.*\sfrom\s+stdin|create\s+table|drop\s+table"
    r"|lock\s+tables|begin\s+transaction|pragma\s+\w+\s*=|-- (?:mysql|mariadb|postgresql|sqlite|dump))\b",
    re.IGNORECASE,
)
ROWS_OF_SQL = re.compile(r"\s*(?:insert\s.*\bvalues\b[^\t]*[;,(]|copy\s.*\sfrom\s+stdin;)\s*", re.IGNORECASE)
TIMES = re.compile(r"(?:\d+:)?\d{2}:\d{2}[,.]\d{3} --> ")
FEATURES = re.compile(r"[-+]?\d[\d.,]*(?:\s+(?:qid|\d+):[-+]?\d[\d.eE+-]*)+\s*(?:#.*)?")
TAGGED = re.compile(r"\S{1,40}[ \t]+(?:\S{1,40}[ \t]+){0,8}(?:[BIESMLU][-_]\S{1,30}|O)\s*")
KEY = re.compile(r"\s*(?:- )?[A-Za-z_]\w*: \S.*|\s*- [A-Za-z_]\w*:\s*")
# Names of columns that are two texts to be compared.
PAIRS = (
    {"sentence1", "sentence2"}, {"text_a", "text_b"}, {"texta", "textb"}, {"text1", "text2"}, {"s1", "s2"},
    {"question1", "question2"},
    {"premise", "hypothesis"}, {"query1", "query2"}, {"sentence_a", "sentence_b"}, {"句子1", "句子2"},
    {"文本1", "文本2"}, {"query", "title"}, {"query", "doc"}, {"query", "passage"},
)  # fmt: skip
A_PAIR = "pairs of texts to be compared, as their names say, and no classification of one text"


def refuse_other_kinds(where, lines):
    """Raise UsageError where the lines of a text file are of another kind.

    Args:
        where (str): the file.
        lines (list[str]): its first ones, without blank lines.
    """
    what = kind_of_lines(lines[:1000])
    if what:
        raise UsageError(f"{where}: {what}")


def kind_of_lines(lines):
    """What such lines are, and what to do with them, in words; None for what may be a table."""
    first = lines[0].lstrip("\ufeff ")
    if first.startswith("{\\rtf"):
        return "a text with its layout (RTF); open it in a word processor, and copy its table to a spreadsheet"
    if first.startswith(("[{'", "({'")) or _share(lines, lambda line: re.match(r"\s*[\[(]?\{'", line)) >= MOST:
        return PYTHON
    if SQL.match(first) and any(map(ROWS_OF_SQL.fullmatch, lines)):
        return "statements of SQL; load them into a database, and export its table as CSV (sqlite3 -csv -header)"
    if _share(lines, TIMES.match) >= SOME:
        return "subtitles with their times; give a table of texts and labels"
    if _share(lines, FEATURES.fullmatch) >= MOST:
        return "numbers of features (LIBSVM), not texts; give the texts that they were made of"
    if _share(lines, TAGGED.fullmatch) >= MOST and any(re.search(r"[ \t][BSU][-_]\S+\s*$", line) for line in lines):
        return "one word a line with its tag (CoNLL): entities inside texts, and no classification of texts"
    if first.startswith("- ") and _share(lines, KEY.fullmatch) >= MOST:
        return "YAML; write it as JSON: json.dump(yaml.safe_load(file), out, ensure_ascii=False)"
    return None


def _share(lines, test):
    return sum(bool(test(line)) for line in lines) / len(lines)


def refuse_other_records(where, records):
    """Raise UsageError where records of JSON are of another kind.

    Args:
        where (str): the file.
        records (list): its first ones.
    """
    records = [record for record in records if isinstance(record, dict)]
    what = records and kind_of_records(records)
    if what:
        raise UsageError(f"{where}: {what}")


def kind_of_records(records):
    """What such records (list[dict]) are, in words; None for what may be texts with labels."""

    def most(test):
        return sum(bool(test(record)) for record in records) > 0.5 * len(records)

    if most(lambda record: "paragraphs" in record or {"context", "question", "answers"} <= record.keys()):
        return "questions with answers inside a text (as SQuAD), and no classification of texts"
    if most(lambda record: {"chosen", "rejected"} <= record.keys()):
        return "answers of which one is preferred, and no classification of texts"
    talks = [
        key
        for key in ("messages", "conversations", "conversation")
        if most(lambda record, key=key: _is_talk(record, key))
    ]
    if talks:
        return (
            f"conversations ({talks[0]}); where the last turn is the label, take both out first, in Python: "
            f"{{'text': record[{talks[0]!r}][0][…], 'label': record[{talks[0]!r}][-1][…]}}"
        )
    for key in dict.fromkeys(key for record in records[:100] for key in record):
        is_label = name_score(str(key), HEADER_LABELS)
        others = any(
            name_score(str(name), HEADER_LABELS) and isinstance(value, (str, int))
            for name, value in records[0].items()
        )
        if most(lambda record, key=key: _are_spans(record.get(key))) and (is_label or not others):
            return f"{key} holds places inside the texts: entities, and no classification of texts"
    return None


def _is_talk(record, key):
    turns = record.get(key)
    return isinstance(turns, list) and bool(turns) and isinstance(turns[0], dict) and len(turns[0]) > 1


def _are_spans(value):
    """Whether a value is a list of [start, end, label], of objects with these, or places by label and words."""
    if isinstance(value, dict):
        inner = [part for one in value.values() for part in (one.values() if isinstance(one, dict) else ())]
        return bool(inner) and all(isinstance(part, list) and part and isinstance(part[0], list) for part in inner)
    if not isinstance(value, list) or not value:
        return False
    return all(
        isinstance(item, list)
        and len(item) == 3
        and sum(isinstance(part, int) for part in item) == 2
        or isinstance(item, dict)
        and bool({"start", "start_offset", "start_idx", "begin"} & item.keys())
        for item in value
    )


def is_pair(names):
    """Whether two columns are called as texts that are compared."""
    return {name.strip().lower() for name in names} in PAIRS
