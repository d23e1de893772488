"""retrieval_based/recall.py beside a comparison of all."""

import numpy as np

from retrieval_based import data, recall
from retrieval_based.base_model import Embedder
from retrieval_based.scores import recall_at
from tests.helpers import LABELS
from tests.retrieval_based.helpers import call


def test_recall_on_training_texts_equals_a_comparison_of_all(once, texts, tmp_path):
    paths = ["--corpus_file", texts / "train.txt", "--similar_text_pair_file", texts / "dev.txt"]
    more = f"--recall_result_dir {tmp_path} --recall_result_file found.txt --recall_num 7 --device cpu".split()
    call(recall, "--model_name_or_path", once / "model_best", *paths, *more)
    found = data.read_recalled(tmp_path / "found.txt")
    embedder = Embedder(str(once / "model_best"))
    corpus, queries = (
        [line.split("\t") for line in (texts / f"{split}.txt").read_text("utf-8").splitlines()]
        for split in ("train", "dev")
    )
    similar = embedder.vectors([text for text, _ in queries]) @ embedder.vectors([text for text, _ in corpus]).T
    assert found.queries == [text for text, _ in queries] and found.truth == [label for _, label in queries]
    for row, labels, scores in zip(similar, found.labels, found.scores):
        order = np.argsort(-row)[:7]
        np.testing.assert_allclose(scores, row[order], atol=1e-5)
        gaps = np.diff(-row[order]) > 1e-5
        if gaps.all():
            assert labels == [corpus[index][1] for index in order]
    label_ids = data.hit_arrays(found.labels, found.scores, LABELS)[1]
    metrics = recall_at([LABELS.index(label) for _, label in queries], label_ids)
    best = [corpus[index][1] for index in similar.argmax(axis=1)]
    assert metrics[1] == np.mean([one == other for one, (_, other) in zip(best, queries)])
