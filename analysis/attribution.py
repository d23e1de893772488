"""Scores of the words of texts by the methods that word_interpret.py describes, and how far to trust each."""

import time

import numpy as np
from sklearn.linear_model import Ridge

from analysis.classifier import Classifier
from analysis.explainer import Explainer
from analysis.faithfulness import faithfulness, faithfulness_rows, random_faithfulness
from core.progress import progress_bar
from utils import UsageError

# How far the scores of integrated gradients may sum to something else than the difference of the logits.
TOLERANCE = 0.01

# A difference below this many logits is measured against it: float32 has its own errors.
MIN_DIFFERENCE = 0.1

MAX_STEPS = 512

# Width of LIME's exponential kernel on cosine distances, and its ridge penalty.
KERNEL_WIDTH, PENALTY = 0.25, 0.1


# A method gives float64 [words], and how far their sum is from what it should be, None where it need not be anything.


def integrated_gradients(explainer, case, flags, random):
    """Integrated gradients from [MASK] to each word; the steps are doubled until the scores sum up well enough.

    The logit rises in a small part of the way, somewhere in its middle, and is flat at both ends: there equal steps
    come closer than Gauss-Legendre's (on 10 texts, 32 steps: 9 against 5 within 1 %), and doubling them wastes none.
    """
    masked = np.where(case.owner >= 0, explainer.mask_id, case.feature["input_ids"]).tolist()
    other = explainer.logits([{**case.feature, "input_ids": masked}])[0]
    difference = case.logits[case.class_id] - other[case.class_id]
    start, steps, more = explainer.vectors(masked), flags.steps, explainer.ngram_scores(case, [masked])
    slopes = explainer.slopes(case, start, np.arange(steps + 1) / steps)
    total = slopes.sum(axis=0) - (slopes[0] + slopes[-1]) / 2
    while True:
        scores = case.word_scores(total / steps + more)
        error = abs(scores.sum() - difference) / max(abs(difference), MIN_DIFFERENCE)
        if error <= TOLERANCE or steps * 2 > MAX_STEPS:
            return scores, error
        total += explainer.slopes(case, start, (np.arange(steps) + 0.5) / steps).sum(axis=0)
        steps *= 2


def gradient_shap(explainer, case, flags, random):
    """Expected gradients: baselines of random tokens, one random point of the way from each."""
    own = case.owner >= 0
    ids = np.tile(case.feature["input_ids"], (flags.samples, 1))
    ids[:, own] = random.choice(explainer.background, (flags.samples, own.sum()))
    # One place in each of equal parts of the way: the same mean, with less noise.
    places = (np.arange(flags.samples) + random.rand(flags.samples)) / flags.samples
    slopes = explainer.slopes(case, explainer.vectors(ids), places).mean(axis=0)
    return case.word_scores(slopes + explainer.ngram_scores(case, ids)), None


def lime(explainer, case, flags, random):
    """LIME: the weights of a linear model of the class's logit on which words are there."""
    seen, scores = case.seen, np.zeros(len(case.words))
    if not len(seen):
        return scores, None
    # The text itself, and texts without any number of words, each number being as likely.
    removed = random.randint(1, len(seen) + 1, flags.samples)
    there = random.rand(flags.samples, len(seen)).argsort(axis=1) >= removed[:, None]
    there, counts = np.unique(np.vstack([np.ones((1, len(seen)), bool), there]), axis=0, return_counts=True)
    logits = explainer.logits([case.without(seen[~row]) for row in there])[:, case.class_id]
    distances = 1 - np.sqrt(there.mean(axis=1))  # 1 - cosine with the row of ones
    kernel = np.exp(-(distances**2) / KERNEL_WIDTH**2)
    scores[seen] = Ridge(alpha=PENALTY).fit(there, logits, sample_weight=counts * kernel).coef_
    return scores, None


def attention(explainer, case, flags, random):
    """The attention of [CLS] in the last layer, which is never negative."""
    return case.word_scores(explainer.attention(case)), None


METHODS = {function.__name__: function for function in (integrated_gradients, gradient_shap, lime, attention)}


def explain(explainer, cases, method, flags):
    """The scores of all texts by one method.

    Returns:
        tuple[list[np.ndarray], float]: float64 [words] a text; seconds a text.
    """
    start, random = time.perf_counter(), np.random.RandomState(flags.seed)
    found = [METHODS[method](explainer, case, flags, random) for case in progress_bar(cases, desc=method)]
    scores, errors = zip(*found)
    if errors[0] is not None:
        bad = sum(error > TOLERANCE for error in errors)
        good, advice = len(errors) - bad, f"; for the others, give --steps above {MAX_STEPS}" if bad else ""
        print(
            f"{method}: the scores of {good:,} of {len(errors):,} texts sum to the difference of the logits within "
            f"{TOLERANCE:.0%} (largest error {max(errors):.2%}){advice}"
        )
    return list(scores), (time.perf_counter() - start) / len(cases)


def load(flags, labels, rows):
    """The model, and the texts to explain with their predictions.

    Args:
        flags: from word_flags.parse_flags.
        labels (list[str]), rows (list[tuple]): from word_flags.read_input.

    Returns:
        tuple[Explainer, list[Case]]: the first --interpret_num texts.
    """
    explainer = Explainer(Classifier(flags, labels))
    cases = explainer.make_cases(rows[: flags.interpret_num])
    if len(rows) > len(cases):
        print(f"The first {len(cases):,} of {len(rows):,} texts are explained; for more, raise --interpret_num")
    cut = sum(case.cut_off for case in cases)
    if cut:
        print(f"{cut:,} of them are longer than {explainer.classifier.max_length} tokens: their ends are not read")
    return explainer, cases


def explain_all(explainer, cases, flags):
    """The scores of each method, and the rows of the faithfulness table.

    Returns:
        tuple[dict[str, list[np.ndarray]], list[dict]]: method -> [words] a text; from faithfulness_rows.
    """
    mask = flags.remove_words == "mask"
    scores, values, seconds = {}, {"random": random_faithfulness(explainer, cases, flags.seed, mask)}, {}
    for method in flags.method:
        try:
            scores[method], seconds[method] = explain(explainer, cases, method, flags)
        except UsageError as error:
            if len(flags.method) == 1:
                raise
            print(f"{method} is left out: {error}")
        else:
            values[method] = faithfulness(explainer, cases, scores[method], mask)
    return scores, faithfulness_rows(values, seconds)
