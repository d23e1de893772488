"""Index, encoder and, where there is one, classifier as one system."""

import time

import numpy as np

from retrieval_based.settings import DEFAULTS, read_notes
from retrieval_based.utils import config, vote
from utils import MAX_NAMES_IN_MESSAGE, UsageError

# Neighbours that System.fit tries at most.
MAX_K = max(vote.KS)
# Seconds after which what other processes have noted in a shared index is read again.
NOTES_SECONDS = 5


class System:
    """Index, encoder and, where there is one, classifier.

    Args:
        index: of open_index.
        extractor (FeatureExtractor): of the index's model.
        settings (dict): of DEFAULTS or `renamed`; they go before those that the index keeps.
        classifier (Predictor | None): the fine-tuned model.
        hybrid (str): blend or fall_back.

    Attributes:
        pending (list[tuple[str, str]]): renamings (old, new) that are not finished: rows may have either name, and
            old counts as new.
        not_in_index (list[str]): labels of the classifier that the index lacks and that are not answered.

    Raises:
        UsageError: classifier and index have no label in common.
    """

    def __init__(self, index, extractor, settings, classifier=None, hybrid="blend"):
        self.index, self.extractor, self.classifier, self.hybrid = index, extractor, classifier, hybrid
        self._chosen, self._classifier_names, self.not_in_index = settings, [], []
        self._read_notes()
        if classifier and len(index) and not self._alive:
            names = " ".join(self._classifier_names[:MAX_NAMES_IN_MESSAGE])
            raise UsageError(
                f"the classifier and the index have no label in common (the classifier's: {names}); give the "
                "classifier of these labels, or the index of its texts"
            )

    def _read_notes(self):
        start = time.monotonic()
        noted, self.pending = read_notes(self.index.notes())
        renamed = {**noted["renamed"], **self._chosen.get("renamed", {})}
        self.settings = {**DEFAULTS, **noted, **self._chosen, "renamed": renamed}
        if self.classifier:
            names = self._classifier_names = [renamed.get(label, label) for label in self.classifier.labels]
            now = dict(self.pending)
            # Of a label that was removed nobody wants to hear; it stays a column, which is put to 0.
            found = self.index.present([*names, *now])
            found = {now.get(name, name) for name in found}
            self._alive = [name for name in dict.fromkeys(names) if name in found]
            self.not_in_index = [name for name in dict.fromkeys(names) if name not in found]
        # Reading takes at most a twentieth of the time.
        self._next_reading = time.monotonic() + max(NOTES_SECONDS, 20 * (time.monotonic() - start))

    def follow(self):
        """Learn what other processes have noted in a shared index, where that was some time ago."""
        if self.index.is_shared and time.monotonic() > self._next_reading:
            self._read_notes()

    def neighbours(self, texts, top_k, labels=None):
        """list[list[Hit]] of texts."""
        now = dict(self.pending)
        if labels is not None and now:
            labels = [*labels, *(old for old, new in now.items() if new in labels)]
        found = self.index.search(self.extractor.encode(texts), top_k, labels)
        return [[hit._replace(label=now.get(hit.label, hit.label)) for hit in hits] for hits in found]

    def tables(self, hits, more=()):
        """Hits as vote takes them.

        Returns:
            tuple[list[str], np.ndarray, np.ndarray]: labels of the columns; scores and label ids [texts, most hits].
        """
        names = list(dict.fromkeys([*more, *(hit.label for found in hits for hit in found)]))
        column = {name: number for number, name in enumerate(names)}
        width = max((len(found) for found in hits), default=0)
        scores, ids = np.zeros((len(hits), width)), np.full((len(hits), width), -1)
        for row, found in enumerate(hits):
            scores[row, : len(found)] = [hit.score for hit in found]
            ids[row, : len(found)] = [column[hit.label] for hit in found]
        return names, scores, ids

    def probabilities(self, texts, names, labels=None):
        """The classifier's probabilities of the labels that are there and asked for, as [texts, names]."""
        column = {name: number for number, name in enumerate(names)}
        wanted = set(self._alive if labels is None else labels).intersection(self._alive)
        result = np.zeros((len(texts), len(names)))
        for values, name in zip(self.classifier.probabilities(texts).T, self._classifier_names):
            if name in wanted:
                result[:, column[name]] += values
        return result / np.maximum(result.sum(axis=1, keepdims=True), 1e-300)

    def answer(self, texts, top_k=5, labels=None):
        """Classify texts.

        Args:
            texts (list[str]): none empty.
            top_k (int): neighbours in the answer.
            labels (list[str] | None): only these are answered.

        Returns:
            list[dict]: text; label (None: unknown), score; evidence, a list of text, label and similarity; with a
                classifier also its label and probability, the index's and its share, and whether they disagree.
        """
        settings = self.settings
        hits = self.neighbours(texts, max(top_k, settings["k"]), labels)
        names, scores, ids = self.tables(hits, self._alive if self.classifier else ())
        shares = vote.vote(scores, ids, len(names), settings["k"], settings["temperature"])
        mixed, sure = shares, None
        if self.classifier:
            sure = self.probabilities(texts, names, labels)
            mixed = self.mix(sure, shares, names)
        answers = []
        for row, (text, found) in enumerate(zip(texts, hits)):
            best = int(mixed[row].argmax()) if names else 0
            unknown = not names or not mixed[row].any() or self._is_far(found)
            label, score = None if unknown else names[best], float(mixed[row, best]) if names else 0.0
            evidence = [{"text": hit.text, "label": hit.label, "similarity": hit.score} for hit in found[:top_k]]
            answer = {"text": text, "label": label, "score": score, "evidence": evidence}
            if self.classifier and names:
                one, other = int(sure[row].argmax()), int(shares[row].argmax())
                answer["classifier"] = {"label": names[one], "score": float(sure[row, one])}
                answer["index"] = {"label": names[other], "score": float(shares[row, other])}
                answer["disagree"] = bool(sure[row].any() and shares[row].any() and one != other)
            answers.append(answer)
        return answers

    def _is_far(self, hits):
        """Whether a text with these hits is farther from all than the threshold."""
        threshold = self.settings["threshold"]
        return threshold is not None and (not hits or hits[0].score < threshold)

    def mix(self, probabilities, shares, names):
        """Classifier and index together: [texts, names]."""
        known = [number for number, name in enumerate(names) if name in self._alive]
        if not known:
            return shares
        wide = vote.widened(probabilities[:, known], known, shares)
        if self.hybrid == "fall_back":
            mixed = vote.fall_back(wide, shares, self.settings["fall_back"])
        else:
            mixed = vote.blend(wide, shares, self.settings["weight"])
        # Where only one of them says something, it counts as it is.
        mixed = np.where(shares.any(axis=1, keepdims=True), mixed, wide)
        return np.where(probabilities.any(axis=1, keepdims=True), mixed, shares)

    # --------------------------------------------------------------------------------------------------------- labels

    def add_label(self, label, texts):
        """Insert examples of a label; their number."""
        count = self.index.upsert(texts, [label] * len(texts), self.extractor.encode(texts))
        self._keep_changes()
        return count

    def remove_label(self, label):
        """Delete a label with its texts; their number."""
        count = self.index.delete_label(label)
        self._keep_changes()
        return count

    def rename_label(self, old, new):
        """Rename a label; the number of its texts that had the old name still.

        Noted first, then done, then confirmed: cut off anywhere, it may be called again, until `pending` is empty.
        """
        if (old, new) not in self.pending:
            config.check_label(new)
            if not self.index.has_label(old):
                return 0
            self.index.add_note({"renaming": [old, new]})
        count = self.index.rename_label(old, new)
        self._keep_changes()
        self.index.add_note({"renamed": [old, new]})
        self._read_notes()
        return count

    def _keep_changes(self):
        if not self.index.is_durable:
            self.index.save()

    # -------------------------------------------------------------------------------------------------------- fitting

    def fit(self, texts, truth, unknown=None, keep=0.95):
        """Choose the settings on texts with labels that are not in the index.

        Args:
            texts, truth (list[str]): with labels that the index has. A text that is in the index is not its own
                neighbour here.
            unknown (list[str] | None): texts that have none of the labels.
            keep (float): without them, the share of the known that is kept.

        Returns:
            dict: k, temperature, threshold; with a classifier weight and fall_back.
        """

        def others(texts):
            found = self.neighbours(texts, MAX_K + 1)
            return [[hit for hit in hits if hit.text != text][:MAX_K] for text, hits in zip(texts, found)]

        hits = others(texts)
        names, scores, ids = self.tables(hits, [*dict.fromkeys(truth), *(self._alive if self.classifier else ())])
        classes = np.array([names.index(label) for label in truth])
        k, temperature = vote.choose_vote(scores, ids, classes, len(names))
        known = [found[0].score if found else -1.0 for found in hits]
        strange = [found[0].score if found else -1.0 for found in others(unknown)] if unknown else None
        threshold = vote.fit_threshold(known, strange, keep)
        fitted = {"k": int(k), "temperature": float(temperature), "threshold": threshold}
        if self.classifier:
            shares = vote.vote(scores, ids, len(names), k, temperature)
            known = [number for number, name in enumerate(names) if name in self._alive]
            wide = vote.widened(self.probabilities(texts, names)[:, known], known, shares)
            fitted["weight"] = float(vote.choose_weight(wide, shares, classes))
            fitted["fall_back"] = float(vote.choose_fall_back(wide, shares, classes))
        return fitted
