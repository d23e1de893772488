"""distill_flags.py: what is refused before anything is loaded."""

import pytest

import train
from utils import UsageError


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--do_compress --strategy distill --student bigram", "--student bigram: not known; use ngram, or layers:4"),
        ("--do_compress --strategy distill --student layers:0", "--student layers:0: not known"),
        ("--do_compress --strategy distill --cascade_loss -1", "--cascade_loss -1.0: points of accuracy"),
        ("--do_compress --strategy distill --made_texts -1", "--made_texts -1.0: texts made for each text"),
        ("--do_compress --strategy distill --made_texts nan", "--made_texts nan: texts made for each text"),
        ("--do_compress --strategy distill --student layers:2 --made_texts 1", "a part in --student ngram only"),
        ("--do_compress --made_texts 1", "--made_texts: has a part in --do_compress --strategy distill only"),
        ("--do_compress --cascade_loss 0.1", "--cascade_loss: has a part in --do_compress --strategy distill only"),
        ("--do_compress --strategy distill --width_mult_list 1/2", "--strategy distill prunes nothing"),
        ("--do_compress --strategy distill --pseudo_ratio 2", "--pseudo_ratio: for a training"),
        ("--do_compress --unlabelled_path x.txt", "--unlabelled_path: for a training"),
    ],
)
def test_refused(more, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        train.main(["--output_dir", str(tmp_path), "--device", "cpu", *more.split()])
