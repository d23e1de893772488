"""analysis/attribution.py: planted truths, sums of gradients, other models, what is cut off."""

import numpy as np
import paddle
import pytest

from analysis import attribution
from analysis.classifier import find_head
from analysis.explainer import Explainer
from analysis.faithfulness import faithfulness
from analysis.word_flags import METHODS, parse_flags, read_input
from analysis.word_page import coloured
from core.encoders import make_encoder
from core.ngram_layer import NgramLayer, add_tower, special_ids
from core.ngrams import Ngrams
from tests.analysis.planted import MARKER, Planted, logit, scale_layer_norms, word_flags
from utils import UsageError

# Of the models that are drawn here.
SIZES = {
    "hidden_size": 48,
    "embedding_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}


def test_the_methods_are_those_of_the_flags():
    assert tuple(attribution.METHODS) == METHODS


def test_integrated_gradients_sum_to_the_difference_of_the_logits(loaded, sample_lines, monkeypatch, capsys):
    args, explainer, _ = loaded
    scale_layer_norms(explainer.model)
    texts, cases = sorted({line.split("\t")[0] for line in sample_lines["dev"]}), []
    args.steps = 4  # too few: they are doubled
    for case in explainer.make_cases([(1, text, "") for text in texts]):
        ids = case.feature["input_ids"]
        masked = [ids[0], *[explainer.mask_id] * (len(ids) - 2), ids[-1]]
        difference = logit(explainer, case, ids) - logit(explainer, case, masked)
        if abs(difference) <= attribution.MIN_DIFFERENCE or len(cases) == 3:
            continue
        cases.append(case)
        scores, error = attribution.integrated_gradients(explainer, case, args, None)
        assert abs(scores.sum() - difference) < 0.01 * abs(difference) and error < 0.01
    attribution.explain(explainer, cases, "integrated_gradients", args)
    assert "scores of 3 of 3 texts sum to the difference of the logits within 1%" in capsys.readouterr().out
    monkeypatch.setattr(attribution, "MAX_STEPS", 4)
    attribution.explain(explainer, cases, "integrated_gradients", args)
    assert "; for the others, give --steps above 4" in capsys.readouterr().out


def test_ngram_features_have_their_part_in_the_scores(loaded):
    """They are not in the word embeddings' gradients: without them the sum is off by all that they say."""
    args, explainer, _ = loaded
    texts, rng = ("头痛要做什么检查", "住院需要多少钱", "感冒会是什么病"), np.random.RandomState(0)
    token_ids = [list(feature["input_ids"])[1:-1] for feature in explainer.classifier.encode([*texts, *texts])]
    found, config = Ngrams(token_ids), explainer.model.config
    weight, special = 9 * rng.randn(len(found.keys), 3), special_ids(explainer.classifier.tokenizer)
    tower = NgramLayer(found.keys, found.table(weight), config.vocab_size, special, rng.randn(3))
    add_tower(explainer.model, tower)
    args.steps = 64
    for case in explainer.make_cases([(1, text, "") for text in texts]):
        scores, error = attribution.integrated_gradients(explainer, case, args, None)
        masked = np.where(case.owner >= 0, explainer.mask_id, case.feature["input_ids"]).tolist()
        more = case.word_scores(explainer.ngram_scores(case, [masked]))
        own, other = (logit(explainer, case, ids) for ids in (case.feature["input_ids"], masked))
        assert error < 0.01 and abs(scores.sum() - (own - other)) < 0.01 * abs(own - other)
        assert abs(more.sum()) > 0.1 * abs(own - other)
        shap, _ = attribution.gradient_shap(explainer, case, args, np.random.RandomState(0))
        assert shap.shape == scores.shape


@pytest.mark.parametrize("method", attribution.METHODS)
def test_the_word_that_decides_comes_first(planted, method):
    args, explainer, cases, truth = planted
    scores, _ = attribution.explain(explainer, cases, method, args)
    assert [case.words[values.argmax()] for case, values in zip(cases, scores)] == [MARKER] * len(cases)
    if method in ("integrated_gradients", "lime"):  # for a linear model they are its weights
        for values, expected in zip(scores, truth):
            assert np.abs(values - expected).max() < (1e-4 if method == "integrated_gradients" else 0.05)


@pytest.mark.parametrize("name", ["Bert", "Roberta", "ErnieM", "Electra", "Albert"])
def test_other_models(loaded, name):
    import paddlenlp.transformers as models

    args, explainer, _ = loaded
    classifier = explainer.classifier
    config = getattr(models, f"{name}Config")(
        vocab_size=len(classifier.tokenizer.vocab.token_to_idx), num_labels=3, pad_token_id=0, **SIZES
    )
    classifier.model = getattr(models, f"{name}ForSequenceClassification")(config)
    classifier.model.eval()
    scale_layer_norms(classifier.model)
    classifier.head = find_head(classifier.model, 3)
    classifier.head.weight.set_value(30 * paddle.randn(classifier.head.weight.shape))
    if name == "ErnieM":
        classifier.encode = make_encoder(classifier.tokenizer, 32, token_types=False)
    explainer = Explainer(classifier)
    case = explainer.make_cases([(1, "头痛要做什么检查", "")])[0]
    ids = case.feature["input_ids"]
    difference = logit(explainer, case, ids) - logit(explainer, case, [ids[0], *[4] * (len(ids) - 2), ids[-1]])
    assert abs(difference) > attribution.MIN_DIFFERENCE
    assert attribution.integrated_gradients(explainer, case, args, None)[0].sum() == pytest.approx(
        difference, rel=0.01
    )
    assert (attribution.attention(explainer, case, args, None)[0] > 0).all()


def test_a_model_without_attention(planted, monkeypatch, capsys):
    args, explainer, cases, _ = planted
    forward = Planted.forward
    monkeypatch.setattr(Planted, "forward", lambda self, input_ids, token_type_ids=None: forward(self, input_ids))
    args.method = ["attention"]
    with pytest.raises(UsageError, match="Planted does not give its attention; use another --method"):
        attribution.explain_all(explainer, cases, args)
    args.method = ["lime", "attention"]
    scores, rows = attribution.explain_all(explainer, cases, args)
    assert list(scores) == ["lime"] and [row["method"] for row in rows] == ["lime", "random"]
    assert "attention is left out: Planted" in capsys.readouterr().out


@pytest.mark.parametrize("method", attribution.METHODS)
def test_a_text_without_tokens(loaded, method):
    args, explainer, _ = loaded
    cases = explainer.make_cases([(1, "\u200b", ""), (2, "头痛", "")])
    scores, _ = attribution.explain(explainer, cases, method, args)
    assert scores[0].tolist() == [0] and scores[1].any()
    assert np.abs(faithfulness(explainer, cases, scores)[0]).max() < 1e-6


def test_what_is_cut_off_scores_nothing(trained_once):
    args = parse_flags(word_flags(*trained_once, "--max_seq_length", 8))
    explainer, _ = attribution.load(args, *read_input(args))
    case = explainer.make_cases([(1, "头痛发热要做什么检查", "")])[0]
    assert len(case.owner) == 8 and case.words[case.first_cut] == "什么"
    assert case.seen.tolist() == list(range(case.first_cut))
    for method in attribution.METHODS:
        scores, _ = attribution.explain(explainer, [case], method, args)
        assert (scores[0][case.first_cut :] == 0).all() and (scores[0][: case.first_cut] != 0).any()
    assert case.cut_off and not explainer.make_cases([(1, "头痛发热检查", "")])[0].cut_off  # of just 8 tokens
    page = "".join(coloured(case, scores[0], {"cut": "cut off"}))
    assert page.count('class="cut"') == len(case.words) - case.first_cut
