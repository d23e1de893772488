"""The check of a data folder: what train.py would refuse, and what makes a model worse without a word.

Files are read once, line by line, and what each line says by itself is found here; what lines say when they are
compared is found in comparisons.py.
"""

import collections
import re

import numpy as np

from core.columns import Columns
from core.encodings import ENCODING_SAMPLE, shown_name, utf16_variant
from core.lines import read_chunks
from core.progress import progress_bar
from core.quoting import read_rows
from core.vocabulary import NOTABLE, UNREADABLE, WHAT_HELPS
from data.comparisons import NearTexts, Split, compare_label_names, compare_labels, compare_scripts, compare_texts
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
)
from data.tokens import HISTOGRAM_BINS, HISTOGRAM_TOP
from utils import UsageError, example_problem, parse_example, parse_labels, shortened

# With a tokenizer the tokens of this many lines of a file are all counted, and of that many texts at a time.
ALL_COUNTED, TOKENIZED_AT_ONCE = 200_000, 10_000

# What train.py refuses, and columns that it would learn nothing from: kind -> what it is and what to do about it, in
# the order of the report.
ERRORS = {
    "file": "a file that train.py needs",
    "columns": "the columns are not texts and labels",
    "encoding": "not UTF-8; convert the file, or let --fix do it",
    "label_file": "label.txt: one label a line, each once",
    "blank_line": "blank lines; delete them",
    "no_tab": "no tab between text and label",
    "extra_tab": "more than one tab",
    "empty_text": "no text before the tab",
    "swapped_columns": "label and text change places",
    "unknown_label": "labels that are not in label.txt",
}
WARNINGS = {
    "conflict": "the same text with different labels; decide which one is right",
    "leakage": "texts of dev or test that are in another file too: the accuracy will look better than it is; take "
    "them out of the other file",
    "normalised_leakage": "the same but for width, case, punctuation and white space",
    "near_leakage": "texts of dev or test that are nearly the same as one in another file",
    "duplicate": "the same line again; copies weigh as much as new samples without telling anything new",
    "normalised_duplicate": "the same text again but for width, case, punctuation and white space",
    "already_labelled": "texts of data.txt that have a label already",
    "unused_label": "labels of label.txt without a sample in train.txt: they can never be predicted",
    "few_samples": "labels with too few samples in train.txt to be learned well",
    "not_in_dev": "labels without a sample in dev.txt: how well they are predicted stays unknown",
    "imbalance": "the most frequent label has many times the samples of the rarest; look at the macro F1, not only at "
    "the accuracy",
    "label_shift": "the labels' shares differ from those of train.txt: the files were not drawn alike",
    "unknown_tokens": f"more than {NOTABLE:.0%} of the tokens are [UNK], which the model cannot read. {WHAT_HELPS}",
    "unreadable_text": f"texts of which {UNREADABLE:.0%} or more are [UNK]: the model does not see what they say",
    "short_text": "texts without more than one letter, digit or Chinese character",
    "truncated": "texts longer than --max_length tokens: the model does not see their end",
    "control_character": "control or invisible characters; the tokenizer drops them or splits there",
    "private_use": "private-use characters: they mean something in one font only",
    "lost_character": "U+FFFD: a character was lost in an earlier conversion",
    "mixed_script": "traditional characters among simplified ones, or the other way round; the vocabulary takes them "
    "for different words",
    "quoted": "fields in quotes, as Excel and CSV programs write them; --fix takes them out",
    "mojibake": "characters of another encoding, from an earlier conversion: the text is not what was written",
    "html": "HTML entities and tags; write the characters that they stand for",
    "url": "web addresses, which say little in many tokens",
    "similar_labels": "labels that differ in case, width, punctuation or white space only; make them one",
    "tab_in_unlabelled": "data.txt has one text a line and no label; tabs are read as part of the text",
}
# Characters of a line -> kind, for those that need no look at other lines.
CHARACTER_KINDS = {CONTROL: "control_character", PRIVATE: "private_use", LOST: "lost_character"}


# Strange texts that are looked at before it is taken for granted that they are no mojibake.
MAX_STRANGE = 500
# Kind -> what to look for, and characters without which there is none, which are found sooner.
TEXT_PATTERNS = (
    (
        "html",
        re.compile(r"&(?:[A-Za-z]{2,8}\d?|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});|</?[A-Za-z][A-Za-z0-9]*(?:\s[^<>]*)?/?>"),
        "&<",
    ),
    (
        "url",
        re.compile(r"(?:https?|ftp)://[!-~]+|\bwww\.[\w-]+\.[!-~]+", re.ASCII | re.IGNORECASE),
        ("://", "www.", "WWW."),
    ),
)


class Findings:
    """Problems by kind: all are counted, the first `max_listed` of a kind are kept with their places."""

    def __init__(self, max_listed):
        self.max_listed = max_listed
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
                        "file": f"{row['split']}.txt",
                        "line": row["line"] or None,
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
        folder (Path): the data folder.
        max_length (int): tokens that the model takes, [CLS] and [SEP] included.
        count_tokens (Callable[[list[str]], list[int]] | None): tokens of texts; None estimates them.
        threshold (float): similarity from which texts are nearly the same; 0 leaves that out.
        few (int): fewer samples of a label than this are few.
        imbalance (float): the ratio of the most to the least frequent label that is worth a warning.
        max_listed (int): places kept of each kind of finding.
        encoding (str | None): of the lines that are not UTF-8; None: to be found.
        trust_columns (bool): texts and labels are what they are, whatever they look like.
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
    ):
        self.folder, self.max_length, self.count_tokens = folder, max_length, count_tokens
        self.encoding, self.trust_columns = encoding, trust_columns
        self.findings, self.strange = Findings(max_listed), 0
        self.classes = character_classes()
        self.splits = {}
        self.near = NearTexts(threshold) if threshold else None
        self.label2id = self.read_label_file()
        total = sum(self.path(name).stat().st_size for name in (*SPLITS, "data") if self.path(name).is_file())
        with progress_bar(total=total, unit="B", unit_scale=True, desc="checking") as bar:
            for name in (*SPLITS, "data"):
                self.read_split(name, bar)
        # In the order of their class ids.
        self.labels = list(self.label2id)
        compare_texts(self.findings, self.splits, self.labels, self.near.found if self.near else {})
        compare_labels(self.findings, self.splits, self.labels, few, imbalance)
        compare_label_names(self.findings, self.labels)
        compare_scripts(self.findings, self.splits)
        self.unknown = self.count_unknown()
        self.fill_in_texts()

    def path(self, name):
        return self.folder / f"{name}.txt"

    def read(self, name, on_bad_line=None, bar=None):
        """The lines of a file, see read_chunks."""
        return read_chunks(self.path(name), on_bad_line, bar, self.encoding)

    # ---------------------------------------------------------------- files

    def read_label_file(self):
        """Find the faults of label.txt; label -> class id."""
        path = self.path("label")
        if not path.is_file():
            self.findings.add("file", "label", 0, "no such file; write one label a line")
            return LabelsAsFound()
        lines = [line for _, some in self.read("label", self.bad_line("label")) for line in some]
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

    def read_split(self, name, bar):
        """Read one file: faults of single lines, and what comparisons between lines need."""
        path = self.path(name)
        if not path.is_file():
            if name in ("train", "dev"):
                hint = " (python data/split.py divides one file)" if name == "dev" else ""
                self.findings.add("file", name, 0, f"no such file; write <text>, a tab, <label> a line{hint}")
            return
        split = self.splits[name] = Split()
        columns, may_be_quoted, has_tabs = Columns(), False, False
        try:
            for first, lines in self.read(name, self.bad_line(name), bar):
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
            if not self.trust_columns:
                for number, message in columns.problems():
                    self.findings.add("columns", name, number, message, "")
            if may_be_quoted or (split.lines and not has_tabs and name != "data"):
                self.look_for_quotes(name)
            if split.lines == 0:  # train.py does not read data.txt
                kind = "short_text" if name == "data" else "file"
                self.findings.add(kind, name, 0, "the file is empty; write one sample a line")
        except UsageError as error:
            self.findings.add("file", name, 0, str(error).partition(": ")[2])
        split.freeze()
        if self.near is not None:
            self.near.end_file()

    def look_for_quotes(self, name):
        """Find whether a program that puts fields in quotes wrote a file."""
        lines = [line for _, some in self.read(name) for line in some]
        with self.path(name).open("rb") as file:
            is_excel = str(utf16_variant(file.read(ENCODING_SAMPLE))).startswith("UTF-16")
        rows = read_rows(lines, 1 if name == "data" else 2, is_excel)
        if rows:
            message = f"{len(rows):,} samples in {len(lines):,} lines"
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

        for index in np.flatnonzero(words <= 1).tolist():
            self.findings.add("short_text", name, numbers[index], "too little to tell anything", texts[index])
        for bit, kind in CHARACTER_KINDS.items():
            for index in np.flatnonzero(any_bits & bit).tolist():
                found = sorted({character for character in texts[index] if self.classes[ord(character)] & bit})
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
            self.findings.add("unknown_tokens", "train", 0, message, "")
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
            for first, lines in self.read(name) if last else ():
                for number in lines_wanted.keys() & range(first, first + len(lines)):
                    for row, key in lines_wanted[number]:
                        row[key] = lines[number - first].split("\t")[0].strip()
                if first + len(lines) > last:
                    break

    # ---------------------------------------------------------------- results

    def summary(self):
        """All results as one JSON-ready dict; places are `<file>:<line>`, line 0 left out."""
        return {
            "dataset_dir": str(self.folder),
            "errors": self.findings.number_of("error"),
            "warnings": self.findings.number_of("warning"),
            "max_length": self.max_length,
            "tokens": self.how_counted(),
            "unknown_tokens": self.unknown,
            "labels": self.labels,
            "files": {f"{name}.txt": self.file_summary(name) for name in REPORT_ORDER if name in self.splits},
            "findings": self.findings.summary(),
        }

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
            }
            top = HISTOGRAM_TOP * self.max_length
            width = max(1, top // HISTOGRAM_BINS)
            bins = np.bincount(np.minimum(split.tokens, top) // width)
            result["token_histogram"] = {"bin_width": width, "counts": bins.tolist()}
        return result
