"""Index, encoder and, where there is one, classifier as one system, and the file of its settings."""

import numpy as np

from retrieval_based.utils import vote
from utils import UsageError, read_json, staged_files, write_json

# What counts until System.fit has found better: no text is unknown then.
DEFAULTS = {"k": 10, "temperature": 0.05, "threshold": None, "weight": 0.5, "fall_back": 0.8}
# Neighbours that System.fit tries at most.
MAX_K = max(vote.KS)


class System:
    """Index, encoder and, where there is one, classifier.

    Args:
        index: of open_index.
        extractor (FeatureExtractor): of the index's model.
        settings (dict): as DEFAULTS; and `renamed`, from the classifier's labels to what they are called now.
        classifier (Predictor | None): the fine-tuned model.
        hybrid (str): blend or fall_back.
    """

    def __init__(self, index, extractor, settings, classifier=None, hybrid="blend"):
        self.index, self.extractor, self.classifier, self.hybrid = index, extractor, classifier, hybrid
        self.settings = {**DEFAULTS, "renamed": {}, **settings}
        if classifier:
            renamed = self.settings["renamed"]
            names = [renamed.get(label, label) for label in classifier.labels]
            # Of a label that was removed nobody wants to hear; it stays a column, which is put to 0.
            self._classifier_names = names
            self._alive = {name for name in dict.fromkeys(names) if index.has_label(name)}

    def neighbours(self, texts, top_k, labels=None):
        """list[list[Hit]] of texts."""
        return self.index.search(self.extractor.encode(texts), top_k, labels)

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
        wanted = self._alive if labels is None else self._alive & set(labels)
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
        """Rename a label; the number of its texts."""
        count = self.index.rename_label(old, new)
        self._keep_changes()
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


# ------------------------------------------------------------------------------------------------------ the settings


def read_settings(path, model_hash):
    """The content of system.json; empty where there is none.

    Raises:
        UsageError: it cannot be read, or was fitted with another model.
    """
    if not path.exists():
        return {}
    settings = read_json(path)
    if not settings:
        raise UsageError(f"{path}: cannot be read as JSON; run --fit_threshold again, or delete it")
    if settings.get("model_hash") != model_hash:
        raise UsageError(f"{path}: fitted with another model; run --fit_threshold again, or delete it")
    return settings


def write_settings(path, settings):
    with staged_files(path.parent) as stage:
        write_json(stage / path.name, settings)


def renamed_labels(renamed, old, new):
    """What the classifier's labels are called after one more renaming."""
    renamed = {**{first: new if now == old else now for first, now in renamed.items()}, old: new}
    return {first: now for first, now in renamed.items() if first != now}
