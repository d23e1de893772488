"""deploy/annotation/vectors.py: each text is computed once, also where a crash cut a file off."""

import numpy as np

from deploy.annotation.vectors import Vectors
from tests.deploy.annotation_parts import StandIn, texts_of


def test_vectors_are_computed_once_and_survive_a_torn_row(tmp_path):
    texts = texts_of("体育", 100)
    first = Vectors(StandIn(), tmp_path)
    first.add([*texts, texts[0]])
    expected = first.of(texts[::-1]).vectors
    rows = next(tmp_path.glob("*.f32"))
    rows.write_bytes(rows.read_bytes()[:-7])
    with next(tmp_path.glob("*.jsonl")).open("ab") as file:
        file.write(b'"half')
    encoder = StandIn()
    again = Vectors(encoder, tmp_path)
    assert again.missing(texts) == [texts[99]]
    start = encoder.encoded
    again.add(texts)
    assert encoder.encoded == start + 1
    np.testing.assert_array_equal(again.of(texts[::-1]).vectors, expected)
    found = again.passing(["新的", texts[3], "新的"])
    np.testing.assert_array_equal(found.vectors[1], expected[96])
    assert len(found.token_ids) == 3 and again.missing(["新的"]) == ["新的"]
