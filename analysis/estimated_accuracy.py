"""How many answers are probably right, without a true label: from calibrated confidences.

Confidence-based performance estimation (CBPE; Białek et al. 2024, arXiv:2401.08348): where a confidence of 0.8 means
right in 8 of 10 cases, the mean confidence is the accuracy that is to be expected. That supposes that a confidence
means the same as before (covariate shift). Where the labels' shares change, it does not quite; where the meaning of a
label changes, or texts come that no label fits, not at all: these are wrong, however sure the model is.
"""

from dataclasses import dataclass

import numpy as np

from core.calibration import MIN_SAMPLES

# Draws of the interval; steps of Newton's method, which has long converged by then.
DRAWS, STEPS = 1000, 12
# Confidences that are told apart, in equal steps of their log-odds; beyond these log-odds they count as one.
GRID, FARTHEST = 400, 12.0


@dataclass
class Estimate:
    """An accuracy that was not measured.

    Attributes:
        accuracy (float): the estimate.
        interval (tuple[float, float]): 95 %, for the share of right answers among these very texts.
        reference (float): accuracy on the reference, measured.
        samples (int): of the reference.
    """

    accuracy: float
    interval: tuple
    reference: float
    samples: int


def calibration_problem(content):
    """Why the probabilities of an export are not known to be calibrated, or None; `content` is that of export.json."""
    facts = content.get("calibration")
    if not isinstance(facts, dict):
        return "export.json says nothing of calibration; export the model again, which calibrates it on dev"
    if facts.get("temperature") is None and "before" not in facts:
        return (
            f"the export is not calibrated ({facts.get('why', 'no reason given')}); export it again with --calibrate"
        )
    return None


def log_odds(confidence):
    """float64 [n], within FARTHEST."""
    values = np.clip(np.asarray(confidence, dtype=np.float64), 1e-12, 1 - 1e-12)
    return np.clip(np.log(values / (1 - values)), -FARTHEST, FARTHEST)


def fit_lines(odds, right, weights):
    """Logistic regressions of being right on the log-odds of the confidence (Platt 1999), one a row of weights.

    Perfect confidences have intercept 0 and slope 1. A normal prior of that mean and of variance 1 keeps a small or
    faultless reference from leading astray.

    Args:
        odds (np.ndarray): float [samples].
        right (np.ndarray): bool [samples].
        weights (np.ndarray): float [draws, samples].

    Returns:
        np.ndarray: float64 [draws, 2], intercepts and slopes.
    """
    found = np.tile([0.0, 1.0], (len(weights), 1))
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-(found[:, :1] + found[:, 1:] * odds)))
        miss, spread = weights * (right - chance), weights * chance * (1 - chance)
        slope = np.stack([miss.sum(axis=1) - found[:, 0], miss @ odds - (found[:, 1] - 1)], axis=1)
        cross = spread @ odds
        own = spread.sum(axis=1) + 1, spread @ odds**2 + 1
        scale = own[0] * own[1] - cross**2
        step = np.stack([own[1] * slope[:, 0] - cross * slope[:, 1], own[0] * slope[:, 1] - cross * slope[:, 0]], 1)
        found += np.clip(step / scale[:, None], -1, 1)
    return found


def estimate_accuracy(confidence, reference, right, random, draws=DRAWS):
    """The estimate and its interval.

    What confidences mean is learnt from the reference (see fit_lines), and anew from a bootstrap sample of it in each
    draw; then each text of the traffic is right or wrong with its chance.

    Args:
        confidence (np.ndarray): float [texts], of the traffic.
        reference (np.ndarray): float [samples], of texts whose true labels are known.
        right (np.ndarray): bool [samples], whether the answer was the true label.
        random (np.random.Generator): source of the draws.
        draws (int): of the interval.

    Raises:
        ValueError: fewer than MIN_SAMPLES samples.
    """
    samples = len(right)
    if samples < MIN_SAMPLES:
        raise ValueError(f"{samples} samples with true labels; it takes {MIN_SAMPLES}")
    odds, middles = log_odds(reference), np.linspace(-FARTHEST, FARTHEST, GRID + 1)
    places = np.rint((log_odds(confidence) + FARTHEST) * GRID / (2 * FARTHEST)).astype(int)
    counts, total = np.bincount(places, minlength=GRID + 1), len(places)
    used = counts > 0
    middles, counts = middles[used], counts[used]

    def chances(lines):
        return 1 / (1 + np.exp(-(lines[:, :1] + lines[:, 1:] * middles)))

    own = chances(fit_lines(odds, right, np.ones((1, samples))))[0]
    shares = []
    for start in range(0, draws, 100):  # 100 x samples numbers at a time
        size = min(100, draws - start)
        lines = fit_lines(odds, right, random.multinomial(samples, np.full(samples, 1 / samples), size).astype(float))
        shares.append(random.binomial(counts, chances(lines)).sum(axis=1) / total)
    low, high = np.percentile(np.concatenate(shares), (2.5, 97.5))
    return Estimate(float(own @ counts / total), (float(low), float(high)), float(np.mean(right)), samples)
