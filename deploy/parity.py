"""Whether an export answers as its model did before it was exported."""

import numpy as np

from core.checkpoints import EXACT_FORMATS, PARITY_FILE
from core.predictor import softmax
from utils import UsageError, read_json

# How far a probability may be from what the model gave. Another model's are further off.
EXACT_TOLERANCE, ROUNDED_TOLERANCE = 1e-3, 0.2


def check_parity(predictor):
    """Compare the answers of an export folder with its parity.json.

    Args:
        predictor (core.predictor.Predictor): of the folder.

    Returns:
        str: what was seen.

    Raises:
        UsageError: other labels or other answers.
    """
    path = predictor.folder / PARITY_FILE
    parity = read_json(path)
    if not parity:
        return f"not compared: no {PARITY_FILE}"
    if parity.get("labels") != predictor.labels:
        raise UsageError(f"{path}: its labels are not those of id2label.json; export the model again")
    tolerance = EXACT_TOLERANCE if predictor.format in EXACT_FORMATS else ROUNDED_TOLERANCE
    features = predictor.encode(parity["texts"])

    def distance(batches):
        rows = np.concatenate([predictor.logits(batch) for batch in batches])
        return np.abs(softmax(rows) - parity["probabilities"]).max()

    # One by one is faster: together, all are as long as the longest. So they were exported, which ERNIE-M, attending
    # to padding, remembers.
    difference = distance([[feature] for feature in features])
    if not difference <= tolerance:
        difference = distance([features])
    if not difference <= tolerance:
        raise UsageError(
            f"{predictor.path}: not the model that was exported: a probability is {difference:.2g} away from "
            f"{PARITY_FILE}, more than {tolerance:g}; export the model again"
        )
    return f"probabilities within {difference:.1e} of {PARITY_FILE}"
