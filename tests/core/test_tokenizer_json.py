"""tokenizer.json: the ids of PaddleNLP's tokenizer, or the reason why there is none."""

import json

import pytest
import tokenizers

from core import loading, tokenizer_json
from core.tokenizer_json import RUNTIME_KEY, read_encoder, write_tokenizer_json
from tests.helpers import ROOT
from tests.random_strings import random_strings
from utils import UsageError


@pytest.fixture
def tokenizer(tiny_model):
    return loading.load_config_and_tokenizer(str(tiny_model))[1]


def expected(tokenizer, texts, max_length):
    encoded = tokenizer(texts, max_length=max_length, truncation=True, return_attention_mask=False)
    return [{name: encoded[name][index] for name in encoded} for index in range(len(texts))]


@pytest.mark.parametrize("lowercase", [True, False])
def test_its_ids_are_paddlenlp_s(tokenizer, tmp_path, sample_lines, lowercase):
    from paddlenlp.transformers import BertTokenizer

    if not lowercase:
        (tmp_path / "vocab.txt").write_text("\n".join(tokenizer.vocab.token_to_idx), encoding="utf-8")
        tokenizer = BertTokenizer(str(tmp_path / "vocab.txt"), do_lower_case=False)
    texts = [line.split("\t")[0] for lines in sample_lines.values() for line in lines]
    facts = write_tokenizer_json(tmp_path, tokenizer, 32, texts)
    assert facts["tokenizer"] == "tokenizer.json" and facts["texts_tried"] >= 200
    encode = read_encoder(tmp_path, {"max_length": 32, RUNTIME_KEY: facts}, token_types=True)
    texts = [*random_strings(500), *texts]
    for text, one, other in zip(texts, encode(texts), expected(tokenizer, texts, 32)):
        assert one == other, ascii(text)
    # Half of a surrogate pair, which no UTF-8 text has, is dropped after special tokens were looked for.
    assert encode(["头\ud800疼[S\udc00EP]"]) == expected(tokenizer, ["头\ud800疼[S\udc00EP]"], 32)
    assert encode_ids_only(tmp_path, facts) == {"input_ids"}


def encode_ids_only(folder, facts):
    encode = read_encoder(folder, {"max_length": 8, RUNTIME_KEY: facts}, token_types=False)
    return encode(["头疼"])[0].keys()


def test_the_file_is_the_library_s_own(tokenizer, tmp_path):
    """Anybody's program may read it: it cuts to max_length itself."""
    write_tokenizer_json(tmp_path, tokenizer, 16)
    twin = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert twin.encode("头疼" * 50).ids == tokenizer("头疼" * 50, max_length=16, truncation=True)["input_ids"]


def test_a_rule_that_is_wrong_is_found(tokenizer):
    basic = tokenizer.basic_tokenizer
    rules = dict(tokenizer_json.proven_rules(tokenizer)[0])
    tried = ["é", "☃", "中", "\u0301", "\u3000", "a", "Ⅲ", "①"]
    assert tokenizer_json.differing(basic, rules, tried) == []
    for name, character in {"isolated": "☃", "accents": "\u0301", "spaces": "\u3000"}.items():
        wrong = {**rules, name: [other for other in rules[name] if other != character]}
        assert character in tokenizer_json.differing(basic, wrong, tried), name
    assert "é" in tokenizer_json.differing(basic, {**rules, "strip_accents": False}, tried)
    assert "q" in tokenizer_json.differing(basic, {**rules, "dropped": [*rules["dropped"], "q"]}, ["q"])


def test_what_is_not_proven_is_not_written(tokenizer, tiny_ernie_m, tmp_path, monkeypatch):
    ernie_m = loading.load_config_and_tokenizer(str(tiny_ernie_m))[1]
    facts = write_tokenizer_json(tmp_path, ernie_m, 16)
    assert facts["tokenizer"] is None and facts["why"].startswith("its ErnieMTokenizer has no twin")
    tokenize = type(tokenizer).tokenize
    monkeypatch.setattr(type(tokenizer), "tokenize", lambda self, text: tokenize(self, text)[:1])
    assert "its ids of" in write_tokenizer_json(tmp_path, tokenizer, 16)["why"]
    monkeypatch.undo()
    monkeypatch.setattr(tokenizer_json, "differing", lambda *args: ["\u2603"])
    monkeypatch.setattr(tokenizer_json, "_proven", {})
    assert (
        "cuts 1 characters otherwise than PaddleNLP (U+2603)" in write_tokenizer_json(tmp_path, tokenizer, 16)["why"]
    )
    monkeypatch.setattr(tokenizer.basic_tokenizer, "never_split", {"头疼"})
    assert "never_split" in write_tokenizer_json(tmp_path, tokenizer, 16)["why"]
    assert not (tmp_path / "tokenizer.json").exists()


def test_another_version_of_the_library_and_a_broken_file(tokenizer, tmp_path):
    facts = write_tokenizer_json(tmp_path, tokenizer, 16)
    content = {"max_length": 16, RUNTIME_KEY: {**facts, "tokenizers": "0.0.1"}}
    assert read_encoder(tmp_path, content, True)(["头疼"])  # it does the same
    content[RUNTIME_KEY]["digest"] = "0"
    with pytest.raises(UsageError, match="cuts texts otherwise .*; run: pip install tokenizers==0.0.1"):
        read_encoder(tmp_path, content, True)
    (tmp_path / "tokenizer.json").write_text(json.dumps({}))
    with pytest.raises(UsageError, match="tokenizer.json: cannot be read .*export the model again"):
        read_encoder(tmp_path, content, True)


@pytest.mark.slow
def test_every_text_of_shared_and_5000_random_ones(shared, tmp_path):
    folder = ROOT / "data" / "offline_encoder"
    if not folder.is_dir():
        pytest.skip("data/offline_encoder is not built")
    tokenizer = loading.load_config_and_tokenizer(str(folder))[1]
    lines = [line for path in shared.glob("*/*.txt") for line in path.read_text(encoding="utf-8").splitlines()]
    texts = sorted({line.split("\t")[0].strip() for line in lines})
    assert len(texts) > 12000
    facts = write_tokenizer_json(tmp_path, tokenizer, 128, texts)
    encode = read_encoder(tmp_path, {"max_length": 128, RUNTIME_KEY: facts}, token_types=True)
    texts += random_strings(5000)
    for text, one, other in zip(texts, encode(texts), expected(tokenizer, texts, 128)):
        assert one == other, ascii(text)
