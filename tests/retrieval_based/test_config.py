"""retrieval_based/utils/config.py: what both kinds of index check before they take it."""

import numpy as np
import pytest

from retrieval_based.utils import config
from utils import UsageError


def test_a_text_is_its_key():
    assert config.content_id("头疼") == config.content_id("头疼") != config.content_id("头疼 ")
    assert len(config.content_id("\ud800")) == 32  # half a character, as broken files have


def test_the_last_of_equal_texts_counts():
    chosen, vectors = config.checked_rows(["x", "y", "x"], ["a", "b", "c"], [[3, 4], [0, 2], [5, 0]], 2)
    assert chosen == {config.content_id("x"): 2, config.content_id("y"): 1}
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 1], [1, 0]])
    assert vectors.dtype == np.float32


@pytest.mark.parametrize("label", ["a\tb", "a\nb", "", "标" * 342, "\udc80"])
def test_labels_that_no_index_takes(label):
    with pytest.raises(UsageError, match="row 1: the label"):
        config.checked_rows(["x"], [label], [[1.0]], 1)
    with pytest.raises(UsageError, match="^the label"):
        config.check_label(label)


def test_texts_with_half_a_character():
    """Milvus would end in a traceback."""
    with pytest.raises(UsageError, match=r"row 2: the text 'x.udc80' has half a character; was it read as UTF-8"):
        config.checked_rows(["x", "x\udc80"], ["a", "a"], [[1.0], [1.0]], 1)
