"""Labels and probabilities of texts, from whatever gives logits; nothing here needs paddle."""

import functools
import json
from collections import namedtuple

import numpy as np

from core.confidence import conformal_order, least_probability, limits
from core.label_paths import UNKNOWN, LabelPaths, stored_separator
from core.long_texts import window_facts
from utils import UsageError


def softmax(logits):
    """Probabilities, float64 [texts, classes]."""
    powers = np.exp(logits.astype("float64") - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def read_label_names(folder):
    """The label names of an export folder, in class order.

    Raises:
        UsageError: id2label.json is missing or broken.
    """
    path = folder / "id2label.json"
    try:
        id2label = json.loads(path.read_text(encoding="utf-8"))
        return [id2label[str(index)] for index in range(len(id2label))]
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); export the model again") from None


class Scored(namedtuple("Scored", "label confidence")):
    """A label and its probability.

    Attributes:
        window (dict | None): see core.long_texts.window_facts; None where the text was read as a whole.
    """

    window = None


class Answers:
    """What is answered, for a class that has `encode`, `logits`, `labels`, `content` and `format`.

    Attributes:
        paths (LabelPaths): the levels of labels such as 一级##二级, by the separator in export.json.
    """

    @functools.cached_property
    def paths(self):
        return LabelPaths(self.labels, stored_separator(self.content))

    def look(self, texts, features):
        """Warn of texts that cannot be read, where something is known of that."""

    def rows(self, features):
        """The probabilities of tokenised texts, float64 [texts, classes]."""
        return softmax(self.logits(features))

    def probabilities(self, texts):
        """float64 [texts, classes]; each row sums to 1. A str is one text; a blank one is taken, for texts without
        their words."""
        return self.read(texts)[0]

    def read(self, texts):
        """Probabilities as above, and which window of each text decided.

        Returns:
            tuple[np.ndarray, np.ndarray | None]: float64 [texts, classes]; core.long_texts.WINDOW [texts], or None
            where each text was read as a whole.
        """
        return self._read(self._listed(texts))

    def _read(self, texts):
        features = self.encode(texts)
        self.look(texts, features)
        return self.rows(features), None

    @staticmethod
    def _listed(texts, blank=True):
        """The texts as a list; a single str is one text.

        Raises:
            UsageError: one of them is no text, such as None or NaN of a table, or is empty where `blank` is False.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        for number, text in enumerate(texts):
            if not isinstance(text, str) or not (blank or text.strip()):
                raise UsageError(f"texts[{number}]: {text!r} is not a text; leave it out, or write one")
        return texts

    def classify(self, texts, min_confidence=None, unknown=UNKNOWN):
        """The most probable label of each text and its probability.

        Args:
            texts (Iterable[str] | str): a str is one text.
            min_confidence (float | str | None): from 0 to 1. Of labels such as 一级##二级 the answer is then the
                deepest level that is at least so probable, a parent being as probable as all its labels together;
                where no level is, `unknown`. Or accuracy:0.98, so probable that answers are right so often, by the
                thresholds in export.json.
            unknown (str): what the answer is called where no level is.

        Returns:
            list[tuple[str, float]]: label and probability; with min_confidence list[core.label_paths.Answer]: label,
            confidence, and beside it the most probable label and its probability, guess and guess_confidence. Each
            has an attribute window: which of a long text's windows decided (core.long_texts.window_facts), or None.

        Raises:
            UsageError: an empty text, a min_confidence out of range or that export.json has no threshold for, a
                label that is called as `unknown` says, or such a name without min_confidence.
        """
        if min_confidence is not None:
            least = limits(self.content, self.format, min_confidence)
            self.paths.check_answers(unknown)
        elif unknown != UNKNOWN:
            raise UsageError(f"unknown {unknown!r}: no answer is called so without min_confidence; give that too")
        probabilities, windows = self._read(self._listed(texts, blank=False))
        if min_confidence is not None:
            answers = self.paths.answers(probabilities, least, unknown)
        else:
            answers = [Scored(self.labels[row.argmax()], float(row.max())) for row in probabilities]
        for answer, window in zip(answers, [] if windows is None else windows):
            answer.window = window_facts(window)
        return answers

    def label_sets(self, texts, conformal=0.9):
        """Labels of each text among which the right one is, as often as `conformal` says (core/calibration.py).

        Args:
            texts (Iterable[str] | str): a str is one text.
            conformal (float): a share that export.json knows: 0.9 or 0.95.

        Returns:
            list[list[tuple[str, float]]]: label and probability, the most probable one first; at least one a text.

        Raises:
            UsageError: an empty text, or a share that export.json does not know.
        """
        least = least_probability(self.content, self.format, conformal)
        probabilities = self.probabilities(self._listed(texts, blank=False))
        order = conformal_order(probabilities, least)
        return [
            [(self.labels[place], float(row[place])) for place in places if place >= 0]
            for places, row in zip(order.tolist(), probabilities)
        ]
