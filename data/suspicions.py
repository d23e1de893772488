"""What files and labels look like that train.py takes, and would learn nothing from: see core/columns.py."""

import shlex

from core.any_file import other_format
from core.label_names import integer, names_beside
from core.tables import FASTTEXT
from data.reading import foreign_scripts
from utils import UsageError, shortened

# Lines that cannot be read, from which it is asked what the file is instead.
MOST = 0.5
# The share of letters of foreign scripts that is worth a warning.
FOREIGN = 0.1


def look_at_file(findings, name, columns):
    """Find what is wrong with a file as a whole.

    Args:
        findings (Findings): to be added to.
        name (str): train, dev or test.
        columns (core.columns.Columns): of its lines of two columns.
    """
    for number, message in columns.problems():
        findings.add("columns", name, number, message, "")
    if columns.names_columns() is None:
        names = " ".join(map(repr, columns.first))
        findings.add("header", name, 1, f"{names}: short, and the label is never seen again", "")
    if name == "train" and (label := columns.only_label()) is not None:
        message = f"all {columns.samples:,} samples have the label {shortened(label)!r}: there is nothing to learn"
        findings.add("columns", name, 0, message, "")


def look_at_format(findings, inputs, name, num_lines, num_samples):
    """Find whether a file that can hardly be read is one of another format: fastText, JSON, commas."""
    if inputs.is_table(name) or num_lines - num_samples < MOST * max(1, num_lines):
        return
    is_quoted = any(row["split"] == name for row in findings.rows["quoted"])
    what = other_format(inputs.path(name))
    if what and ("JSON" in what or not is_quoted):
        findings.add("format", name, 0, what, "")


def look_at_labels(findings, inputs, labels):
    """Find whether labels have fastText's mark, or all are numbers, and whether a file beside them has their names."""
    if marked := [label for label in labels if label.startswith(FASTTEXT)]:
        source = inputs.paths.get("train") or inputs.folder or inputs.path("train")
        hint = f"python data/convert.py --input_file {source} --save_dir NEW_FOLDER"
        findings.add("label_marks", "label", 0, f"{len(marked)} labels, such as {shortened(marked[0])!r}: {hint}")
    if len(labels) < 2 or any(integer(label) is None for label in labels):
        return
    folder = inputs.folder or inputs.path("train").parent
    for names in names_beside([folder]):
        if names.order and any(integer(name) is None for name in names.order):
            try:
                names.mapping(labels)
            except UsageError:
                continue
            message = f"{names.where} has names: {shortened(' '.join(names.order), 80)}"
            break
    else:
        message = f"{shortened(' '.join(labels), 60)}; give them names"
    source = inputs.paths.get("train") or folder
    hint = f"python data/convert.py --input_file {source} --label_names FILE --save_dir NEW_FOLDER"
    findings.add("label_ids", "label", 0, f"{message}: {hint}")


def build_command(inputs):
    """The command that builds an encoder whose vocabulary comes from the texts of a check.

    Args:
        inputs (data.inputs.Inputs): the files.
    """
    names = [name for name in ("train", "dev", "data") if inputs.is_file(name)]
    return shlex.join(["python", "data/build_encoder.py", "--texts", *(str(inputs.path(name)) for name in names)])


def look_at_scripts(findings, inputs, counts, letters):
    """Find scripts that the offline encoder does not have.

    Args:
        findings (Findings): to be added to.
        inputs (data.inputs.Inputs): the files.
        counts (np.ndarray): int [scripts + 1], characters of each of foreign_scripts(), behind those of none.
        letters (int): all letters and digits.
    """
    names = foreign_scripts()[0]
    total = int(counts[1:].sum())
    if total >= FOREIGN * max(1, letters) and total:
        shares = sorted(((count / max(letters, total), name) for count, name in zip(counts[1:], names)), reverse=True)
        shown = ", ".join(f"{name} {share:.0%}" for share, name in shares if share >= 0.005)
        message = f"{shown} of the letters; for an encoder of these texts: {build_command(inputs)}"
        findings.add("foreign_script", "train", 0, message, "")
