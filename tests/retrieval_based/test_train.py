"""retrieval_based/train.py: flags and data that are refused."""

import pytest

from retrieval_based import recall, train
from tests.retrieval_based.helpers import call, train_flags
from utils import UsageError

WRONG = ["--margin 1", "--scale 0", "--batch_size 1", "--evaluate perhaps", "--recall_num 0"]
WRONG += ["--recall_result_file a/b"]


def test_refusals(texts, tiny_model, tmp_path):
    for flags in WRONG:
        with pytest.raises(SystemExit):
            train.main(train_flags(texts, tiny_model, tmp_path / "out", *flags.split()))
    with pytest.raises(UsageError, match="has positions for 128; use at most that"):
        train.main(train_flags(texts, tiny_model, tmp_path / "out", "--max_seq_length", "200"))
    with pytest.raises(UsageError, match="no dual_encoder.json there"):
        paths = ["--corpus_file", texts / "label.txt", "--similar_text_pair_file", texts / "dev.txt"]
        call(recall, "--model_name_or_path", tiny_model, *paths)
    (tmp_path / "bad.txt").write_text("头疼\t病情诊断\n多少钱 医疗费用\n", encoding="utf-8")
    with pytest.raises(UsageError, match="bad.txt:2: no tab"):
        train.main(train_flags(texts, tiny_model, tmp_path / "out", "--train_set_file", tmp_path / "bad.txt"))
    (tmp_path / "out" / "model_4").mkdir(parents=True)
    with pytest.raises(UsageError, match="model_4: is there and was not made here; .* another --save_dir"):
        train.main(train_flags(texts, tiny_model, tmp_path / "out", "--evaluate", "False"))
