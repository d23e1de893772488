"""characters.py: on no proven character do the two tokenizers differ."""

import random
import sys

import pytest

from core import loading
from core.characters import UNPROVEN
from core.encoders import rust_tokenizer


def differing(tiny_model, characters, lowercase):
    """The characters that PaddleNLP's tokenizer and the Rust one cut differently."""
    _, tokenizer = loading.load_config_and_tokenizer(str(tiny_model))
    tokenizer.init_kwargs["do_lower_case"] = tokenizer.basic_tokenizer.do_lower_case = lowercase
    rust = rust_tokenizer(tokenizer, 128)._tokenizer

    def same(some):
        probes = " ".join(f"头{character}疼a{character}b" for character in some)
        words = rust.pre_tokenizer.pre_tokenize_str(rust.normalizer.normalize_str(probes))
        return tokenizer.basic_tokenizer.tokenize(probes) == [word for word, _ in words]

    found = []
    for start in range(0, len(characters), 256):
        some = characters[start : start + 256]
        if not same(some):
            found += [character for character in some if not same([character])]
    return found


def proven():
    return [character for character in map(chr, range(sys.maxunicode + 1)) if not UNPROVEN.search(character)]


def test_the_characters_that_people_write_are_proven():
    assert not UNPROVEN.search(
        "高血压 ＡＢＣ①Ⅲ℃…—“”《》、。！？ abc éüñ ß Привет Ελληνικά ありがとう 한국어 ไทย العربية עברית हिन्दी 👍😀🤒"
    )
    assert all(UNPROVEN.search(character) for character in ("\u0378", "\ue000", "\u061d", "\U0010ffff", "\u2e52"))


@pytest.mark.parametrize("lowercase", [True, False])
def test_some_proven_characters(tiny_model, lowercase):
    assert differing(tiny_model, random.Random(0).sample(proven(), 5000), lowercase) == []


@pytest.mark.slow
@pytest.mark.parametrize("lowercase", [True, False])
def test_every_proven_character(tiny_model, lowercase):
    assert differing(tiny_model, proven(), lowercase) == []
