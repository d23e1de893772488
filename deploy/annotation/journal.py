"""What people have labelled: a file of events that only grows, so that no moment of a crash loses a label.

Each line is JSON: text, annotator, label (null where it was taken back) and time. A line is on the disk before
`record` returns; a line that a crash cut off is taken off at the next start.
"""

import json
import os
import threading
import time
from collections import Counter
from pathlib import Path

from core.locks import FileLock
from utils import UsageError

JOURNAL_FILE, LOCK_FILE = "labels.jsonl", "annotation.lock"


def one_line(text):
    """The text with every run of white space as one space, as annotation tools give it back."""
    return " ".join(text.split()).encode("utf-8", "replace").decode("utf-8")  # no half of a surrogate pair


class Journal:
    """The labels of one working folder, which no other process may write meanwhile.

    Args:
        folder (Path): made where it is not there.

    Attributes:
        labels (dict[str, dict[str, str]]): text -> annotator -> label, in the order of the texts' first labels.
        mark (int): the number of events so far; see `replace`.

    Raises:
        UsageError: another process has the folder, or a line is no event.
    """

    def __init__(self, folder):
        self.path = Path(folder) / JOURNAL_FILE
        self._lock = FileLock(Path(folder) / LOCK_FILE, "lockf", "labels there; stop it, or choose another --work_dir")
        self._held = self._lock.take()
        self.labels, self._mutex = {}, threading.RLock()
        self.mark, self._marks = 0, {}  # (text, annotator) -> the mark of the last event
        try:
            self._load()
            self._file = self.path.open("ab")
        except BaseException:
            self._lock.give_back(self._held)
            raise

    def _load(self):
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(self.path, len(whole))
        for number, line in enumerate(whole.split(b"\n")[:-1], 1):
            try:
                event = json.loads(line)
                self._apply(event["text"], event["annotator"], event["label"])
            except (ValueError, KeyError, TypeError):
                raise UsageError(
                    f"{self.path}:{number}: not a line of this file; mend it, or move the file away (its labels are "
                    "still in the annotation tool)"
                ) from None

    def _apply(self, text, annotator, label):
        self.mark += 1
        self._marks[text, annotator] = self.mark
        if label is None:
            of_text = self.labels.get(text, {})
            of_text.pop(annotator, None)
            if not of_text:
                self.labels.pop(text, None)
        else:
            self.labels.setdefault(text, {})[annotator] = label

    def record(self, events):
        """Write down (text, annotator, label or None) where they are news.

        Returns:
            int: how many were.
        """
        with self._mutex:
            news, lines = 0, []
            for text, annotator, label in events:
                text = one_line(text)
                if self.labels.get(text, {}).get(annotator) != label:
                    self._apply(text, annotator, label)
                    event = {"text": text, "annotator": annotator, "label": label, "time": round(time.time(), 3)}
                    lines.append(json.dumps(event, ensure_ascii=False) + "\n")
                    news += 1
            if lines:
                self._file.write("".join(lines).encode("utf-8", "surrogatepass"))
                self._file.flush()
                os.fsync(self._file.fileno())
            return news

    def replace(self, rows, mark=None):
        """Write down the difference to all that a tool holds.

        Args:
            rows (list[tuple[str, str, str]]): text, label, annotator.
            mark (int | None): `mark` as it was before the tool was asked: what was written down since is newer than
                its answer, and stays.

        Returns:
            int: how many events that were.
        """
        with self._mutex:
            there = {(one_line(text), annotator): label for text, label, annotator in rows}
            gone = [(text, name) for text, some in self.labels.items() for name in some if (text, name) not in there]
            events = [(text, annotator, label) for (text, annotator), label in there.items()]
            events += [(text, name, None) for text, name in gone]
            if mark is not None:
                events = [event for event in events if self._marks.get(event[:2], 0) <= mark]
            return self.record(events)

    def agreed(self):
        """Text -> label where the annotators agree, or most of them do: dict[str, str]."""
        return self.decided()[0]

    def disputed(self):
        """Text -> its labels, annotator -> label, where as many are for one as for another."""
        return self.decided()[1]

    def decided(self):
        """What `agreed` and `disputed` give, of one moment."""
        agreed, disputed = {}, {}
        with self._mutex:
            for text, some in self.labels.items():
                (label, count), *others = Counter(some.values()).most_common(2)
                if others and others[0][1] == count:
                    disputed[text] = dict(some)
                else:
                    agreed[text] = label
        return agreed, disputed

    def annotators(self):
        """Annotator -> number of labels."""
        with self._mutex:
            return dict(Counter(name for some in self.labels.values() for name in some))

    def close(self):
        """Let others have the folder."""
        self._file.close()
        self._lock.give_back(self._held)
