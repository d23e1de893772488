"""What a data folder holds for annotation: labels, texts with a label, and texts that want one."""

from dataclasses import dataclass
from pathlib import Path

from deploy.annotation.journal import one_line
from utils import UsageError, read_cases, read_examples, read_label_words, read_labels, read_lines


@dataclass
class Pool:
    """The texts of a folder; each is one line, and in one of the lists.

    Attributes:
        folder (Path): where they are from.
        labels, words (list[str]): of label.txt, in class order.
        train, dev (dict[str, int]): text -> class id; empty without the file.
        texts (list[str]): of data.txt or the files given, without those that have a label or are in test.txt.
        test (set[str]): texts of test.txt, which nobody is asked about.
    """

    folder: Path
    labels: list
    words: list
    train: dict
    dev: dict
    texts: list
    test: set


def read_pool(folder, files=None):
    """Read a data folder; only label.txt and data.txt have to be there.

    Args:
        folder (Path): of the data.
        files (list[Path] | None): with the texts that want a label, in the place of data.txt; see utils.read_cases.

    Raises:
        UsageError: one of them is missing, a line is wrong, or every text has a label already.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(
            f"{folder}: no such folder; make it, with label.txt (a label a line) and data.txt (a text a line)"
        )
    needed = {"label.txt": "the labels, one a line", "data.txt": "the texts to label, one a line"}
    for name, what in needed.items():
        if not (folder / name).is_file() and (name == "label.txt" or not files):
            raise UsageError(f"{folder / name}: no such file; write {what}")
    labels = read_labels(folder / "label.txt")
    parts = {}
    for name in ("train", "dev"):
        path = folder / f"{name}.txt"
        texts, ids = read_examples(path, labels) if path.is_file() else ([], [])
        parts[name] = dict(zip(map(one_line, texts), ids))
    test_path = folder / "test.txt"
    test = {one_line(line.split("\t")[0]) for line in read_lines(test_path)} if test_path.is_file() else set()
    for text in {*parts["dev"], *test}:
        parts["train"].pop(text, None)
    known = {*parts["train"], *parts["dev"], *test}
    files = files or [folder / "data.txt"]
    all_texts = dict.fromkeys(one_line(text) for path in files for _, text, *_ in read_cases(path))
    texts = [text for text in all_texts if text not in known]
    if not texts:
        raise UsageError(f"{files[0]}: all texts are in train.txt, dev.txt or test.txt; add new ones")
    words = list(read_label_words(folder / "label.txt").values())
    return Pool(folder, labels, words, **parts, texts=texts, test=test)
