"""analysis/faithfulness.py: an oracle, its contrary and chance on a model whose truth is known."""

import re

import numpy as np
import pytest

from analysis import faithfulness
from core.answers import softmax
from tests.analysis.planted import MARKER


def test_faithfulness_tells_an_oracle_from_chance(planted):
    _, explainer, cases, truth = planted
    oracle = faithfulness.faithfulness(explainer, cases, truth)
    worst = faithfulness.faithfulness(explainer, cases, [-values for values in truth])
    chance = faithfulness.random_faithfulness(explainer, cases, seed=0)
    assert (oracle[:, 0] > chance[:, 0] + 0.1).all() and (oracle[:, 1] < chance[:, 1] - 0.1).all()
    assert (worst[:, 0] < chance[:, 0] - 0.05).all() and (worst[:, 1] > chance[:, 1] + 0.05).all()
    rows = faithfulness.faithfulness_rows(
        {"worst": worst, "random": chance, "oracle": oracle}, {"oracle": 0.5, "worst": 1}
    )
    assert [row["method"] for row in rows] == ["oracle", "random", "worst"]
    assert re.fullmatch(rf"{oracle[:, 0].mean():.3f} ± 0\.\d{{3}}", rows[0]["comprehensiveness (high)"])
    assert (faithfulness.random_faithfulness(explainer, cases, seed=0) == chance).all()
    # By hand, of one text: 10 % and 20 % of its words are the first and the first two, 50 % are a half.
    case = cases[0]
    order = case.seen[np.argsort(-truth[0][case.seen])]
    counts = [int(np.ceil(share * len(order))) for share in (0.1, 0.2, 0.5)]
    texts = ["".join(word for n, word in enumerate(case.words) if n not in order[:count]) for count in counts]
    left = softmax(explainer.logits(explainer.classifier.encode(texts)))[:, 0]
    assert oracle[0, 0] == pytest.approx(case.probability - left.mean(), abs=1e-6)
    # [MASK] has no weight in the planted model, so that it is as good as nothing.
    assert np.abs(faithfulness.faithfulness(explainer, cases, truth, mask=True) - oracle).max() < 1e-6
    ids = case.without(order[:1], explainer.mask_id)["input_ids"]
    assert len(ids) == len(case.owner) and ids.count(explainer.mask_id) == len(MARKER)
