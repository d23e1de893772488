"""What every script needs: errors, reading data, metrics and reports, safe writing.

Nothing here imports paddle or paddlenlp, which take seconds: a wrong flag or a bad line is reported at once.
"""

import contextlib
import difflib
import functools
import itertools
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from core.encodings import describe_encoding
from core.endings import end_with_message

# A small number of label names in a message is help, a large one is noise.
MAX_NAMES_IN_MESSAGE = 20

# Characters of an unknown label that are compared with the known ones: a whole line may stand in its place.
MAX_LABEL_IN_HINT = 100


class UsageError(Exception):
    """Something the user can mend; the message says where, what is wrong and how to mend it."""


@contextlib.contextmanager
def exit_on_usage_error():
    """Without a traceback: a UsageError or a full disk as a message and exit code 2, Ctrl-C as one and 130."""
    try:
        yield
    except (UsageError, KeyboardInterrupt, OSError) as error:
        sys.exit(end_with_message(error, isinstance(error, UsageError)))


# --------------------------------------------------------------------------------------------------------- data files


def read_lines(path):
    """Read a UTF-8 text file, with or without BOM, with LF, CRLF or CR ends, into its lines.

    Blank lines at the end of the file are dropped, others are kept so that line numbers stay right.

    Raises:
        UsageError: no such file, not a file, empty, or not UTF-8 (with the line).
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; create it or give another path") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); give the path of a readable file") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(describe_encoding(path, data, error.start)) from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise UsageError(f"{path}: the file is empty; write one sample a line")
    return lines


def read_labels(path):
    """Read label.txt: one label a line, or `label==word`; its order gives the class ids.

    Returns:
        list[str]: the labels without their words, at least two.

    Raises:
        UsageError: a blank, repeated or tab-bearing line, an empty word, or fewer than two labels.
    """
    labels, problems = parse_labels(read_lines(path))
    if problems:
        number, message = problems[0]
        raise UsageError(f"{path}:{number}: {message}")
    return labels


def read_label_words(path):
    """Read the words that stand for the labels in prompts: `label==word` of label.txt, else the label itself.

    Returns:
        dict[str, str]: label to word, in the order of class ids.

    Raises:
        UsageError: as read_labels.
    """
    read_labels(path)
    return dict(split_label(line) for line in read_lines(path))


def split_label(line):
    """Label and word of a line of label.txt."""
    label, separator, word = line.partition("==")
    return label.strip(), word.strip() if separator else label.strip()


def parse_labels(lines):
    """Find the labels in the lines of label.txt, and everything that is wrong with them.

    Returns:
        tuple[list[str], list[tuple[int, str]]]: the labels without the wrong lines; line numbers and messages.
    """
    first_line, problems = {}, []
    for number, line in enumerate(lines, 1):
        label, word = split_label(line)
        if not line.strip():
            problems.append((number, "blank line; delete it, since every line is one class"))
        elif not label or not word:
            problems.append((number, f"nothing on one side of == in {line.strip()!r}; write label==word"))
        elif "\t" in label:
            problems.append((number, f"a tab inside the label {label!r}; write one label a line"))
        elif label in first_line:
            problems.append((number, f"label {label!r} is already in line {first_line[label]}; delete one"))
        else:
            first_line[label] = number
    if len(first_line) < 2 and not problems:
        problems.append((1, "only one label; a classifier needs at least two, one a line"))
    return list(first_line), problems


def read_examples(path, labels):
    """Read `<text>\\t<label>` lines.

    Args:
        path: train.txt, dev.txt or test.txt.
        labels (list[str]): the labels in the order of their class ids.

    Returns:
        tuple[list[str], list[int]]: texts and class ids, in file order.

    Raises:
        UsageError: a line without a tab, with two tabs, with an empty text or with an unknown label.
    """
    label2id = {label: index for index, label in enumerate(labels)}
    texts, ids = [], []
    for number, line in enumerate(read_lines(path), 1):
        example = parse_example(line, label2id)
        if example is None:
            raise UsageError(f"{path}:{number}: {example_problem(line, label2id)[1]}")
        texts.append(example[0])
        ids.append(example[1])
    return texts, ids


def parse_example(line, label2id):
    """The text and the class id of one line, or None where train.py cannot take it (see example_problem)."""
    text, *rest = line.split("\t")
    if len(rest) != 1:
        return None
    text, class_id = text.strip(), label2id.get(rest[0].strip())
    return None if class_id is None or not text else (text, class_id)


def example_problem(line, label2id):
    """What is wrong with a line that parse_example refuses.

    Returns:
        tuple[str, str]: the kind (blank_line, no_tab, extra_tab, empty_text, swapped_columns or unknown_label), and
        the message.
    """
    if not line.strip():
        return "blank_line", "blank line; delete it"
    text, *rest = line.split("\t")
    if not rest:
        return "no_tab", "no tab; write <text>, a tab, <label>"
    if len(rest) > 1:
        return "extra_tab", f"{len(rest)} tabs; keep the one before the label, put spaces inside the text"
    text, label = text.strip(), rest[0].strip()
    if not text:
        return "empty_text", "the text is empty; write one or delete the line"
    if text in label2id:
        return "swapped_columns", f"the label {text!r} comes first; write <text>, a tab, <label>"
    return "unknown_label", f"unknown label {shortened(label)!r}; {_suggest_label(label, tuple(label2id))}"


def read_cases(path):
    """Read texts that are to be looked at: bad_case.txt, dev.txt, data.txt and the like.

    Args:
        path: a text a line, or text and label, or text, label, prediction and score with tabs between; a header line
            `Text<Tab>Label…` is skipped.

    Returns:
        list[tuple[int, str, str, str, str]]: line number, text, label, prediction and score, "" for what is missing.

    Raises:
        UsageError: a line without a text or with more columns, or no line below the header.
    """
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        columns = [column.strip() for column in line.split("\t")]
        if number == 1 and [column.lower() for column in columns[:2]] == ["text", "label"]:
            continue
        if not columns[0]:
            raise UsageError(f"{path}:{number}: no text; delete the line, or put the text before the first tab")
        if len(columns) > 4:
            raise UsageError(f"{path}:{number}: {len(columns)} columns; at most text, label, prediction and score")
        rows.append((number, *[*columns, "", "", ""][:4]))
    if not rows:
        raise UsageError(f"{path}: nothing below the header; write a text a line")
    return rows


def read_texts(data_dir, labels):
    """Read the texts that are to be predicted: test.txt, with or without labels; where there is none, data.txt.

    Args:
        data_dir: the folder.
        labels (list[str]): in class order.

    Returns:
        tuple[list[str], list[int] | None]: texts, and class ids where test.txt has labels.

    Raises:
        UsageError: neither file is there, or a line is wrong.
    """
    folder = Path(data_dir)
    test, data = folder / "test.txt", folder / "data.txt"
    if test.is_file() and any("\t" in line for line in read_lines(test)):
        return read_examples(test, labels)
    if not test.is_file() and not data.is_file():
        raise UsageError(f"{folder}: neither test.txt nor data.txt, so there is nothing to predict; add one of them")
    return [text for _, text, *_ in read_cases(test if test.is_file() else data)], None


def shortened(text, length=60):
    """The text, cut with an ellipsis where it is longer than `length`."""
    return text if len(text) <= length else text[: length - 1] + "…"


@functools.lru_cache(maxsize=1024)
def _suggest_label(label, labels):
    close = difflib.get_close_matches(label[:MAX_LABEL_IN_HINT], labels, n=1)
    if close:
        return f"did you mean {close[0]!r}? Correct it, or add the label to the label file"
    known = " ".join(labels[:MAX_NAMES_IN_MESSAGE]) + (" …" if len(labels) > MAX_NAMES_IN_MESSAGE else "")
    return f"use one of: {known}; or add it to the label file"


def read_json(path):
    """The JSON object in a file of ours; empty where there is none that can be read."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    except (OSError, ValueError):
        return {}


# ------------------------------------------------------------------------------------------------ metrics and reports


def evaluation_report(split, labels, truth, predicted):
    """The report on a data set: its size, accuracy, macro averages, and each class.

    Args:
        split (str): dev or test.
        labels (list[str]): in class order.
        truth, predicted: class ids [samples].

    Returns:
        list[str]: lines.
    """
    import numpy as np

    truth, predicted = np.asarray(truth), np.asarray(predicted)
    # Counted here: scikit-learn's report of the same numbers takes long where there are thousands of classes.
    groups = (truth[truth == predicted], predicted, truth)
    return report_of_counts(split, labels, *(np.bincount(group, minlength=len(labels)) for group in groups))


def report_of_counts(split, labels, right, found, true):
    """evaluation_report of samples that are counted already: by class int arrays [classes] of those that are rightly
    predicted, predicted, and there."""
    import numpy as np

    size = int(true.sum())
    parts = ((right, found), (right, true), (2 * right, found + true))
    scores = np.stack([part / np.maximum(whole, 1) for part, whole in parts])

    def told(values):
        return "precision: {:.2f} | recall: {:.2f} | F1 score {:.2f}".format(*(100 * value for value in values))

    lines = [
        "-----Evaluate model-------",
        f"{split.capitalize()} dataset size: {size}",
        f"Accuracy in {split} dataset: {right.sum() / size:.2%}",
        f"Macro average | {told(scores.mean(axis=1))}",
    ]
    for label, samples, values in zip(labels, true.tolist(), scores.T.tolist()):
        lines += [
            f"Class name: {label}",
            f"Evaluation examples in {split} dataset: {samples}({samples / size:.1%}) | {told(values)}",
            "----------------------------",
        ]
    return lines


def prediction_lines(texts, given, answers):
    """The lines of a file of predictions, such as bad_case.txt, which names its columns in the first.

    Args:
        texts (Iterable[str]): what was predicted.
        given (Iterable[str] | None): their labels where they have some.
        answers (Iterable[tuple[str, float]]): label and probability of each.
    """
    rows = zip(texts, itertools.repeat("") if given is None else given, answers)
    return ["Text\tLabel\tPrediction\tScore",
            *(f"{text}\t{label}\t{answer}\t{score:.4f}" for text, label, (answer, score) in rows)]  # fmt: skip


def format_table(rows):
    """Lines of a table with aligned columns.

    Args:
        rows (list[dict]): cells by column; all rows have the columns of the first one.

    Returns:
        list[str]: a header line, then a line a row.
    """
    columns = list(rows[0])
    cells = [columns, *([str(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in cells]


# ------------------------------------------------------------------------------------------------------- safe writing


@contextlib.contextmanager
def staged_files(target_dir):
    """Yield an empty folder; when the block ends well, move its files into `target_dir`, each by one rename.

    Files of the same names are replaced, in folders below it too; everything else in `target_dir` stays. When the
    block fails, `target_dir` is as it was.
    """
    target_dir = Path(target_dir)
    try:
        target_dir.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".writing-", dir=target_dir))
    except OSError as error:
        raise UsageError(f"{target_dir}: cannot write there ({error.strerror}); choose another folder") from None
    try:
        yield stage
        for path in sorted(path for path in stage.rglob("*") if path.is_file()):
            target = target_dir / path.relative_to(stage)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextlib.contextmanager
def replaced_folder(target, is_ours, flag="--output_dir"):
    """Yield an empty folder beside `target`; when the block ends well, it becomes `target` by a rename.

    An earlier folder of that name is deleted; whoever looks sees the old one, none or the new one, never a part.

    Args:
        target: the folder; it need not be there.
        is_ours (Callable[[Path], bool]): whether a folder that is there may be replaced.
        flag (str): what the user chose the folder with.

    Raises:
        UsageError: the folder cannot be written, or `target` may not be replaced.
    """
    target = Path(target)
    if target.exists() and not is_ours(target):
        raise UsageError(f"{target}: is there and was not made here; move it away, or choose another {flag}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".writing-", dir=target.parent))
    except OSError as error:
        raise UsageError(f"{target}: cannot write there ({error.strerror}); choose another {flag}") from None
    try:
        (stage / "new").mkdir()
        yield stage / "new"
        if target.exists():
            os.replace(target, stage / "old")
        try:
            os.replace(stage / "new", target)
        except OSError:
            if (stage / "old").exists():
                os.replace(stage / "old", target)
            raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def check_save_dir(save_dir, names, force):
    """Refuse a folder whose files would be replaced, unless `force`.

    Args:
        save_dir (Path): it need not be there.
        names (Iterable[str]): the files that will be written.
        force (bool): they may be replaced.

    Raises:
        UsageError: naming the files that are there.
    """
    existing = [name for name in names if os.path.lexists(save_dir / name)]
    if existing and not force:
        raise UsageError(
            f"{save_dir}: already has {' '.join(existing)}; add --force to replace them, or choose another --save_dir"
        )
    for name in existing:
        # Found now, before any file is replaced.
        if (save_dir / name).is_dir():
            raise UsageError(f"{save_dir / name}: is a folder; move it away, or choose another --save_dir")


def write_lines(save_dir, contents, flag="--save_dir"):
    """Write text files into a folder, which is made where it is not there: all of them or none.

    Args:
        save_dir (Path): the folder.
        contents (dict[str, list[str]]): file name -> lines.
        flag (str): what the user chose the folder with.

    Raises:
        UsageError: the folder cannot be written to.
    """
    try:
        with staged_files(save_dir) as stage:
            for name, lines in contents.items():
                (stage / name).write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))
    except OSError as error:
        raise UsageError(f"{save_dir}: cannot write there ({error.strerror}); choose another {flag}") from None


def write_json(path, value, ascii_only=False):
    """Write indented UTF-8 JSON; `ascii_only` for files that others open in the machine's own encoding."""
    Path(path).write_bytes((json.dumps(value, ensure_ascii=ascii_only, indent=2) + "\n").encode("utf-8"))
