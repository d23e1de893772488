"""How accuracy grows with the number of labels, and what more of them are likely to bring, with its uncertainty.

Models of parts of the labelled texts are judged; error(n) = floor + a * n**-b (Hestness et al. 2017, arXiv 1712.00409,
and Viering & Loog 2021, arXiv 2103.10948, which also shows how far such laws miss) is fitted to what they get wrong,
and fitted again to resampled draws and texts, whose spread is the interval.
"""

import numpy as np

# Labelled texts below which nothing is said, and the shares of them that models are fitted on.
FEWEST, SHARES = 40, (0.25, 0.4, 0.63, 1.0)
DRAWS, FOLDS, RESAMPLES = 3, 3, 200
# Candidates for the floor, as shares of the least error that was seen.
FLOORS = np.linspace(0, 0.95, 12)
# What is worth more labels: a point of accuracy for twice as many.
WORTH = 0.01
INTERVAL = (5, 95)


def measure(fit, seed=0, draws=DRAWS):
    """Judge models of parts of the labelled texts.

    Args:
        fit (core.quick_model.Fit): of all labelled texts.
        seed (int): of the parts.
        draws (int): models a size.

    Returns:
        tuple[np.ndarray, np.ndarray] | None: sizes [sizes]; right, bool [sizes, draws, texts], of the texts of dev, or
            else the labelled ones, each by a model without it. None where there are fewer than FEWEST labels.
    """
    if fit.count < max(FEWEST, 2 * fit.classes):
        return None
    random, everything = np.random.RandomState(seed), np.arange(fit.count)
    # With dev a model may see every labelled text, else a fold is left out.
    most = fit.count if fit.dev is not None else fit.count - -(-fit.count // FOLDS)
    sizes = [size for size in (int(share * most) for share in SHARES) if not fit.from_words(range(size))]
    if len(sizes) < 3:
        return None
    right = []
    for size in sizes:
        right.append([])
        for _ in range(draws):
            if fit.dev is not None:
                right[-1].append(fit.model(random.permutation(everything)[:size])[1])
                continue
            judged, order = np.zeros(fit.count, bool), random.permutation(everything)
            for part in np.array_split(order, FOLDS):
                known = random.permutation(np.setdiff1d(order, part))[:size]
                judged[part] = fit.right(part, known)
            right[-1].append(judged)
    return np.array(sizes), np.array(right)


def fit_law(sizes, errors):
    """Parameters of error(n) = floor + a * n**-b by least squares in the logarithm, for many curves at once.

    Args:
        sizes (np.ndarray): [sizes].
        errors (np.ndarray): [curves, sizes].

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray]: floor, a and b, each [curves]; b is never negative.
    """
    errors = np.maximum(errors, 1e-4)
    logs = np.log(sizes)
    spread = logs - logs.mean()
    best = None
    for share in FLOORS:
        floor = share * errors.min(axis=1)
        rest = np.log(errors - floor[:, None])
        slope = np.minimum((rest * spread).sum(axis=1) / (spread**2).sum(), 0)
        start = rest.mean(axis=1) - slope * logs.mean()
        found = floor[:, None] + np.exp(start[:, None] + slope[:, None] * logs)
        miss = ((found - errors) ** 2).sum(axis=1)
        candidate = np.stack([miss, floor, np.exp(start), -slope])
        best = candidate if best is None else np.where(miss < best[0], candidate, best)
    return tuple(best[1:])


def predict(sizes, right, wanted, seed=0):
    """Accuracies to expect at other sizes, relative to the one at the largest size.

    Args:
        sizes, right: as `measure` gives them.
        wanted (list[int]): numbers of labels.
        seed (int): of the resampling.

    Returns:
        np.ndarray: [RESAMPLES, wanted], gains over the largest size; never negative, since the law is none that falls.
    """
    random, (_, draws, texts) = np.random.RandomState(seed), right.shape
    curves = []
    for _ in range(RESAMPLES):
        chosen = right[:, random.randint(draws, size=draws)][:, :, random.randint(texts, size=texts)]
        curves.append(1 - chosen.mean(axis=(1, 2)))
    floor, a, b = (value[:, None] for value in fit_law(sizes, np.array(curves)))
    now = floor + a * float(sizes[-1]) ** -b
    return now - (floor + a * np.array(wanted, dtype=np.float64)[None, :] ** -b)


def outlook(fit, seed=0):
    """What more labels are likely to bring.

    Args:
        fit (core.quick_model.Fit): of all labelled texts.
        seed (int): of all draws.

    Returns:
        dict: "points": [[labels, accuracy]]; "more": a dict for each number of further labels, with "labels", and
            "gain", "low" and "high" in accuracy (the median and a 90 % interval); "verdict": likely, unclear or
            unlikely to bring a point with twice as many labels; "too few" alone where there are fewer than FEWEST.
    """
    measured = measure(fit, seed)
    if measured is None:
        return {"points": [], "more": [], "verdict": "too few"}
    sizes, right = measured
    more = sorted({max(20, round(fit.count * share, -1)) for share in (0.25, 0.5, 1.0)})
    gains = predict(sizes, right, [int(sizes[-1]) + number for number in more], seed)
    rows = []
    for number, column in zip(more, gains.T):
        low, middle, high = np.percentile(column, [INTERVAL[0], 50, INTERVAL[1]])
        rows.append({"labels": int(number), "gain": float(middle), "low": float(low), "high": float(high)})
    twice = rows[-1]
    verdict = "likely" if twice["low"] >= WORTH else "unlikely" if twice["high"] < WORTH else "unclear"
    points = [[int(size), float(some.mean())] for size, some in zip(sizes, right)]
    return {"points": points, "more": rows, "verdict": verdict}
