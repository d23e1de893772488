"""The work behind the server: fits models while people label, and decides what they are asked next."""

import json
import logging
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

from core.confusions import wilson
from core.learning_curve import outlook
from core.quick_model import MOST_UNLABELLED, Fit
from core.selection import badge, smallest_margins
from deploy.annotation.journal import one_line
from deploy.annotation.vectors import CHUNK, Vectors
from utils import UsageError, read_json, staged_files, write_json, write_lines

logger = logging.getLogger("annotation")

# Texts that are put in order by one model, and those among which they are chosen.
ORDERED, CANDIDATES = 200, 4000
# Vectors that must be there before the first texts are chosen.
FIRST = 1000
STATE_FILE, GIVEN_FILE = "state.json", "given.txt"
# What people gave, for the user: text<Tab>label, and the same as doccano's export for doccano.py --merge_into.
LABELLED_FILE, EXPORT_FILE = "labelled.txt", "annotated.jsonl"
CLOCK = 0.2
# Of a 90 % interval.
Z_90 = 1.645


def choose(model, texts, number, strategy, seed):
    """Row numbers of the texts that are most worth a label, the best first.

    Args:
        model (core.quick_model.QuickModel): of the labels so far.
        texts (core.quick_model.Texts): candidates.
        number (int): of rows.
        strategy (str): of deploy.annotation.flags.STRATEGIES.
        seed (int): of draws.
    """
    number = min(number, len(texts.token_ids))
    if strategy == "random" or not number:
        return np.random.RandomState(seed).permutation(len(texts.token_ids))[:number]
    probabilities = model.probabilities(texts)
    if strategy == "margin":
        return smallest_margins(probabilities, number)
    return badge(probabilities, texts.vectors - model.center, number, seed)


class Loop:
    """Labels in, suggestions and the next texts out.

    Args:
        pool (deploy.annotation.pool.Pool): the data.
        journal (deploy.annotation.journal.Journal): what people have said.
        folder (Path): the working folder.
        settings: with retrain_every, min_accuracy, strategy and seed.
        make_encoder (Callable): gives an Encoder; called on the loop's own thread, since it takes seconds.
    """

    def __init__(self, pool, journal, folder, settings, make_encoder):
        self.pool, self.journal, self.folder, self.settings = pool, journal, Path(folder), settings
        self.make_encoder, self.vectors = make_encoder, None
        self.state, self.problem, self.changed = "loading", None, True
        self.model, self.accuracy, self.judged, self.fitted = None, None, 0, {}
        self.tried, self.asked, self.order, self.outlook = None, False, [], None
        stored = read_json(self.folder / STATE_FILE)
        self.version, self.history = stored.get("version", 0), stored.get("history", [])
        self._stored_texts = stored.get("texts", [])
        path = self.folder / GIVEN_FILE
        self.given = dict.fromkeys(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else {}
        # In an order of its own, so that the first of them are a fair sample.
        order = np.random.RandomState(settings.seed).permutation(len(pool.texts))
        self._waiting = [pool.texts[row] for row in order]
        self.encoded, self._encoded = 0, []
        self._mutex, self._wake, self._stop = threading.RLock(), threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="annotation", daemon=True)

    # --------------------------------------------------------------------------------------------- for other threads

    def start(self):
        """Begin to work."""
        self._thread.start()

    def stop(self):
        """End the work and write what is not yet written; labels are on the disk anyway."""
        self._stop = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(60)
        self.write_labels()

    @property
    def ready(self):
        """Whether suggestions and the next texts can be asked for."""
        return self.model is not None

    @property
    def version_name(self):
        """What the model in service is called."""
        return f"quick-{self.version}"

    def record(self, events):
        """Write down (text, annotator, label or None); how many were news."""
        return self._changed(self.journal.record(events))

    def replace(self, rows, mark=None):
        """Write down the difference to all (text, label, annotator) of a tool; how many changes. See Journal."""
        return self._changed(self.journal.replace(rows, mark))

    def _changed(self, number):
        if number:
            self.changed = True
            self._wake.set()
        return number

    def train(self):
        """Ask for a new model at once, if there is a new label."""
        self.asked = True
        self._wake.set()

    def give(self, texts):
        """Remember that the tool has these texts: they are not chosen again."""
        with self._mutex:
            new = [text for text in dict.fromkeys(map(one_line, texts)) if text not in self.given]
            with (self.folder / GIVEN_FILE).open("a", encoding="utf-8") as file:
                file.write("".join(f"{text}\n" for text in new))
            self.given.update(dict.fromkeys(new))

    def next(self, number):
        """The texts to label next, the best first: list[str], which may be shorter than asked."""
        with self._mutex:
            known = self.labelled()
            found = [text for text in self.order if text not in self.given and text not in known]
            if len(found) < number and self.ready:
                rest = (text for text in self._encoded if text not in self.given and text not in known)
                found = list(dict.fromkeys([*found, *rest]))
            return found[:number]

    def suggest(self, texts):
        """(label, score) of each text; None for an empty one, and for all of them while no model is good enough."""
        model = self.model
        if model is None or not self.suggests:
            return [None] * len(texts)
        rows = model.probabilities(self.vectors.passing([one_line(text) or "-" for text in texts]))
        found = [(self.pool.labels[row.argmax()], float(row.max())) for row in rows]
        return [one if text.strip() else None for one, text in zip(found, texts)]

    @property
    def suggests(self):
        """Whether the model in service is known to be good enough to show what it thinks."""
        return self.accuracy is not None and self.accuracy >= self.settings.min_accuracy

    def labelled(self, agreed=None):
        """Text -> class id of all that a model may be fitted on: train.txt, and what people agree on.

        Args:
            agreed (dict | None): of the journal, where it is at hand.
        """
        agreed = self.journal.agreed() if agreed is None else agreed
        ids = {label: index for index, label in enumerate(self.pool.labels)}
        found = dict(self.pool.train)
        for text, label in agreed.items():
            if label in ids and text not in self.pool.dev and text not in self.pool.test:
                found.setdefault(text, ids[label])
        return found

    def progress(self):
        """What a person wants to know, as JSON can hold it."""
        agreed, disputed = self.journal.decided()
        labelled, by_label = self.labelled(agreed), Counter(agreed.values())
        unknown = {label: count for label, count in by_label.items() if label not in self.pool.labels}
        done = {*agreed, *disputed}
        with self._mutex:
            open_texts = sum(text not in done for text in self.given)
        low = high = None
        if self.accuracy is not None:
            low, high = wilson(round(self.accuracy * self.judged), self.judged, Z_90)
        return {
            "state": self.state,
            "problem": self.problem,
            "data_dir": str(self.pool.folder),
            "labels": self.pool.labels,
            "total": len(done.union(self.pool.texts)),
            "done": len(done),
            "encoded": self.encoded,
            "labelled": len(agreed),
            "disputed": len(disputed),
            "not_in_label_txt": unknown,
            "open": open_texts,
            "in_train": len(self.pool.train),
            "annotators": self.journal.annotators(),
            "mark": self.journal.mark,
            "by_label": [by_label[name] for name in self.pool.labels],
            "version": self.version_name if self.ready else None,
            "accuracy": self.accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "judged_by": "dev.txt" if self.pool.dev else "cross-validation",
            "judged_texts": self.judged,
            "fitted_on": len(self.fitted),
            "suggests": self.suggests,
            "min_accuracy": self.settings.min_accuracy,
            "until_next_model": max(0, self.settings.retrain_every - self._news(labelled)) if self.ready else None,
            "history": self.history[-200:],
            "outlook": self.outlook,
        }

    # ------------------------------------------------------------------------------------------------ the own thread

    def _run(self):
        try:
            self._prepare()
            while not self._stop:
                self._step()
        except UsageError as error:
            self.state, self.problem = "stopped", str(error)
            logger.error("stopped: %s", error)
        except Exception as error:
            self.state, self.problem = "stopped", f"{type(error).__name__}: {error}"
            logger.exception("stopped; labels are still written down")

    def _prepare(self):
        self.state = "loading"
        self.vectors = Vectors(self.make_encoder(), self.folder)
        self.state = "encoding"
        self.vectors.add([*self.pool.words, *self.pool.dev, *self.labelled()])
        while len(self._encoded) < FIRST and self._waiting and not self._stop:
            self._encode()

    def _step(self):
        """Do the most urgent thing; the labels come first."""
        if self.changed:
            self.changed = False
            self.write_labels()
        if self._due():
            self._refit()
        elif self._waiting:
            self.state = "encoding"
            self._encode()
            if not self._waiting:
                self.asked = True  # all candidates are there: choose among them
        else:
            self.state = "waiting"
            self._wake.wait(CLOCK)
            self._wake.clear()

    def _encode(self):
        some, self._waiting = self._waiting[:CHUNK], self._waiting[CHUNK:]
        self.vectors.add(some)
        with self._mutex:
            self._encoded += some
        self.encoded = len(self._encoded)

    def _news(self, labelled):
        """How many labels are new or other ones since the last fit."""
        tried = self.tried or {}
        return sum(tried.get(text) != label for text, label in labelled.items()) + len(tried.keys() - labelled.keys())

    def _due(self):
        if self.tried is None:
            return True
        if self.asked:
            return True
        labelled = self.labelled()
        enough = max(10, len(self.pool.labels))
        first = len(self.tried) < enough <= len(labelled)
        return first or self._news(labelled) >= self.settings.retrain_every

    def _refit(self):
        """Fit a model of all labels; it takes over where it is no worse; then choose what is asked next."""
        self.state, self.asked = "fitting", False
        labelled, began = self.labelled(), time.monotonic()
        same = labelled == self.tried
        texts = list(labelled)
        self.vectors.add(texts)
        dev = (self.vectors.of(self.pool.dev), list(self.pool.dev.values())) if self.pool.dev else None
        others = [text for text in self._encoded[: 2 * MOST_UNLABELLED] if text not in labelled][:MOST_UNLABELLED]
        parts = self.vectors.of(texts), list(labelled.values()), self.vectors.of(self.pool.words)
        fit = Fit(*parts, self.vectors.of(others), dev, self.settings.seed)
        model, right = fit.model()
        accuracy = None if right is None else float(right.mean())
        served = self.fitted if self.ready else {text: labelled.get(text) for text in self._stored_texts}
        known = np.array([row for row, text in enumerate(texts) if served.get(text) == labelled[text]], np.int64)
        before = None
        if accuracy is not None and served and len(known) < len(texts):
            before = fit.accuracy_without(known)
        takes_over = before is None or accuracy >= before
        if takes_over:
            self.model, self.accuracy, self.fitted = model, accuracy, labelled
            self.judged = 0 if right is None else len(right)
            self.version += not same
        elif not self.ready:  # after a restart: the model that was in service
            (self.model, old_right), self.fitted = (
                fit.model(known),
                {texts[row]: labelled[texts[row]] for row in known},
            )
            self.accuracy, self.judged = (None, 0) if old_right is None else (float(old_right.mean()), len(old_right))
        self.tried = labelled
        self._choose(model, labelled)
        if not same:
            row = {"labels": len(labelled), "accuracy": accuracy, "before": before, "took_over": bool(takes_over)}
            self.history.append({**row, "time": round(time.time())})
            self._write_state()
            seconds = time.monotonic() - began
            logger.info("a model of %d labels, accuracy %s, in %.1f s", len(labelled), accuracy, seconds)
        self.outlook = outlook(fit, self.settings.seed)

    def _choose(self, model, labelled):
        with self._mutex:
            left = [text for text in self._encoded if text not in labelled and text not in self.given]
        random = np.random.RandomState([self.settings.seed, self.version])
        left = [left[row] for row in random.permutation(len(left))[:CANDIDATES].tolist()]
        candidates = self.vectors.of(left)
        rows = choose(model, candidates, ORDERED, self.settings.strategy, self.settings.seed)
        with self._mutex:
            self.order = [left[row] for row in rows.tolist()]

    def _write_state(self):
        content = {"version": self.version, "history": self.history, "texts": list(self.fitted)}
        with staged_files(self.folder) as stage:
            write_json(stage / STATE_FILE, content)

    def write_labels(self):
        """Write labelled.txt and annotated.jsonl: all labels that people gave, each file in one move."""
        agreed, disputed = self.journal.decided()
        rows = [{"text": text, "label": [label]} for text, label in agreed.items()]
        rows += [{"text": text, "label": list(dict.fromkeys(some.values()))} for text, some in disputed.items()]
        lines = [f"{text}\t{label}" for text, label in agreed.items()]
        files = {LABELLED_FILE: lines, EXPORT_FILE: [json.dumps(row, ensure_ascii=False) for row in rows]}
        write_lines(self.folder, files, "--work_dir")
