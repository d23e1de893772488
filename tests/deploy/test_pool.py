"""deploy/annotation/pool.py: what is asked about, and what is not."""

import pytest

from deploy.annotation.pool import read_pool
from tests.deploy.annotation_parts import LABELS, texts_of, write_pool
from utils import UsageError


def test_only_labels_and_texts_are_needed(tmp_path):
    pool = read_pool(write_pool(tmp_path))
    assert pool.labels == LABELS and len(pool.texts) == 120 and not pool.train and not pool.dev


def test_texts_with_a_label_and_those_of_test_are_left_out(tmp_path):
    write_pool(tmp_path)
    first, second, third = texts_of("体育", 3)
    (tmp_path / "train.txt").write_text(f"{first}\t体育\n{second}\t体育\n", encoding="utf-8")
    (tmp_path / "test.txt").write_text(f"{second}\t体育\n{third}\n", encoding="utf-8")
    pool = read_pool(tmp_path)
    assert pool.train == {first: 0} and pool.test == {second, third}
    assert len(pool.texts) == 117 and not {first, second, third} & set(pool.texts)


def test_other_texts_in_the_place_of_data_txt(tmp_path):
    write_pool(tmp_path)
    (tmp_path / "data.txt").unlink()
    first, second, third = texts_of("体育", 3, 500)
    (tmp_path / "dev.txt").write_text(f"{third}\t体育\n", encoding="utf-8")
    (tmp_path / "to_label.txt").write_text(f"{second}\n{third}\n", encoding="utf-8")
    (tmp_path / "bad_case.txt").write_text(
        f"Text\tLabel\tPrediction\tScore\n{first}\t体育\t财经\t0.9\n", encoding="utf-8"
    )
    files = [tmp_path / "to_label.txt", tmp_path / "bad_case.txt"]
    assert read_pool(tmp_path, files).texts == [second, first]
    with pytest.raises(UsageError, match="nowhere.txt"):
        read_pool(tmp_path, [tmp_path / "nowhere.txt"])
    (tmp_path / "to_label.txt").write_text(f"{third}\n", encoding="utf-8")
    with pytest.raises(UsageError, match="to_label.txt: all texts are in train.txt"):
        read_pool(tmp_path, files[:1])


@pytest.mark.parametrize("missing", ["label.txt", "data.txt"])
def test_what_is_missing_is_named(tmp_path, missing):
    write_pool(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(UsageError, match=f"{missing}: no such file; write"):
        read_pool(tmp_path)
