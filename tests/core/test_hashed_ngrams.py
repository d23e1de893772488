"""core/hashed_ngrams.py: words, buckets, keys."""

import pytest

from core import hashed_ngrams as ngrams
from utils import UsageError


def test_words_are_characters_or_runs_of_latin_letters():
    assert ngrams.words_of("头疼, ＣＴ 3天_ok！") == ["头", "疼", "ct", "3", "天", "ok"]
    assert ngrams.ngrams_of("头疼头疼") == ["头", "疼", "头 疼", "疼 头"]
    assert ngrams.ngrams_of("！？") == [] and len(ngrams.words_of("字" * 9999)) == ngrams.MOST_WORDS


def test_buckets_depend_on_the_key_alone():
    one, other = ngrams.make_bucket(b"one"), ngrams.make_bucket(b"other")
    found = ngrams.buckets_of("头疼挂什么科", one)
    assert found == sorted(set(found)) and len(found) == 11 and max(found) < ngrams.BUCKETS
    assert found == ngrams.buckets_of("头疼，挂什么科？", ngrams.make_bucket(b"one"))
    assert found != ngrams.buckets_of("头疼挂什么科", other)
    assert ngrams.key_name(b"one") != ngrams.key_name(b"other") and len(ngrams.key_name(b"one")) == 8
    ngrams.buckets_of("half a character \ud83d", one)


def test_a_key_is_made_once_and_is_its_owners_alone(tmp_path):
    path = ngrams.key_path(tmp_path / "log.jsonl")
    assert path.name == "log.jsonl.key"
    key = ngrams.make_key(path)
    assert len(key) == 32 and ngrams.make_key(path) == key == ngrams.read_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    for content, message in {"": "not a key", "00ff": "not a key of 64", "zz" * 32: "not a key"}.items():
        path.write_text(content, encoding="ascii")
        with pytest.raises(UsageError, match=message):
            ngrams.make_key(path)
    with pytest.raises(UsageError, match="none.key: cannot be read"):
        ngrams.read_key(tmp_path / "none.key")
    with pytest.raises(UsageError, match="cannot be written"):
        ngrams.make_key(tmp_path / "nowhere" / "x.key")
