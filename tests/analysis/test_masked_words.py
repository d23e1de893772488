"""analysis/masked_words.py: words from a model with a head for them, and the refusal of one without."""

import random
import re

import pytest

from analysis.augmenter import Augmenter
from analysis.masked_words import MAX_LENGTH, MaskedWords
from utils import UsageError

pytestmark = pytest.mark.usefixtures("no_network")

TEXT = "感冒发烧怎么治疗"


@pytest.fixture(scope="module")
def source(tiny_mlm):
    return MaskedWords(str(tiny_mlm), "cpu")


def test_the_scores_are_the_models(source):
    import paddle

    ids = source._ids(TEXT)
    assert len(ids) == len(TEXT)
    masked = [*ids[:2], source.tokenizer.mask_token_id, *ids[3:]]
    whole = paddle.to_tensor([[source.tokenizer.cls_token_id, *masked, source.tokenizer.sep_token_id]])
    expected = source.model(whole)[0].numpy()
    assert source._scores(masked, 3) == pytest.approx(expected[3], abs=1e-5)
    assert len(source.tokens) == len(expected[3])


def test_likely_words_of_the_same_length_come(source):
    """Character by character, each of the five most likely ones, and never the word itself."""
    words = ["感冒", "发烧", "怎么", "治疗"]
    for seed in range(10):
        (new,) = source.draw(words, [1], random.Random(seed))
        assert new != "发烧" and len(new) == 2 and all("\u3400" <= character <= "\u9fff" for character in new)
    assert source.draw(words, [0, 3], random.Random(1)) == source.draw(words, [0, 3], random.Random(1))


@pytest.mark.parametrize("strategy", ["substitute", "insert"])
def test_new_texts(source, strategy):
    new = Augmenter(strategy, source, 2, 0.1, seed=0).augment(TEXT)
    assert new and TEXT not in new
    assert all(len(text) == len(TEXT) if strategy == "substitute" else len(text) > len(TEXT) for text in new)


def test_words_beyond_the_models_reach_stay(source):
    assert source.limit == MAX_LENGTH
    words = ["感冒"] * 200
    assert source.draw(words, [150], random.Random(0)) == ["感冒"]
    assert Augmenter("substitute", source, 1, 0.01, seed=0).augment("".join(words)) is not None


def test_an_encoder_without_a_head_is_refused(tiny_model, tiny_ernie_m):
    with pytest.raises(UsageError, match=r"python data/build_encoder\.py --mlm_texts"):
        MaskedWords(str(tiny_model), "cpu")
    with pytest.raises(UsageError, match=re.escape(str(tiny_ernie_m))):  # the library has no such head for it
        MaskedWords(str(tiny_ernie_m), "cpu")


def test_a_broken_model_is_refused(tiny_mlm, tmp_path):
    for path in tiny_mlm.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[: 200 if "pdparams" in path.name else None])
    with pytest.raises(UsageError, match="cannot be loaded"):
        MaskedWords(str(tmp_path), "cpu")


def test_no_negation_comes_in(source):
    allowed = [token for token, one, other in zip(source.tokens, source.chinese, source.latin) if one or other]
    assert "不" in source.tokens and len(allowed) > 100
    assert not set("不没未无非别") & set(allowed) and not {"not", "never", "without"} & set(allowed)


def test_words_that_the_vocabulary_has_no_others_for_stay(source):
    """The tiny model knows no Latin words, and no model knows words of both scripts."""
    assert source.has("感冒") and not source.has("B超") and not source.has("超B") and not source.has("film")
    assert source.draw(["film", "B超"], [0, 1], random.Random(0)) == ["film", "B超"]
    for new in Augmenter("substitute", source, 2, 1.0, seed=0).augment("做个B超检查肝脏"):
        assert "B超" in new
