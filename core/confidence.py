"""What export.json promises of an export's probabilities, read without paddle; core/calibration.py finds it out."""

from core.checkpoints import EXACT_FORMATS, EXPORT_FILE, weights_digest
from core.label_paths import ACCURACY, confidence_problem
from utils import UsageError, read_json


def temperature_of(content):
    """What the graphs of an export divide logits by: export.json's content -> float; 1.0 where there is none."""
    calibration = content.get("calibration")
    value = calibration.get("temperature") if isinstance(calibration, dict) else None
    return value if isinstance(value, (int, float)) and value > 0 else 1.0


def version_of(content, format):
    """What tells the answers of two exports apart, in a few characters: weights, temperature and format.

    Args:
        content (dict): of export.json.
        format (str): of core.checkpoints.FORMATS.
    """
    return f"{str(content.get('weights') or 'unknown')[:12]}-t{temperature_of(content):g}-{format}"


def served_temperature(model_dir):
    """The temperature that a checkpoint is served with: of <model_dir>/export, where that is this model's own export.

    A pruned model's weights and its export are in one folder.

    Returns:
        tuple[float, Path | None]: 1.0 and None where there is none.
    """
    for folder in (model_dir, model_dir / "export"):
        content = read_json(folder / EXPORT_FILE)
        temperature = temperature_of(content)
        if temperature != 1.0 and (folder == model_dir or content.get("weights") == weights_digest(model_dir)):
            return temperature, folder
    return 1.0, None


def promised(content, format, name):
    """What export.json has of a format: dict by the accuracy or the share, empty where it has nothing.

    Args:
        content (dict): of export.json.
        format (str): of core.checkpoints.FORMATS.
        name (str): thresholds or conformal.
    """
    own = content if format in EXACT_FORMATS else content.get("formats", {}).get(format, {})
    return own.get(name) or {}


def why_nothing(content, format):
    """Why export.json promises nothing of a format, and how to go on."""
    if "calibration" not in content or "thresholds" not in content:
        why = content.get("calibration", {}).get("why", "export.json says nothing of it")
    elif not promised(content, format, "conformal"):
        why = f"it is not known for {format}; see train.py --do_parity"
    else:
        why = "dev is too small or the model too often wrong"
    return f"{why}; give a number, or export with a larger dev.txt"


def limits(content, format, min_confidence):
    """The least confidence that a min_confidence asks for.

    Args:
        content, format: see promised.
        min_confidence (float | str): a number, or accuracy:0.98.

    Returns:
        float | tuple[float | None, ...]: see core.label_paths.LabelPaths.choose.

    Raises:
        UsageError: it is neither of the two, or export.json has no threshold for that accuracy.
    """
    if problem := confidence_problem(min_confidence):
        raise UsageError(f"min_confidence {min_confidence!r}: {problem}")
    if not isinstance(min_confidence, str):
        return min_confidence
    found = {name: row for name, row in promised(content, format, "thresholds").items() if any(row["levels"])}
    name = f"{float(min_confidence[len(ACCURACY) :]):g}"
    if name not in found:
        known = f"export.json has one for {', '.join(found)}" if found else why_nothing(content, format)
        raise UsageError(f"min_confidence {min_confidence}: no threshold for that; {known}")
    return tuple(row and row["threshold"] for row in found[name]["levels"])


def share_problem(value):
    """What is wrong with a conformal, or None: it is a number between 0 and 1."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return None if is_number and 0 < value < 1 else "give how often a set shall hold the right label, such as 0.9"


def least_probability(content, format, share):
    """The least probability of the labels of a conformal set: float, in whole millionths.

    Args:
        content, format: see promised.
        share (float): how often a set holds the right label.

    Raises:
        UsageError: it is no share, or export.json has nothing for it.
    """
    if problem := share_problem(share):
        raise UsageError(f"conformal {share!r}: {problem}")
    found = promised(content, format, "conformal")
    if f"{share:g}" not in found:
        known = f"export.json has one for {', '.join(found)}" if found else why_nothing(content, format)
        raise UsageError(f"conformal {share:g}: no least probability for that; {known}")
    return found[f"{share:g}"]["least_probability"]


def most_labels(least, classes):
    """How many labels a conformal set may hold: each has half a millionth less than `least`, or more."""
    return min(classes, max(1, int(1 / (least - 5e-7)))) if least > 0 else classes


def conformal_order(probabilities, least):
    """The labels of conformal sets, the most probable one first; that one is always in its set.

    Probabilities are compared in millionths, which is how the server writes them.

    Args:
        probabilities (np.ndarray): float64 [texts, classes].
        least (float): from least_probability.

    Returns:
        np.ndarray: int64 [texts, most_labels]: class ids, -1 behind the last one of a set.
    """
    import numpy as np

    from core.millionths import reaches

    order = (-probabilities).argsort(axis=1, kind="stable")[:, : most_labels(least, probabilities.shape[1])]
    is_outside = ~reaches(np.take_along_axis(probabilities, order, axis=1), least)
    is_outside[:, 0] = False
    return np.where(is_outside, -1, order)
