"""Figures of bench_recipes.py: the epoch that is chosen, recipes against plain, tables."""

from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import f1_score

DRAWS = 10_000


class Scores(NamedTuple):
    """What one training gives on one data set at the epoch that was chosen; accuracy and macro-F1 in percent."""

    accuracy: float
    macro_f1: float
    right: np.ndarray  # bool [samples]


def score(logits, truth):
    """Scores of logits [samples, classes] against class ids [samples]."""
    predicted, classes = logits.argmax(axis=1), np.arange(logits.shape[1])
    macro_f1 = f1_score(truth, predicted, labels=classes, average="macro", zero_division=0)
    return Scores(100 * float(np.mean(predicted == truth)), 100 * float(macro_f1), predicted == truth)


def best_epoch(scores, metric):
    """The first epoch that is best by accuracy or macro_f1, as train.py chooses it."""
    return int(np.argmax([getattr(item, metric) for item in scores]))


def adjusted(logits, truth, counts, chosen_on):
    """Logits of an epoch with the logit adjustment of train.py.

    Args:
        logits (dict): split -> float [samples, classes].
        truth (dict): split -> class ids [samples].
        counts: samples of each class in train.
        chosen_on (str): the split that its strength is chosen on, by macro-F1.
    """
    from core.recipes import choose_tau
    from core.trainer import compute_metrics

    log_prior = np.log(np.maximum(counts, 1) / np.sum(counts))
    tau, _ = choose_tau(logits[chosen_on], truth[chosen_on], log_prior, compute_metrics, "macro_f1")
    return {split: values - tau * log_prior for split, values in logits.items()}


def columns(epochs, truth, counts, metric="accuracy", adjust=False):
    """Scores of one training.

    Args:
        epochs (list[dict]): split -> logits [samples, classes], with dev, and held_out or none.
        truth (dict): split -> class ids [samples].
        counts: samples of each class in train.
        metric (str): accuracy or macro_f1, which the best epoch is chosen by.
        adjust (bool): see adjusted.

    Returns:
        dict[str, Scores]: `best on dev`; with a held-out part also `chosen` (on it, scored on dev) and `held_out`
            (scored on it too).
    """
    splits = list(truth)
    chosen_on = "held_out" if "held_out" in splits else "dev"
    if adjust:
        epochs = [adjusted(logits, truth, counts, chosen_on) for logits in epochs]
    scores = {split: [score(logits[split], truth[split]) for logits in epochs] for split in splits}
    result = {"best on dev": scores["dev"][best_epoch(scores["dev"], metric)]}
    if "held_out" in splits:
        epoch = best_epoch(scores["held_out"], metric)
        result.update(chosen=scores["dev"][epoch], held_out=scores["held_out"][epoch])
    return result


def mcnemar(right, plain):
    """Exact two-sided p of McNemar's test: of the answers on which two models differ, as many should be each one's.

    Args:
        right, plain (np.ndarray): bool, of one shape; which answers are right. All seeds' answers to a text count as
            independent, which they are not: p is too small where there are several.
    """
    won, lost = int(np.sum(right & ~plain)), int(np.sum(plain & ~right))
    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def bootstrap(right, plain, draws=DRAWS, seed=0):
    """95 % interval of the difference of two accuracies, in points, when texts and seeds are drawn anew.

    Args:
        right, plain (np.ndarray): bool [seeds, samples], paired.

    Returns:
        tuple[float, float]: 2.5 % and 97.5 % of the draws.
    """
    random, difference = np.random.RandomState(seed), right.astype("float64") - plain
    seeds, samples = difference.shape
    values = np.empty(draws)
    for draw in range(draws):
        texts = np.bincount(random.randint(samples, size=samples), minlength=samples)
        values[draw] = (difference @ texts)[random.randint(seeds, size=seeds)].mean() / samples
    low, high = 100 * np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def mean_sd(values):
    """Mean ± standard deviation, which one value does not have."""
    spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{spread}"


def against_plain(results, plain, column):
    """Difference, interval and p of the seeds that both have.

    Args:
        results, plain (dict): seed -> what columns gives.
        column (str): of that.

    Returns:
        tuple[str, str]: the cells `difference [interval]` and `p`.
    """
    seeds = sorted(results.keys() & plain.keys())
    if results is plain or not seeds:
        return "–", "–"
    ours, theirs = (np.stack([given[seed][column].right for seed in seeds]) for given in (results, plain))
    low, high = bootstrap(ours, theirs)
    difference = 100 * (ours.mean() - theirs.mean())
    return f"{difference:+.2f} [{low:+.2f}, {high:+.2f}]", f"{mcnemar(ours, theirs):.3g}"


def markdown(header, rows):
    """The lines of a table."""
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def report(results, costs):
    """The table of all recipes on dev.

    Args:
        results (dict): recipe -> seed -> what columns gives.
        costs (dict): recipe -> seed -> dict with cpu_seconds and memory_mb.

    Returns:
        list[str]: lines.
    """
    plain, plain_costs, rows = results.get("plain", {}), costs.get("plain", {}), []
    for recipe, seeds in results.items():
        has_held_out = all("chosen" in given for given in seeds.values())
        cells = [recipe, str(len(seeds))]
        for column in ("chosen", "best on dev"):
            for name in ("accuracy", "macro_f1"):
                values = [getattr(given[column], name) for given in seeds.values() if column in given]
                cells.append(mean_sd(values) if values else "–")
        cells += against_plain(seeds, plain, "chosen" if has_held_out else "best on dev")
        own = costs[recipe]
        paired = sorted(own.keys() & plain_costs.keys())
        times = [sum(given[seed]["cpu_seconds"] for seed in paired) for given in (own, plain_costs)]
        cells.append(f"{np.mean([cost['cpu_seconds'] for cost in own.values()]):.0f}")
        cells.append(f"{times[0] / times[1]:.2f}" if paired else "–")
        rows.append([*cells, f"{max(cost['memory_mb'] for cost in own.values()):.0f}"])
    header = ["recipe", "seeds", "accuracy, chosen on held-out train", "macro-F1", "accuracy, best epoch on dev"]
    header += ["macro-F1", "accuracy against plain [95 %]", "McNemar p", "CPU s", "times plain", "MB"]
    return markdown(header, rows)


def ranking(results):
    """The recipes by what they give on the held-out part of train; dev has no part in it.

    Args:
        results (dict): recipe -> seed -> what columns gives, with held_out.

    Returns:
        list[str]: lines.
    """
    plain, rows = results.get("plain", {}), []
    order = sorted(results, key=lambda name: -np.mean([one["held_out"].accuracy for one in results[name].values()]))
    for recipe in order:
        seeds = results[recipe]
        values = [[getattr(one["held_out"], name) for one in seeds.values()] for name in ("accuracy", "macro_f1")]
        rows.append([recipe, str(len(seeds)), *map(mean_sd, values), *against_plain(seeds, plain, "held_out")])
    header = ["recipe", "seeds", "accuracy on held-out train", "macro-F1", "accuracy against plain [95 %]"]
    return markdown([*header, "McNemar p"], rows)
