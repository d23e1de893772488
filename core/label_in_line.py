"""Lines in which a label stands before or behind the text with a mark between that texts have, too.

No table is made of them: which mark divides is a guess, and a wrong one takes words out of texts. The command that
puts a tab there is told instead.
"""

import collections
import shlex

MARKS = ("】", "：", ": ", "    ", "，", ",", "  ", " ", "-")
# The share of lines that must have such a label, lines that are looked at, and times that a label comes at least.
MOST, LINES, TIMES = 0.95, 2000, 3
LONGEST = 20


def label_in_line(lines, path):
    """What seems to be the label of each line, and the command that puts a tab behind or before it.

    Args:
        lines (list[str]): of a file, each one field.
        path (str): the file.

    Returns:
        str | None: the end of a message; None where no mark divides them so.
    """
    lines = [line.strip() for line in lines[:LINES] if line.strip()]
    for mark in MARKS:
        for is_first in (True, False):
            pairs = [line.split(mark, 1) if is_first else line.rsplit(mark, 1)[::-1] for line in lines]
            labels = collections.Counter(pair[0].strip(" 【") for pair in pairs if len(pair) == 2 and pair[1].strip())
            if _are_labels(labels, len(lines)):
                found = mark.replace(".", "\\.")
                start = "s/^【//; " if mark == "】" else ""
                command = f"{start}s/{found}/\\t/" if is_first else f"s/\\(.*\\){found}/\\1\\t/"
                shown = " ".join(sorted(labels)[:4])
                return (
                    f"{'before' if is_first else 'behind'} {mark!r} stand words that come again and again ({shown}): "
                    f"where they are the labels, put a tab there: sed {shlex.quote(command)} {shlex.quote(path)}"
                )
    return None


def _are_labels(labels, count):
    """Whether so many words are those of nearly all lines, few, short, and each again and again."""
    total = labels.total()
    return (
        count >= 10
        and total >= MOST * count
        and len(labels) > 1
        and len(labels) * TIMES <= total
        and max(map(len, labels)) <= LONGEST
        and all(labels)
        and 10 * sum(times for times in labels.values() if times < TIMES) <= total
    )
