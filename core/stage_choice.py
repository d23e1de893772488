"""What is chosen on dev for a model and its student together, which has never seen dev: a threshold, and a weight.

Both are found by cross-fitting: dev is cut into FOLDS parts, and each part is answered with what the others chose, so
that the accuracies that are told are not those of the samples that were chosen by. What is used in the end is chosen
on all of dev by the same rule.
"""

import math

import numpy as np

from core.calibration import GRID, MIN_SAMPLES, cross_fit, fit_temperature, promises, true_log_probabilities
from core.millionths import millionths, reaches

FOLDS, REPEATS = 5, 20

# Of the points of accuracy that may be lost, what the choice on the other parts may lose, and of the texts that it
# then may answer, how many the student does: the first of these with which the parts that had no share in it lose no
# more than is allowed, in the mean of REPEATS ways to cut dev.
SHARES = (*((share, 1.0) for share in (1.0, 0.75, 0.5, 0.25, 0.0)), *((0.0, part / 10) for part in range(9, 0, -1)))

# The student's logits count so many times as much as the model's at most, in so many steps.
WEIGHTS = np.arange(1, 21) / 10

# How unlikely an accuracy as much higher must be by chance alone, so that a blend is offered.
CHANCE = 0.05


def folds_of(samples, seed):
    """Which part each sample is in: int64 [samples]."""
    return np.random.RandomState(seed).permutation(samples) % FOLDS


def log_softmax(logits, temperature):
    """Logarithms of probabilities, float64 [samples, classes]; the temperature is one, or one a sample."""
    rows = np.asarray(logits, np.float64) / np.broadcast_to(temperature, len(logits))[:, None]
    rows = rows - rows.max(axis=1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))


def pick_threshold(confidence, gain, allowed, part=1.0):
    """The lowest threshold at which the student may be expected to lose no more right answers than allowed.

    Single texts are noise: of 2,000, a loss of 0.2 points is 4 answers. So what a text costs is first made never less
    than what a surer one costs, and never below 0, by isotonic regression (the pool-adjacent-violators algorithm,
    Ayer et al., 1955), and the threshold is where the sum of these costs from the surest text on reaches the limit.

    Args:
        confidence (np.ndarray): the student's, float64 [samples].
        gain (np.ndarray): 1 where it alone is right, -1 where the model alone is, else 0 [samples].
        allowed (float): right answers that may be lost.
        part (float): of the texts that may be answered then, the surest ones that are, from 0 to 1.

    Returns:
        float | None: a multiple of 1 / GRID; None where not even the surest text may be answered.
    """
    from sklearn.isotonic import IsotonicRegression

    steps = np.floor(millionths(confidence) / 1e6 * GRID + 1e-6).astype(np.int64)
    costs = IsotonicRegression(y_min=0.0).fit_transform(-steps, -np.asarray(gain, np.float64))
    order = np.argsort(-steps, kind="stable")
    steps, lost = steps[order], np.cumsum(costs[order])
    last = np.flatnonzero(np.append(steps[1:] != steps[:-1], True))
    fits = lost[last] <= allowed + 1e-9
    fits &= last + 1 <= part * (last[fits][-1] + 1) + 1e-9 if fits.any() else fits
    return float(steps[last[fits][-1]]) / GRID if fits.any() else None


def stages_out_of_fold(confidence, gain, allowed, part, seed):
    """Which samples the student answers, each by a threshold that was chosen on the other parts: bool [samples].

    Args:
        confidence, gain (np.ndarray): as of pick_threshold.
        allowed (float): right answers that may be lost a sample.
        part (float): as of pick_threshold.
        seed (int): of the parts.
    """
    folds, is_first = folds_of(len(gain), seed), np.zeros(len(gain), bool)
    for fold in range(FOLDS):
        own, others = folds == fold, folds != fold
        limit = pick_threshold(confidence[others], gain[others], allowed * others.sum(), part)
        if limit is not None:
            is_first[own] = reaches(confidence[own], limit)
    return is_first


def cascade_facts(student, model, truth, paths, loss, seed, calibrate=True, is_unread=None):
    """The threshold of a cascade, and what can be told of it.

    Args:
        student, model (np.ndarray): logits on dev [samples, classes], neither divided by a temperature.
        truth: class ids [samples].
        paths (core.label_paths.LabelPaths): the levels of the labels.
        loss (float): points of accuracy, of 100, that may be lost against the model alone.
        seed (int): of parts and halves.
        calibrate (tuple[bool, bool] | bool): whether student's and model's exports have a temperature.
        is_unread (np.ndarray | None): which samples the student never answers, bool [samples]; None: there are none.

    Returns:
        dict: threshold; share of dev that the student answers, accuracy and model_accuracy, lost (points) and
        lost_error (its standard error), all out of fold, means of REPEATS ways to cut dev; thresholds and conformal
        as of core.calibration.promises, by the first of these. Or why there is none.
    """
    truth = np.asarray(truth)
    if len(truth) < MIN_SAMPLES:
        return {"why": f"dev has {len(truth)} samples, and a threshold takes {MIN_SAMPLES}"}
    calibrate = (calibrate, calibrate) if isinstance(calibrate, bool) else calibrate
    scaled = [
        log_softmax(logits, cross_fit(logits, truth, seed)[1] if wanted else 1.0)
        for logits, wanted in zip((student, model), calibrate)
    ]
    right = [logits.argmax(axis=1) == truth for logits in (student, model)]
    gain, confidence = right[0].astype(int) - right[1], np.exp(scaled[0].max(axis=1))
    if is_unread is not None:
        confidence = np.where(is_unread, 0.0, confidence)
    chosen = None
    for share, part in SHARES:
        allowed = share * loss / 100
        ways = [stages_out_of_fold(confidence, gain, allowed, part, seed + repeat) for repeat in range(REPEATS)]
        answered = np.mean(ways, axis=0)  # how often the student answered each sample
        lost = -100 * (answered * gain).mean()
        if lost <= loss + 1e-9 and answered.any():
            chosen = pick_threshold(confidence, gain, allowed * len(truth), part)
            break
    if chosen is None:
        return {"why": f"at no threshold the two together lose {loss:g} points or less against the model alone"}
    rows = np.where(ways[0][:, None], *scaled)
    return {
        "threshold": chosen,
        "samples": len(truth),
        "share": round(float(answered.mean()), 4),
        "accuracy": round(float(right[1].mean() - lost / 100), 6),
        "model_accuracy": round(float(right[1].mean()), 6),
        "lost": round(float(lost), 4) + 0.0,
        "lost_error": round(float(100 * (answered * gain).std() / math.sqrt(len(truth))), 4),
        **promises(rows, truth, paths, 1.0),
    }


def pick_weight(student, model, truth):
    """The weight of WEIGHTS with which the true classes are most likely, after a temperature's part is taken out.

    Args:
        student, model (np.ndarray): logits [samples, classes].
        truth (np.ndarray): class ids [samples].
    """
    losses = []
    for weight in WEIGHTS:
        logits = model + weight * student
        losses.append(-true_log_probabilities(logits, truth, fit_temperature(logits, truth)).mean())
    return float(WEIGHTS[int(np.argmin(losses))])


def blend_facts(student, model, truth, paths, seed):
    """Whether the two added are surely more accurate than the model, and with which weight.

    Args:
        student, model (np.ndarray): the exports' own logits on dev [samples, classes], temperatures included.
        truth, paths, seed: as of cascade_facts.

    Returns:
        dict: weight and temperature; samples, accuracy and model_accuracy out of fold; better and worse (samples on
        which only one of the two is right) and chance (how likely it is that they differ so, or more, without any
        reason: McNemar's exact test, one-sided); thresholds and conformal. Where it is not more accurate, why instead
        of weight, temperature, thresholds and conformal.
    """
    from scipy.stats import binomtest

    truth = np.asarray(truth)
    if len(truth) < MIN_SAMPLES:
        return {"why": f"dev has {len(truth)} samples, and a weight takes {MIN_SAMPLES}"}
    student, model = (np.asarray(logits, np.float64) for logits in (student, model))
    folds, rows = folds_of(len(truth), seed), np.empty(model.shape)
    for fold in range(FOLDS):
        own, others = folds == fold, folds != fold
        weight = pick_weight(student[others], model[others], truth[others])
        temperature = fit_temperature(model[others] + weight * student[others], truth[others])
        rows[own] = (model[own] + weight * student[own]) / temperature
    right, before = rows.argmax(axis=1) == truth, model.argmax(axis=1) == truth
    better, worse = int((right & ~before).sum()), int((before & ~right).sum())
    chance = float(binomtest(better, better + worse, alternative="greater").pvalue) if better + worse else 1.0
    facts = {
        "samples": len(truth),
        "accuracy": round(float(right.mean()), 6),
        "model_accuracy": round(float(before.mean()), 6),
        "better": better,
        "worse": worse,
        "chance": round(chance, 6),
    }
    if chance >= CHANCE:
        told = f"{facts['accuracy']:.2%} against {facts['model_accuracy']:.2%} of the model alone"
        return {**facts, "why": f"on dev it is not surely more accurate: {told}, by chance with p = {chance:.2g}"}
    weight = pick_weight(student, model, truth)
    temperature = fit_temperature(model + weight * student, truth)
    return {"weight": weight, "temperature": temperature, **facts, **promises(rows, truth, paths, 1.0)}
