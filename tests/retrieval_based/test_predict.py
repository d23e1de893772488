"""Similarities of pairs: retrieval_based/predict.py and deploy/python/predict.py."""

import numpy as np
import pytest

from retrieval_based import predict
from retrieval_based.base_model import Embedder
from retrieval_based.deploy.python import predict as deployed
from tests.retrieval_based.helpers import call


def test_pairs_by_the_checkpoint_and_by_the_export(once, exported, tmp_path, capsys):
    pairs = [("头疼怎么办", "头疼挂什么科"), ("多少钱", "费用贵吗"), ("多少钱", "多少钱")]
    (tmp_path / "pairs.txt").write_text("".join(f"{one}\t{other}\n" for one, other in pairs), encoding="utf-8")
    flags = ["--text_pair_file", tmp_path / "pairs.txt"]
    call(predict, *flags, "--model_name_or_path", once / "model_best", "--device", "cpu")
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [tuple(row[:2]) for row in rows] == pairs and float(rows[2][2]) == pytest.approx(1, abs=1e-5)
    vectors = Embedder(str(once / "model_best")).vectors(sum(pairs, ()))
    expected = (vectors[::2] * vectors[1::2]).sum(axis=1)
    np.testing.assert_allclose([float(row[2]) for row in rows], expected, atol=2e-6)
    call(deployed, *flags, "--model_dir", exported / "onnx", "--output_file", tmp_path / "out.txt")
    lines = (tmp_path / "out.txt").read_text("utf-8").splitlines()
    np.testing.assert_allclose([float(line.split("\t")[2]) for line in lines], expected, atol=1e-5)
