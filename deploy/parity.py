"""Whether an export answers as its model did before it was exported."""

import numpy as np

from core.checkpoints import EXACT_FORMATS, PARITY_FILE
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
    difference = np.abs(predictor.probabilities(parity["texts"]) - parity["probabilities"]).max()
    tolerance = EXACT_TOLERANCE if predictor.format in EXACT_FORMATS else ROUNDED_TOLERANCE
    if not difference <= tolerance:
        raise UsageError(
            f"{predictor.path}: not the model that was exported: a probability is {difference:.2g} away from "
            f"{PARITY_FILE}, more than {tolerance:g}; export the model again"
        )
    return f"probabilities within {difference:.1e} of {PARITY_FILE}"
