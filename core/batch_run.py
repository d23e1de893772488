"""A model over a file: any format in, any out, in constant memory, and as it would have been after a kill -9.

Rows are read in parts; workers (core/batch_workers.py) answer the texts of a part, all of them together, while others
are read and written; parts are kept beside the output (core/batch_parts.py) and joined at the end. Whatever a part is,
it depends on its own rows alone, so that an interrupted run and one that was not end with the same bytes.
"""

import collections
import contextlib
import gc
import hashlib
import importlib.metadata
import json
import operator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from core.any_file import is_table
from core.batch_input import Input, parts_of
from core.batch_output import ArrowRows, Output, added_names, answer_columns, is_set, kind_of, name_added
from core.batch_parts import Parts
from core.confidence import share_problem
from core.label_paths import UNKNOWN, confidence_problem
from core.progress import progress_bar
from core.samples import Wishes
from core.table_columns import Unsure, names_of
from utils import UsageError, report_of_counts, shortened

# Rows of a part. More are faster by nothing, and are more to do again.
PART_ROWS = 8192
# Packages that answers depend on to the last digit.
PACKAGES = ("onnxruntime", "tokenizers", "paddlepaddle", "paddlenlp", "pyarrow")
# Labels that a model does not know, of which so many are named.
NAMED = 5
# What is counted of conformal sets, where there are such.
SET_COUNTS = ("set_labels", "single_sets", "judged_sets", "right_sets")
# New objects after which Python looks for circles among them: at 700, its default, a fifth of the time of reading rows
# goes into that.
OBJECTS_A_LOOK = 100_000


@dataclass
class Wanted:
    """What a user wants to have predicted.

    Args:
        inputs (list[str]): files, folders or patterns.
        output (str): the file.
        labels (list[str]): of the model, in class order.
        wishes (core.samples.Wishes): how the files are to be read.
        top_k, min_confidence: as of core.batch_answers.Job.
        prefix (str | None): before the names of new columns.
        overwrite (bool): what is there may be replaced.
        part_rows (int): rows of a part.
        has_windows (bool): the model reads long texts in windows; which of them decided is told.
        conformal (float | None): as of core.batch_answers.Job.
        flag (str): what the user chose the output with.
    """

    inputs: list
    output: str
    labels: list
    wishes: Wishes = field(default_factory=Wishes)
    top_k: int = 1
    min_confidence: Optional[object] = None
    prefix: Optional[str] = None
    overwrite: bool = False
    part_rows: int = PART_ROWS
    flag: str = "--output"
    has_windows: bool = False
    conformal: Optional[float] = None


def cleaning_for(path):
    """How the texts of a file are cleaned where the user does not say: as those of a training on such a file."""
    return "html" if is_table(path) else "none"


def confidence(text):
    """The min_confidence of a flag: a number as float, accuracy:0.98 as it stands, None as None.

    Raises:
        UsageError: it is neither.
    """
    return _checked("--min_confidence", text, confidence_problem)


def share(text):
    """The conformal of a flag: a number as float, None as None.

    Raises:
        UsageError: it is not between 0 and 1.
    """
    return _checked("--conformal", text, share_problem)


def _checked(flag, text, problem_of):
    """A flag's value as a float where it is a number; UsageError where problem_of has something to say of it."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = text
    if problem := problem_of(value):
        raise UsageError(f"{flag} {text}: {problem}")
    return value


class Prediction:
    """A file to be predicted, looked at and found in order, before any model is read.

    Args:
        wanted (Wanted): what the user wants.
        say (Callable[[str], None]): told what the files were taken for.

    Raises:
        UsageError: the files cannot be read, or the output not be written.
    """

    def __init__(self, wanted, say=print):
        self.wanted, self.say, self.path = wanted, say, Path(wanted.output)
        self.kind = kind_of(self.path, wanted.flag)
        self.parts = Parts(self.path, wanted.overwrite, wanted.flag)
        if "-" in wanted.inputs:
            raise UsageError(
                "-: the standard input can be read once, but files are read again; save it as a file first"
            )
        for pattern in map(Path, wanted.inputs):
            target, inside = self.path.resolve(), pattern.resolve()
            if target == inside or (pattern.is_dir() and target.is_relative_to(inside)):
                raise UsageError(f"{wanted.flag} {self.path}: is what is read, or lies in it; choose another place")
        self.parts.check()
        wanted.wishes.known_labels = frozenset(wanted.labels)
        try:
            self.input = Input(wanted.inputs, wanted.wishes)
        except Unsure as error:
            say("\n".join(getattr(error, "seen", ())))
            raise
        for path in (self.parts.output, self.parts.rejected, self.parts.report):
            if path.exists() and any(path.samefile(source) for source in self.input.paths()):
                raise UsageError(
                    f"{path}: is written, and among what is read; leave it out there, or choose another place"
                )
        self._check_bytes()
        self.is_limited = wanted.min_confidence is not None
        top_k = min(wanted.top_k, len(wanted.labels))
        added = added_names(top_k, self.is_limited, wanted.has_windows, wanted.conformal is not None)
        self.added = name_added(self.input.names, added, wanted.prefix, self.kind)
        say("\n".join(self.input.samples.description()))
        if self.added != added:
            say(f"note: the input has a column of that name, so what is added is called {' '.join(self.added)}")
        say(f"{self.path}: {self.kind}, with {' '.join(self.added)} behind the columns of the input")

    def run(self, job, make_workers):
        """Predict what is not predicted yet, and write the files.

        Args:
            job (core.batch_answers.Job): the model; its top_k, min_confidence, has_windows and conformal are those
                wanted.
            make_workers (Callable[[], OneWorker | Processes]): starts them.

        Returns:
            Summary: what was done.

        Raises:
            UsageError: the files changed meanwhile, or the parts that are there are of another run.
        """
        stamps = self.input.stamps()
        identity, total = self.input.identity()
        arrow = self._arrow()
        output = Output(self.kind, self.input.names, self.added, arrow and arrow.schema)
        # What is read of the input, and how: of other columns the answers would be others.
        roles = [[one.roles.texts, one.roles.label, one.table.kind] for one in self.input.opened]
        wishes = self.wanted.wishes
        options = {
            "--format": job.format,
            "--device": job.device,
            "--threads": job.threads,
            "--batch_size": job.batch_size,
            "--part_rows": self.wanted.part_rows,
            "--top_k": job.top_k,
            "--min_confidence": job.min_confidence,
            "--clean": wishes.clean,
            "--join": wishes.join,
            "--label_names": self.input.samples.mapping,
        }
        if job.conformal is not None:  # a run without it goes on with what was begun before there was such a flag
            options["--conformal"] = job.conformal
        facts = {
            "input": identity,
            "model": folder_digest(job.folder),
            "columns": [self.kind, self.input.names, self.added, roles],
            "options": options,
            "versions": versions(),
        }
        try:
            self.parts.begin(facts)
            if self.parts.done:
                self.say(f"{self.parts.folder}: {len(self.parts.done):,} parts are done; going on from there")
            count = self._predict(make_workers, output, arrow, total)
            self._check_bytes()
            if self.input.stamps() != stamps:
                raise UsageError(
                    f"{' '.join(self.wanted.inputs)}: changed while it was read, so the parts in {self.parts.folder} "
                    "may not fit each other; delete them, and begin again when it no longer changes"
                )
            if sorted(self.parts.done) != list(range(count)):
                raise RuntimeError(f"{self.parts.folder}: {len(self.parts.done)} parts of {count}")
            summary = Summary(self.parts.done.values(), self.wanted.labels, self.input.has_labels, self.is_limited)
            summary.files = self.parts.join(output.join, summary.report())
        finally:
            self.parts.close()
        return summary

    def _check_bytes(self):
        """Refuse columns with bytes that are no text, as far as rows were read, where they would be lost."""
        if self.kind == "parquet":
            return
        for one in self.input.opened:
            if names := [names_of(one.table)[index] for index in sorted(one.table.undecoded)]:
                raise UsageError(
                    f"{one.table.name}: {' '.join(names)}: bytes that are no text, which only .parquet can hold; "
                    "write that, or leave the column out of the input"
                )

    def _arrow(self):
        """The reader of a Parquet input's own values, where these are written; else None."""
        is_parquet = all(one.table.kind.startswith("Parquet") for one in self.input.opened)
        if not is_parquet or self.kind not in ("parquet", "jsonl"):
            return None
        rows = ArrowRows(self.input.sources, self.input.columns)
        if rows.schema is None:
            self.say("note: a column has another type in other files, so all columns are written as text")
            return None
        return rows

    def _predict(self, make_workers, output, arrow, total):
        """Predict the parts that are missing; how many there are in all."""
        done, under_way, workers, number = self.parts.done, {}, None, -1
        begun = sum(counts["rows"] for counts in done.values())
        options = {"total": max(total, begun), "initial": begun, "unit": " texts", "desc": "predicting"}
        try:
            with progress_bar(smoothing=0, **options) as bar, rare_looks():

                def finish():
                    index, found = workers.next()
                    self._keep(index, under_way.pop(index), found, output, workers.names)
                    bar.update(done[index]["rows"])

                blocks = self.input.blocks(records=self.kind == "jsonl")
                for number, part in enumerate(parts_of(blocks, self.wanted.part_rows, output.problem)):
                    if number in done:
                        continue
                    workers = workers or make_workers()
                    table = arrow.take(part) if arrow and part.texts else None
                    while workers.is_full:
                        finish()
                    under_way[number] = part, table
                    workers.submit(number, part.texts)
                while under_way:
                    finish()
        finally:
            if workers:
                workers.close()
        return number + 1

    def _keep(self, number, part, found, output, names):
        """Write one part and what is counted of it."""
        part, table = part
        if table is None and output.kind == "parquet" and not part.texts:
            table = output.schema.empty_table().select(self.input.names)
        columns = answer_columns(found, names)
        counts = counted(part.truths, columns[2 if self.is_limited else 0], columns[0], names[2])
        if self.wanted.conformal is not None:
            place = next(place for place, name in enumerate(self.added) if is_set(name))
            counts.update(counted_sets(part.truths, columns[place], set(names[0])))
        counts["rows"], counts["rejected"] = len(part), part.rejected
        self.parts.add(number, lambda path: output.write(path, part, columns, table), counts)


@contextlib.contextmanager
def rare_looks():
    """Within it Python seldom looks for circles of objects: rows are many, and form none."""
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS_A_LOOK, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def counted(truths, guesses, answers, depth):
    """What is counted of a part's rows: dict of JSON values.

    Args:
        truths (list[str | None | core.dialects.Rejected]): their labels.
        guesses, answers (list[str]): what is most probable, and what is sure enough.
        depth (int): levels of the labels.
    """
    answered, unlabelled = len(answers) - answers.count(UNKNOWN), truths.count(None)
    pairs, answered_right, odd = collections.Counter(), 0, collections.Counter()
    if unlabelled < len(truths):
        pairs = collections.Counter(pair for pair in zip(truths, guesses) if pair[0].__class__ is str)
        answered_right = sum(map(operator.eq, truths, answers))
        odd = collections.Counter(one.reason for one in truths if one is not None and one.__class__ is not str)
    return {
        "pairs": [[truth, guess, count] for (truth, guess), count in pairs.items()],
        "answered": answered,
        "answered_right": answered_right if depth == 1 else None,
        "odd_labels": dict(odd),
        "unlabelled": unlabelled,
        "predicted": len(truths),
    }


def counted_sets(truths, sets, known):
    """What is counted of a part's conformal sets: dict of JSON values.

    Args:
        truths (list[str | None | core.dialects.Rejected]): the labels of its rows.
        sets (list[list[str]]): the labels of each.
        known (set[str]): the model's labels; a row with another one cannot be right.
    """
    pairs = [(truth, labels) for truth, labels in zip(truths, sets) if isinstance(truth, str)]
    judged = [truth in labels for truth, labels in pairs if truth in known]
    sizes = [len(labels) for labels in sets]
    single = sizes.count(1)
    return {"set_labels": sum(sizes), "single_sets": single, "judged_sets": len(judged), "right_sets": sum(judged)}


class Summary:
    """What came out of a run.

    Args:
        parts (Iterable[dict]): what was counted of each part.
        labels (list[str]): of the model.
        has_labels (bool): whether the input has some.
        is_limited (bool): whether there was a min_confidence.

    Attributes:
        rows, predicted, rejected, answered (int): rows of the input, and what became of them.
        files (list[Path]): what was written.
    """

    def __init__(self, parts, labels, has_labels, is_limited):
        self.labels, self.has_labels, self.is_limited, self.files = labels, has_labels, is_limited, []
        self.rows = self.predicted = self.rejected = self.answered = self.unlabelled = 0
        self.pairs, self.odd, self.sets = collections.Counter(), collections.Counter(), collections.Counter()
        for counts in parts:
            self.sets.update({name: counts[name] for name in SET_COUNTS if name in counts})
            for name in ("rows", "predicted", "rejected", "answered", "unlabelled"):
                setattr(self, name, getattr(self, name) + counts[name])
            for truth, guess, count in counts["pairs"]:
                self.pairs[truth, guess] += count
            self.odd.update(counts["odd_labels"])
        for (truth, _), count in self.pairs.items():
            if truth not in set(labels):
                self.odd[f"{shortened(truth)!r} is no label of the model"] += count

    def report(self):
        """The report on the rows that have a label of the model: lines of utils.evaluation_report, None without."""
        import numpy as np

        ids = {label: index for index, label in enumerate(self.labels)}
        right, found, true = (np.zeros(len(ids), "int64") for _ in range(3))
        for (truth, guess), count in self.pairs.items():
            if truth in ids:
                true[ids[truth]] += count
                found[ids[guess]] += count
                right[ids[truth]] += count * (truth == guess)
        return report_of_counts("test", self.labels, right, found, true) if true.any() else None

    def lines(self):
        """What to tell the user."""
        output, *beside = self.files
        yield f"{self.rows:,} rows: {self.predicted:,} predicted, {self.rejected:,} left out -> {output}"
        rejected = next((path for path in beside if path.name.endswith(".rejected.csv")), None)
        if self.rejected:
            yield f"the rows left out, each with its line and reason: {rejected}"
        if self.is_limited and self.predicted:
            share = self.answered / self.predicted
            yield f"sure enough: {self.answered:,} ({share:.2%}); {self.predicted - self.answered:,} are {UNKNOWN}"
        if self.sets["set_labels"]:
            size, single = self.sets["set_labels"] / self.predicted, self.sets["single_sets"] / self.predicted
            yield f"sets of labels (--conformal): {size:.2f} labels on average, one alone for {single:.2%}"
        if not self.has_labels:
            return
        if judged := self.sets["judged_sets"]:
            yield f"of {judged:,} rows with a label, {self.sets['right_sets'] / judged:.2%} have it in their set"
        report = self.report()
        if report:
            yield from report[1:4]
            yield f"each class: {next(path for path in beside if path.name.endswith('.report.txt'))}"
        if self.unlabelled:
            yield f"{self.unlabelled:,} rows have no label, and no part in the report"
        for reason, count in self.odd.most_common(NAMED):
            yield f"{count:,} rows have no part in the report: {reason}"
        if len(self.odd) > NAMED:
            rest = sum(count for _, count in self.odd.most_common()[NAMED:])
            yield f"{rest:,} rows have other labels that the model does not know, and no part in the report"


def folder_digest(folder):
    """SHA-256 of the files of an export folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        digest.update(json.dumps(path.relative_to(folder).parts).encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def versions():
    """Package -> version, None where it is not installed, of PACKAGES."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found
