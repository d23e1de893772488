"""Texts in one folder a label, a file each, as one table."""

import functools

from core.dialects import Rejected
from core.encodings import likely_encodings, shown_name, utf16_variant
from core.label_paths import SEPARATOR
from core.lines import LOST_CHARACTER, LineDecoder, unclear_encoding
from core.sources import PART_WORDS, is_unlabelled_folder, part_of, parts_by_folder
from core.table_names import ENDINGS
from core.tables import Table
from utils import UsageError, shortened

# Files whose bytes tell the encoding of all; a longer file is not one text.
FILES_LOOKED_AT, MAX_BYTES = 200, 10 << 20
# The share of files that may lie beside the folders of labels: word lists and addresses of IMDb.
MOST_BESIDE, SHOWN = 0.2, 5
# What a label is where folders lie in folders: the first of them, or all of them as a path.
FOLDER_LABELS = ("first", "path")


class Layout:
    """Which files of some are texts in folders of labels.

    Args:
        sources (list[core.sources.Source]): the files.

    Attributes:
        texts (list[core.sources.Source]): those that lie in folders of labels.
        paths (list[tuple[str]]): of each of these, the folders from its label's down to it: one or more.
        beside (list[core.sources.Source]): those that lie above or beside the folders.
    """

    def __init__(self, sources):
        self.texts, self.paths, self.beside = [], [], []
        paths = [source.parts[:-1] for source in sources]
        parts = parts_by_folder(sources)
        if parts and parts.count(None) <= MOST_BESIDE * len(parts):
            paths = [_without_part(path) for path in paths]  # train/sports, or sports/train
        depth = 0
        while True:
            names = {path[depth] for path in paths if len(path) > depth}
            if len(names) != 1:
                break
            depth += 1
        for source, path in zip(sources, paths):
            if len(path) > depth:
                self.texts.append(source)
                self.paths.append(path[depth:])
            else:
                self.beside.append(source)

    def is_folder_a_label(self):
        """Whether these are texts, a file each, in folders of labels."""
        folders = {path[0] for path in self.paths}
        if len(folders) < 2 or len(self.texts) < 2 * len(folders):
            return False
        if len(self.beside) > MOST_BESIDE * len(self.texts):
            return False
        names = [source.parts[-1] for source in self.texts]
        plain = [name for name in names if name.lower().endswith(".txt") or "." not in name]
        # 20 Newsgroups: numbers as names; texts called train.txt are tables.
        plain = plain or [name for name in names if name.replace(".", "").isdigit()]
        return len(plain) == len(names) and not all(map(part_of, names))

    def told(self):
        """What is not read, in words; empty where all is.

        Raises:
            UsageError: a table lies beside the folders.
        """
        if not self.beside:
            return ""
        names = ["/".join(source.parts) for source in self.beside]
        for source in self.beside:
            if source.parts[-1].lower().endswith((*ENDINGS, ".tsv")):
                raise UsageError(
                    f"{source.name}: a table beside folders of texts; give either it, or the folders alone"
                )
        shown = " ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        return f"beside the folders of labels, not read: {shown}"


def _without_part(path):
    """Folders but for the first that tells train, dev or test."""
    place = next((place for place, name in enumerate(path) if name.lower() in PART_WORDS), len(path))
    return path[:place] + path[place + 1 :]


def folder_tables(sources, reading):
    """The tables of texts in folders of labels.

    Args:
        sources (list[tuple[str | None, core.sources.Source]]): part and file.
        reading (core.tables.Reading): what the user says of them.

    Returns:
        list[tuple[str | None, core.tables.Table]] | None: a table for each part; None where the files are no such.

    Raises:
        UsageError: as Layout.told; the encoding is unclear.
    """
    layout = Layout([source for _, source in sources])
    if not layout.is_folder_a_label():
        return None
    groups = {}
    parts = {id(source): part for part, source in sources}
    for source, path in zip(layout.texts, layout.paths):
        groups.setdefault(parts[id(source)], []).append((source, path))
    notes = [layout.told()] if layout.beside else []
    tables = []
    for part, group in groups.items():
        tables.append((part, folder_table(*zip(*group), reading, notes)))
        notes = []
    return tables


def folder_table(sources, paths, reading, notes=()):
    """A core.tables.Table of some texts; the number of a row is its path.

    Args:
        sources (Sequence[core.sources.Source]): a file each.
        paths (Sequence[tuple[str]]): see Layout.
        reading (core.tables.Reading): what the user says of them.
        notes (Iterable[str]): what else is to be told.

    Raises:
        UsageError: their encoding is unclear.
    """
    decoder = _decoder(sources[:: max(1, len(sources) // FILES_LOOKED_AT)], reading.encoding)
    is_whole = reading.folder_labels == "path"
    labels = [SEPARATOR.join(path) if is_whole else path[0] for path in paths]
    unlabelled = sorted({path[0] for path in paths if is_unlabelled_folder(path[0])})
    labels = ["" if path[0] in unlabelled else label for path, label in zip(paths, labels)]
    encoding = shown_name(decoder.names[0]) if decoder.names else "UTF-8"
    first = sources[0]
    name = first.name[: -len("/".join(first.parts[len(first.parts) - 1 - len(paths[0]) :]))].rstrip("/\\:") or "."
    kind = f"{len(set(labels) - {''})} folders, the names of labels, with {len(sources):,} texts, {encoding}"
    kind += f"; those of {' '.join(unlabelled)} without a label" if unlabelled else ""
    deep = next((path for path, label in zip(paths, labels) if len(path) > 1 and label), None)
    if deep and not is_whole:
        kind += f"; folders inside them are not in the labels (--folder_labels path: {SEPARATOR.join(deep)})"
    kind = "; ".join([kind, *notes])
    return Table(name, kind, ["label", "text"], 2, functools.partial(_rows, sources, labels, decoder))


def _decoder(sources, encoding):
    """A LineDecoder that knows the encoding of some files."""
    decoder, bad, good = LineDecoder(encoding), [], []
    for source in sources:
        data = source.head(1 << 12)
        try:
            good.append(data.decode("utf-8"))
        except UnicodeDecodeError as error:
            if error.start < len(data) - 4 and not utf16_variant(data):  # no cut character
                bad.append(data[: 1 << 12])
    if bad and not encoding:
        names = likely_encodings(b"\n".join(bad), "\n".join(good))
        if len(names) > 1:
            raise UsageError(unclear_encoding(sources[0].name, names))
        decoder.names, decoder.context = names, "\n".join(good)[: 1 << 16]
    return decoder


def _rows(sources, labels, decoder, is_row=None, skim=False):
    for source, label in zip(sources, labels):
        data = source.head(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            yield source.name, Rejected(f"longer than {MAX_BYTES:,} bytes", "")
            continue
        wide = utf16_variant(data)
        try:
            text = data.decode(wide or "utf-8-sig")
        except UnicodeDecodeError:
            text, names = decoder.decode(data)
            if len(names) > 1:
                raise UsageError(unclear_encoding(source.name, names)) from None
            if not names and LOST_CHARACTER in text:
                yield source.name, Rejected("not in a known encoding", shortened(text, 1000))
                continue
        yield source.name, [label, text]
