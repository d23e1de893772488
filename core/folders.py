"""Texts in one folder a label, a file each, as one table."""

import collections
import functools

from core.dialects import Rejected
from core.encodings import likely_encodings, shown_name, utf16_variant
from core.lines import LOST_CHARACTER, LineDecoder, unclear_encoding
from core.sources import is_unlabelled_folder, part_of
from core.tables import Table
from utils import UsageError, shortened

# Files whose bytes tell the encoding of all; a longer file is not one text.
FILES_LOOKED_AT, MAX_BYTES = 200, 10 << 20


def is_folder_a_label(sources):
    """Whether files are texts of which each lies in a folder with the name of its label."""
    folders = collections.Counter(source.parts[-2] if len(source.parts) > 1 else None for source in sources)
    if None in folders or len(folders) < 2 or len(sources) < 2 * len(folders):
        return False
    plain = [source for source in sources if source.parts[-1].lower().endswith(".txt") or "." not in source.parts[-1]]
    # 20 Newsgroups: numbers as names; texts called train.txt are tables.
    plain = plain or [source for source in sources if source.parts[-1].replace(".", "").isdigit()]
    return len(plain) == len(sources) and not all(part_of(source.parts[-1]) for source in sources)


def folder_table(sources, reading):
    """A core.tables.Table of such files; the number of a row is its path.

    Raises:
        UsageError: their encoding is unclear.
    """
    decoder = _decoder(sources[:: max(1, len(sources) // FILES_LOOKED_AT)], reading.encoding)
    labels = {source.parts[-2] for source in sources}
    unlabelled = sorted(filter(is_unlabelled_folder, labels))
    labels -= set(unlabelled)
    encoding = shown_name(decoder.names[0]) if decoder.names else "UTF-8"
    name = sources[0].name.rpartition(sources[0].parts[-2])[0].rstrip("/\\:") or "."
    kind = f"{len(labels)} folders, the names of labels, with {len(sources):,} texts, {encoding}"
    kind += f"; those of {' '.join(unlabelled)} without a label" if unlabelled else ""
    return Table(name, kind, ["label", "text"], 2, functools.partial(_rows, sources, decoder))


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


def _rows(sources, decoder, is_row=None, skim=False):
    for source in sources:
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
        folder = source.parts[-2]
        yield source.name, ["" if is_unlabelled_folder(folder) else folder, text]
