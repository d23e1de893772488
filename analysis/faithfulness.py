"""How far scores of words can be trusted (DeYoung et al. 2020, arXiv 1911.03429)."""

import math

import numpy as np

from core.answers import softmax

# Shares of a text's words that are deleted or kept, at least one word; means over them.
SHARES = (0.1, 0.2, 0.5)

RANDOM_ORDERS = 10


def faithfulness(explainer, cases, scores, mask=False, what=None):
    """Comprehensiveness and sufficiency of each text: float64 [cases, 2].

    Args:
        cases (list[Case]): the texts.
        scores (list[np.ndarray]): [words] a text.
        mask (bool): words are replaced by [MASK], not deleted.
        what (str): shown with the progress.
    """
    features, mask_id = [], explainer.mask_id if mask else None
    for case, values in zip(cases, scores):
        order = case.seen[np.argsort(-values[case.seen], kind="stable")]
        for share in SHARES:
            count = math.ceil(share * len(order))
            features += [case.without(order[:count], mask_id), case.without(order[count:], mask_id)]
    probabilities = softmax(explainer.logits(features, what)).reshape(len(cases), len(SHARES), 2, -1)
    result = np.empty((len(cases), 2))
    for row, case, values in zip(result, cases, probabilities):
        row[:] = case.probability - values[:, :, case.class_id].mean(axis=0)
    return result


def random_faithfulness(explainer, cases, seed, mask=False):
    """That of RANDOM_ORDERS random orders of the words, the mean of each text: float64 [cases, 2]."""
    random = np.random.RandomState(seed)
    orders = [[random.rand(len(case.words)) for case in cases] for _ in range(RANDOM_ORDERS)]
    rows = [row for order in orders for row in order]
    values = faithfulness(explainer, cases * RANDOM_ORDERS, rows, mask, "random")
    return values.reshape(RANDOM_ORDERS, len(cases), 2).mean(axis=0)


def faithfulness_rows(values, seconds):
    """Rows of the table, the most faithful method first; ± is half of a 95 % interval over the texts.

    Args:
        values (dict[str, np.ndarray]): method -> [cases, 2].
        seconds (dict[str, float]): method -> of one text; none for `random`.
    """
    rows = []
    for name in sorted(values, key=lambda name: -np.subtract(*values[name].mean(axis=0))):
        columns = {}
        for column, heading in enumerate(("comprehensiveness (high)", "sufficiency (low)")):
            found = values[name][:, column]
            spread = f" ± {1.96 * found.std(ddof=1) / math.sqrt(len(found)):.3f}" if len(found) > 1 else ""
            columns[heading] = f"{found.mean():.3f}{spread}"
        rows.append({"method": name, **columns, "seconds a text": f"{seconds[name]:.2f}" if name in seconds else ""})
    return rows
