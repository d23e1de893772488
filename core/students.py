"""Predictors with a student: a small classifier that was distilled from the model (core/distill.py); numpy alone.

An export folder holds it in student/, a complete export folder of its own, with stages.json beside its files:

    model      what the model's export.json must say, so that no student of another model answers in its place
    formats    format of the model -> cascade and blend: what was chosen on dev (core/stage_choice.py), or why not

    ngram      the student alone
    cascade    the student's answer where its confidence reaches the threshold, else the model's
    blend      the model's logits and, times a weight, the student's, over a temperature
"""

import copy
import operator
from pathlib import Path

import numpy as np

from core.answers import Answers, read_label_names, softmax
from core.checkpoints import EXPORT_FILE, NGRAM
from core.long_texts import KEY
from core.millionths import reaches
from core.ngram_student import (
    AGAIN,
    CHARACTERS,
    STUDENT_FILE,
    NgramStudent,
    joined_characters,
    read_characters,
    unread,
)
from utils import UsageError, read_json

# In an export folder, and in that folder.
STUDENT_FOLDER, STAGES_FILE = "student", "stages.json"


def model_key(content, file):
    """What makes an export the one that stages were chosen for.

    Args:
        content (dict): of its export.json.
        file (str): the graph's.

    Returns:
        dict: JSON values.
    """
    calibration = content.get("calibration") or {}
    return {
        "weights": content.get("weights"),
        "temperature": calibration.get("temperature"),
        "max_length": content.get("max_length"),
        "bytes": content.get("files", {}).get(file),
        **({KEY: content[KEY]} if KEY in content else {}),
    }


def student_key(place):
    """What makes a student the one that stages were chosen for, from its folder: dict of JSON values."""
    content = read_json(place / EXPORT_FILE)
    temperature = (content.get("calibration") or {}).get("temperature")
    return {"weights": content.get("weights"), "temperature": temperature, "files": content.get("files")}


def check_own(content, place):
    """Refuse the student in an export folder that was distilled from another model.

    Args:
        content (dict): of the export's export.json; of none, nothing is known.
        place (Path): the student's folder.

    Raises:
        UsageError: it is another model's.
    """
    own, student = content.get("weights"), read_json(place / EXPORT_FILE).get("weights")
    if own is not None and own != student:
        raise UsageError(f"{place}: the student of another model, or of this one before it was trained again; {AGAIN}")


def read_stages(model, kind):
    """What stages.json has for a model in its format.

    Args:
        model (core.predictor.Predictor): of the export folder; its folder, path, format and content are enough.
        kind (str): cascade or blend.

    Returns:
        dict: threshold, or weight and temperature; thresholds and conformal as in export.json.

    Raises:
        UsageError: there is no student, it is another model's, or none was chosen, with the reason.
    """
    place = model.folder / STUDENT_FOLDER
    if not place.is_dir():
        raise UsageError(f"{place}: no student is there, which the format {kind} needs; make one: {AGAIN}")
    content = read_json(place / STAGES_FILE)
    found = content.get("formats", {}).get(model.format)
    if model.content.get("weights") is None:
        raise UsageError(f"{model.folder}: its {EXPORT_FILE} does not tell whose it is; export it again, then {AGAIN}")
    check_own(model.content, place)
    if found is None:
        known = ", ".join(content.get("formats", {})) or "none"
        raise UsageError(f"{place / STAGES_FILE}: nothing for the format {model.format} (it has {known}); {AGAIN}")
    if found["model"] != model_key(model.content, model.path.name):
        raise UsageError(f"{place}: the model was exported anew since its student was made; {AGAIN}")
    if "student" in content and content["student"] != student_key(place):
        raise UsageError(f"{place}: {STAGES_FILE} was made for another student than the one that is there; {AGAIN}")
    if "why" in found[kind]:
        raise UsageError(f"{place}: no {kind} with {model.format}: {found[kind]['why']}; use {model.format} alone")
    return found[kind]


def ngram_folder(folder):
    """Where the student of n-grams of an export folder (Path) lies: in student/, or it is the folder.

    Raises:
        UsageError: as check_own.
    """
    place = folder / STUDENT_FOLDER
    if (folder / STUDENT_FILE).is_file() or not (place / STUDENT_FILE).is_file():
        return folder
    check_own(read_json(folder / EXPORT_FILE), place)
    return place


class NgramPredictor(Answers):
    """The student of n-grams alone: what Predictor(folder, format="ngram") gives.

    Args:
        folder: its export folder, or one that holds a student.

    Raises:
        UsageError: it is not there, or broken.
    """

    format, batch_size = NGRAM, 32

    def __init__(self, folder):
        place = ngram_folder(Path(folder))
        self.folder, self.path = place, place / STUDENT_FILE
        self.content, size = read_json(place / EXPORT_FILE), None
        if self.path.is_file():
            size = self.content.get("files", {}).get(STUDENT_FILE)
        if size is not None and self.path.stat().st_size != size:
            raise UsageError(f"{self.path}: {self.path.stat().st_size} bytes, but {size} were written; {AGAIN}")
        self.student = NgramStudent.read(place)
        self.labels, self.max_length = read_label_names(place), int(self.content.get("max_length", 128))
        if len(self.labels) != len(self.student.bias):
            raise UsageError(f"{place}: {len(self.student.bias)} classes, but {len(self.labels)} labels; {AGAIN}")

    def encode(self, texts):
        """Texts to features, list[dict]."""
        return [{CHARACTERS: codes} for codes in read_characters(texts, self.max_length)]

    def logits(self, features):
        """float32 [texts, classes]."""
        return self.student.logits([feature[CHARACTERS] for feature in features])

    def rows_and_unread(self, features, least_known):
        """The probabilities as `rows` gives them, and which texts tell the student too little: bool [texts].

        Its confidence says nothing of those that it reads the beginning of only, and of those of which it knows a
        smaller part than least_known of the n-grams, such as texts in another script.
        """
        characters = [feature[CHARACTERS] for feature in features]
        logits, known = self.student.logits_and_known(characters)
        return softmax(logits), unread(characters, known, self.max_length, least_known)

    def _read(self, texts):
        """What probabilities and windows are; as one array, without a feature for each text."""
        return softmax(self.student.joined_logits(*joined_characters(texts, self.max_length))), None

    def clone(self):
        """One for another thread; nothing of it changes."""
        return self

    def first_stage(self, features):
        """Probabilities, and of which texts they are not the answer: of none."""
        return self.rows(features), np.zeros(len(features), bool)


class StagedPredictor(Answers):
    """A student and a model on the same texts.

    Args:
        student, model: predictors.
        facts (dict): see read_stages.
        format (str): as it was asked for.
    """

    def __init__(self, student, model, facts, format):
        if student.labels != model.labels:
            raise UsageError(f"{student.folder}: its labels are not those of the model; {AGAIN}")
        self.student, self.model, self.facts, self.format = student, model, facts, format
        names = ("folder", "path", "labels", "max_length", "batch_size")
        self.folder, self.path, self.labels, self.max_length, self.batch_size = operator.attrgetter(*names)(model)
        self.content = {**model.content, "formats": {format: facts}}
        self.reads_characters = student.format == NGRAM
        self.long_text = getattr(model, "long_text", None)

    def encode(self, texts):
        """Texts to the model's features, and where the student is of n-grams, its own among them."""
        features = self.model.encode(texts)
        if self.reads_characters:
            for feature, codes in zip(features, read_characters(texts, self.student.max_length)):
                feature[CHARACTERS] = codes
        return features

    def look(self, texts, features):
        self.model.look(texts, features)

    def logits(self, features):
        """Logarithms of the probabilities, float64 [texts, classes]."""
        return np.log(np.maximum(self.rows(features), 1e-300))

    def clone(self):
        """One more on the same weights for another thread."""
        other = copy.copy(self)
        other.student, other.model = self.student.clone(), self.model.clone()
        return other


class CascadePredictor(StagedPredictor):
    """The student answers where it is sure enough, else the model: what format="cascade" gives."""

    def first_stage(self, features):
        """The student's probabilities, float64 [texts, classes], and which texts it leaves to the model, bool."""
        if self.reads_characters:
            rows, is_open = self.student.rows_and_unread(features, self.facts.get("least_known", 0.0))
        else:
            rows, is_open = self.student.rows(features), False
        is_open = is_open | ~reaches(rows.max(axis=1), self.facts["threshold"])
        return rows, is_open | np.fromiter(("windows" in feature for feature in features), bool)

    def rows(self, features):
        """The probabilities: of each text either stage's own."""
        return self.rows_and_windows(features)[0]

    def rows_and_windows(self, features):
        """Probabilities as `rows` gives them, and which windows decided as Predictor.logits_and_windows does."""
        if not features:
            return np.empty((0, len(self.labels))), None
        rows, is_open = self.first_stage(features)
        places, windows = np.flatnonzero(is_open), None
        some = [features[place] for place in places]
        if self.long_text is not None and self.long_text.has_windows and some:
            logits, found = self.model.logits_and_windows(some)
            rows[places] = softmax(logits)
            if found is not None:
                windows = np.zeros(len(features), found.dtype)
                windows[places] = found
        elif some:
            rows[places] = self.model.rows(some)
        return rows, windows

    def _read(self, texts):
        features = self.encode(texts)
        self.look(texts, features)
        return self.rows_and_windows(features)


class BlendPredictor(StagedPredictor):
    """Model and student together: what format="blend" gives."""

    def rows(self, features):
        if not features:
            return np.empty((0, len(self.labels)))
        return softmax(blended(self.model.logits(features), self.student.logits(features), self.facts))


def blended(model, student, facts):
    """The logits of both together, float64 [texts, classes].

    Args:
        model, student (np.ndarray): the exports' own logits [texts, classes].
        facts (dict): weight and temperature.
    """
    return (model.astype("float64") + facts["weight"] * student.astype("float64")) / facts["temperature"]
