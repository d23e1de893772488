"""The check of a data folder: what train.py would refuse, and what makes a model worse without a word.

Files are read once, line by line, and what each line says by itself is found here; what lines say when they are
compared is found in comparisons.py.
"""

import collections
import functools
import re

import numpy as np

from core.columns import Columns
from core.encodings import ENCODING_SAMPLE, shown_name, utf16_variant
from core.progress import progress_bar
from core.quoting import find_rows
from core.text_cleaning import MARKUP
from core.vocabulary import NOTABLE, UNREADABLE, UNUSABLE
from data.comparisons import (
    NearTexts,
    Split,
    compare_label_names,
    compare_labels,
    compare_scripts,
    compare_texts,
)
from data.inputs import Inputs
from data.kinds import ERRORS, WARNINGS
from data.mojibake import repaired, strangeness
from data.near_duplicates import normalise, to_codes
from data.reading import (
    CONTROL,
    LOST,
    PRIVATE,
    REPORT_ORDER,
    SIMPLIFIED,
    SPACE,
    SPLITS,
    TRADITIONAL,
    WIDE,
    WORD,
    LabelsAsFound,
    character_classes,
    foreign_scripts,
)
from data.suspicions import build_command, look_at_file, look_at_format, look_at_labels, look_at_scripts
from data.tokens import HISTOGRAM_BINS, HISTOGRAM_TOP
from utils import UsageError, example_problem, parse_example, parse_labels, shortened

# With a tokenizer the tokens of this many lines of a file are all counted, and of that many texts at a time.
ALL_COUNTED, TOKENIZED_AT_ONCE = 200_000, 10_000

# Characters of a line -> kind, for those that need no look at other lines.
CHARACTER_KINDS = {CONTROL: "control_character", PRIVATE: "private_use", LOST: "lost_character"}


# Strange texts that are looked at before it is taken for granted that they are no mojibake.
MAX_STRANGE = 500
# Kind -> what to look for, and characters without which there is none, which are found sooner.
TEXT_PATTERNS = (
    ("html", MARKUP, "&<"),
    (
        "url",
        re.compile(r"(?:https?|ftp)://[!-~]+|\bwww\.[\w-]+\.[!-~]+", re.ASCII | re.IGNORECASE),
        ("://", "www.", "WWW."),
    ),
)


class Findings:
    """Problems by kind: all are counted, the first `max_listed` of a kind are kept with their places.

    Args:
        max_listed (int): places kept of a kind.
        inputs (data.inputs.Inputs): what the files are called.
    """

    def __init__(self, max_listed, inputs):
        self.max_listed = max_listed
        self.shown, self.line, self.where = inputs.shown, inputs.line, inputs.where
        self.counts = collections.Counter()
        self.rows = collections.defaultdict(list)

    def add(self, kind, split, line, message, text=None, other=None):
        """Count a finding.

        Args:
            kind (str): key of ERRORS or WARNINGS.
            split (str): the file's name without .txt.
            line (int): its number; 0 for the file as a whole.
            message (str): what this one is.
            text (str | None): the text of the line; None leaves it to Check.fill_in_texts.
            other (tuple[str, int] | None): file and line of the text that it was compared with.
        """
        if len(self.rows[kind]) < self.max_listed:
            row = {"split": split, "line": line, "message": message, "text": text, "other": other, "other_text": None}
            self.rows[kind].append(row)
        self.counts[kind] += 1

    def number_of(self, severity):
        return sum(self.counts[kind] for kind in (ERRORS if severity == "error" else WARNINGS))

    def summary(self):
        """The kinds that were found, as JSON-ready dicts; lines 0 become None."""
        found = []
        for severity, kinds in (("error", ERRORS), ("warning", WARNINGS)):
            for kind in filter(self.counts.get, kinds):
                rows = [
                    {
                        "file": self.shown(row["split"]),
                        # Rows that cannot be used are no samples, and have their table's numbers.
                        "line": (row["line"] if kind == "row" else self.line(row["split"], row["line"])) or None,
                        "message": row["message"],
                        **{key: row[key] and shortened(row[key], 200) for key in ("text", "other_text")},
                    }
                    for row in self.rows[kind]
                ]
                head = {"kind": kind, "severity": severity, "meaning": kinds[kind], "count": self.counts[kind]}
                found.append({**head, "rows": rows})
        return found


class Check:
    """The state of one check of a folder: what was found, and what is known of every line.

    Args:
        folder (Path | None): the data folder; None where `paths` has all files.
        max_length (int): tokens that the model takes, [CLS] and [SEP] included.
        count_tokens (Callable[[list[str]], list[int]] | None): tokens of texts; None estimates them.
        threshold (float): similarity from which texts are nearly the same; 0 leaves that out.
        few (int): fewer samples of a label than this are few.
        imbalance (float): the ratio of the most to the least frequent label that is worth a warning.
        max_listed (int): places kept of each kind of finding.
        encoding (str | None): of the lines that are not UTF-8; None: to be found.
        trust_columns (bool): texts and labels are what they are, whatever they look like.
        paths (dict[str, Path] | None): see data.inputs.Inputs.
    """

    def __init__(
        self,
        folder,
        max_length=128,
        count_tokens=None,
        threshold=0.8,
        few=10,
        imbalance=10,
        max_listed=1000,
        encoding=None,
        trust_columns=False,
        paths=None,
    ):
        self.folder, self.max_length, self.count_tokens = folder, max_length, count_tokens
        self.encoding, self.trust_columns = encoding, trust_columns
        self.inputs = Inputs(folder, paths, encoding)
        self.findings, self.strange = Findings(max_listed, self.inputs), 0
        self.scripts, self.letters = np.zeros(len(foreign_scripts()[0]) + 1, dtype=np.int64), 0
        self.classes = character_classes()
        self.splits = {}
        self.near = NearTexts(threshold) if threshold else None
        self.label2id = self.read_label_file()
        there = [name for name in (*SPLITS, "data") if self.inputs.is_file(name)]
        total = sum(self.inputs.path(name).stat().st_size for name in there)
        with progress_bar(total=total, unit="B", unit_scale=True, desc="checking") as bar:
            for name in (*SPLITS, "data"):
                self.read_split(name, bar)
        # In the order of their class ids.
        self.labels = list(self.label2id)
        if self.near is not None:
            self.near.close()
        compare_texts(self.findings, self.splits, self.labels, self.near)
        compare_labels(self.findings, self.splits, self.labels, few, imbalance)
        compare_label_names(self.findings, self.labels)
        compare_scripts(self.findings, self.splits)
        look_at_labels(self.findings, self.inputs, self.labels)
        self.unknown = self.count_unknown()
        if self.unknown is None:
            look_at_scripts(self.findings, self.inputs, self.scripts, self.letters)
        self.fill_in_texts()

    # ---------------------------------------------------------------- files

    def read_label_file(self):
        """Find the faults of label.txt; label -> class id."""
        if not self.inputs.is_file("label"):
            if self.inputs.path("label"):
                self.findings.add("file", "label", 0, "no such file; write one label a line")
            return LabelsAsFound()
        lines = [line for _, some in self.inputs.read("label", self.bad_line("label")) for line in some]
        labels, problems = parse_labels(lines) if lines else ([], [(0, "the file is empty; write one label a line")])
        for number, message in problems:
            self.findings.add("label_file", "label", number, message)
        return {label: index for index, label in enumerate(labels)} if labels else LabelsAsFound()

    def bad_line(self, name):
        """What read_chunks calls for a line that is not UTF-8."""

        def add(number, names):
            known = " or ".join(map(shown_name, names))
            message = f"looks like {known}" if number else f"the file is {known}"
            if len(names) > 1:
                message += f"; look at it, and say which with --encoding {names[0]} or --encoding {names[1]}"
            self.findings.add("encoding", name, number, message if names else "not in a known encoding")

        return add

    def bad_row(self, name):
        """What Inputs.read calls for a row of a table that cannot be used; train.py stops at the first."""

        def add(number, why):
            self.findings.add("row", name, number, why.reason, why.content)

        return add

    def read_split(self, name, bar):
        """Read one file: faults of single lines, and what comparisons between lines need."""
        path = self.inputs.path(name)
        if path is None or not path.is_file():
            if path and (name in ("train", "dev") or name in self.inputs.paths):
                hint = " (python data/split.py divides one file)" if name == "dev" else ""
                self.findings.add("file", name, 0, f"no such file; write <text>, a tab, <label> a line{hint}")
            return
        split = self.splits[name] = Split()
        columns, may_be_quoted, has_tabs = Columns(), False, False
        try:
            for first, lines in self.inputs.read(name, self.bad_line(name), bar, self.bad_row(name)):
                split.lines += len(lines)
                may_be_quoted = may_be_quoted or any(line.startswith('"') or '\t"' in line for line in lines)
                has_tabs = has_tabs or any("\t" in line for line in lines)
                if name != "data":
                    pairs = [fields for fields in (line.split("\t") for line in lines) if len(fields) == 2]
                    columns.add(*map(list, zip(*pairs)) if pairs else ([], []))
                parse = self.parse_unlabelled if name == "data" else self.parse_examples
                numbers, texts, ids = parse(name, first, lines)
                if texts:
                    normal = self.look_at(name, numbers, texts, ids)
                    if self.near is not None and name != "data":
                        self.near.compare(name, numbers, normal)
            if not self.trust_columns and name != "data":
                look_at_file(self.findings, name, columns)
            if (may_be_quoted or (split.lines and not has_tabs and name != "data")) and not self.inputs.is_table(name):
                self.look_for_quotes(name)
            if split.lines == 0:  # train.py does not read data.txt
                kind = "short_text" if name == "data" else "file"
                self.findings.add(kind, name, 0, "the file is empty; write one sample a line")
        except UsageError as error:
            self.findings.add("file", name, 0, str(error).partition(": ")[2])
        split.freeze()
        if name != "data":
            look_at_format(self.findings, self.inputs, name, split.lines, len(split.ids))
        if self.near is not None:
            self.near.end_file()

    def look_for_quotes(self, name):
        """Find whether a program that puts fields in quotes wrote a file."""
        with self.inputs.path(name).open("rb") as file:
            is_excel = str(utf16_variant(file.read(ENCODING_SAMPLE))).startswith("UTF-16")
        blocks = functools.partial(self.inputs.blocks, name)
        if found := find_rows(blocks, 1 if name == "data" else 2, is_excel):
            message = f"{found.samples:,} samples in {found.lines:,} lines"
            self.findings.add("quoted", name, 0, message, "")

    def parse_examples(self, name, first, lines):
        """Line numbers, texts and class ids of the lines that train.py takes; the others become findings."""
        numbers, texts, ids = [], [], []
        for number, line in enumerate(lines, first):
            example = parse_example(line, self.label2id)
            if example is None:
                kind, message = example_problem(line, self.label2id)
                self.findings.add(kind, name, number, message, line)
            else:
                numbers.append(number)
                texts.append(example[0])
                ids.append(example[1])
        return numbers, texts, ids

    def parse_unlabelled(self, name, first, lines):
        """The same for data.txt: -1 stands for the class id."""
        numbers, texts = [], []
        for number, line in enumerate(lines, first):
            if "\t" in line:
                self.findings.add("tab_in_unlabelled", name, number, "a tab inside the text", line)
            text = line.strip()
            if text:
                numbers.append(number)
                texts.append(text)
            else:
                self.findings.add("short_text", name, number, "blank line")
        return numbers, texts, [-1] * len(texts)

    # ---------------------------------------------------------------- single texts

    def look_at(self, name, numbers, texts, ids):
        """Find what can be said of each text by itself, and keep what comparisons need; the texts in normal form."""
        split = self.splits[name]
        codes, starts = to_codes(texts)
        bits = self.classes[codes]
        starts = starts[:-1]
        ends = np.append(starts[1:], len(codes)) - 1
        bits[ends] = 0  # the line feeds
        any_bits = np.bitwise_or.reduceat(bits, starts)
        words, wide, space = (np.add.reduceat(bits & bit > 0, starts, dtype=np.int32) for bit in (WORD, WIDE, SPACE))
        lengths = ends - starts
        strange = np.add.reduceat(strangeness()[codes], starts)
        # [CLS], [SEP], a token a Chinese character, and about a token for three other characters.
        tokens = 2 + wide + (lengths - wide - space + 2) // 3
        if self.count_tokens is not None:
            # In a large file, only where the text may be cut off: a token of less than half a character is rare.
            exact = np.flatnonzero((lengths > self.max_length // 2) | (split.lines <= ALL_COUNTED))
            for some in np.array_split(exact, len(exact) // TOKENIZED_AT_ONCE + 1):
                tokens[some] = self.count_tokens([texts[index] for index in some.tolist()])
                for index, share in zip(some.tolist(), getattr(self.count_tokens, "shares", ())):
                    if share >= UNREADABLE:
                        self.findings.add("unreadable_text", name, numbers[index], f"{share:.0%} [UNK]", texts[index])
        normal = normalise(texts)
        hashes = np.array([hash(text) for text in texts], dtype=np.int64)
        normal_hashes = np.array([hash(text) for text in normal], dtype=np.int64)
        split.add(numbers, hashes, normal_hashes, ids, tokens, any_bits & (TRADITIONAL | SIMPLIFIED))
        self.scripts += np.bincount(foreign_scripts()[1][codes], minlength=len(self.scripts))
        self.letters += int(words.sum())
        # A token is about as long as any other of its text.
        unread = lengths * np.maximum(0, tokens - self.max_length) / np.maximum(1, tokens - 2)
        split.characters, split.unread = split.characters + int(lengths.sum()), split.unread + float(unread.sum())

        for index in np.flatnonzero(words <= 1).tolist():
            self.findings.add("short_text", name, numbers[index], "too little to tell anything", texts[index])
        for bit, kind in CHARACTER_KINDS.items():
            for index in np.flatnonzero(any_bits & bit).tolist():
                found = sorted(character for character in set(texts[index]) if self.classes[ord(character)] & bit)
                shown = " ".join(f"U+{ord(character):04X}" for character in found[:5])
                self.findings.add(kind, name, numbers[index], shown, texts[index])
        for kind, pattern, marks in TEXT_PATTERNS:
            for index, text in enumerate(texts):
                if any(mark in text for mark in marks) and (match := pattern.search(text)):
                    self.findings.add(kind, name, numbers[index], shortened(match[0], 40), text)
        for index in np.flatnonzero(strange > 0).tolist():
            # Texts in a language other than Chinese are all strange: after some of them it is known.
            self.strange += 1
            if self.strange > MAX_STRANGE and not self.findings.counts["mojibake"]:
                break
            if original := repaired(texts[index]):
                self.findings.add("mojibake", name, numbers[index], f"probably {shortened(original)!r}", texts[index])
        for index in np.flatnonzero(tokens > self.max_length).tolist():
            self.findings.add("truncated", name, numbers[index], f"{tokens[index]} tokens", texts[index])
        return normal

    def count_unknown(self):
        """What the vocabulary cannot read, as in UnknownTokens.summary; None without a tokenizer that tells it."""
        unknown = getattr(self.count_tokens, "unknown", None)
        if unknown is None:
            return None
        found = unknown.summary()
        if found["share"] > NOTABLE:
            scripts = ", ".join(f"{name} {share:.0%}" for name, share in found["by_script"].items())
            message = f"{found['share']:.1%} of all tokens; {scripts}; characters: {' '.join(found['characters'])}"
            message += f"; for an encoder of these texts: {build_command(self.inputs)}"
            kind = "unreadable_data" if found["share"] >= UNUSABLE else "unknown_tokens"
            self.findings.add(kind, "train", 0, message, "")
        return found

    def fill_in_texts(self):
        """Read the texts of the findings that compared lines by their hashes."""
        wanted = collections.defaultdict(lambda: collections.defaultdict(list))
        for row in (row for rows in self.findings.rows.values() for row in rows):
            if row["text"] is None and row["split"] in self.splits:
                wanted[row["split"]][row["line"]].append((row, "text"))
            if row["other"]:
                wanted[row["other"][0]][row["other"][1]].append((row, "other_text"))
        for name, lines_wanted in wanted.items():
            last = max(lines_wanted)
            for first, lines in self.inputs.read(name) if last else ():
                for number in lines_wanted.keys() & range(first, first + len(lines)):
                    for row, key in lines_wanted[number]:
                        row[key] = lines[number - first].split("\t")[0].strip()
                if first + len(lines) > last:
                    break

    # ---------------------------------------------------------------- results

    def summary(self):
        """All results as one JSON-ready dict; places are `<file>:<line>`, line 0 left out."""
        return {
            "dataset_dir": str(self.folder or self.inputs.path("train") or next(iter(self.inputs.paths.values()))),
            "paths": {f"{name}.txt": str(path) for name, path in self.inputs.paths.items()},
            "errors": self.findings.number_of("error"),
            "warnings": self.findings.number_of("warning"),
            "max_length": self.max_length,
            "tokens": self.how_counted(),
            "unknown_tokens": self.unknown,
            "labels": self.labels,
            "files": {f"{name}.txt": self.file_summary(name) for name in REPORT_ORDER if name in self.splits},
            "findings": self.findings.summary(),
        }

    def forget_lines(self):
        """Give back the memory of what is known of each line; there is no summary any more."""
        self.splits = {}

    def how_counted(self):
        """How the numbers of tokens were found, in words."""
        if self.count_tokens is None:
            return "estimated"
        if all(split.lines <= ALL_COUNTED for split in self.splits.values()):
            return "counted"
        return f"counted in the first {ALL_COUNTED:,} lines and in long texts, else estimated"

    def file_summary(self, name):
        """Numbers of one file: lines, samples, samples a label, tokens, and their histogram."""
        split = self.splits[name]
        result = {"lines": split.lines, "samples": len(split.ids)}
        if len(split.ids):
            if name != "data":
                result["labels"] = dict(zip(self.labels, split.label_counts(self.labels)))
            percentiles = np.percentile(split.tokens, (50, 95, 99)).round().astype(int).tolist()
            result["tokens"] = {
                "mean": round(float(split.tokens.mean()), 2),
                **dict(zip(("median", "p95", "p99"), percentiles)),
                "max": int(split.tokens.max()),
                "over_max_length": int((split.tokens > self.max_length).sum()),
                "characters_unread": round(split.unread / max(1, split.characters), 4),
            }
            top = HISTOGRAM_TOP * self.max_length
            width = max(1, top // HISTOGRAM_BINS)
            bins = np.bincount(np.minimum(split.tokens, top) // width)
            result["token_histogram"] = {"bin_width": width, "counts": bins.tolist()}
        return result
