"""core/long_text_flags.py: defaults, what the model says, refusals."""

from types import SimpleNamespace

import pytest

from core.long_text_flags import (
    check_long_text,
    default_stride,
    long_text_facts,
    long_text_for_fingerprint,
    long_text_problems,
)
from core.run_flags import DataArguments
from utils import UsageError

WINDOWS = {"way": "windows", "stride": 50, "pooling": "max"}


def flags(**given):
    return DataArguments(**given)


def problems(stored=None, ngrams=False, pruner="builtin", trains=True, to_static=False, **given):
    args = SimpleNamespace(do_train=trains, do_compress=False, to_static=to_static)
    return "\n".join(long_text_problems(flags(**given), stored, args, ngrams, pruner))


def test_the_default_is_no_part_of_a_fingerprint():
    assert long_text_facts(flags(), None, 128, trains=True) is None
    assert long_text_for_fingerprint(None, flags()) == {}
    given = flags(long_text="windows", train_windows=3)
    facts = long_text_facts(given, None, 128, trains=True)
    assert facts == {"way": "windows", "stride": 94, "pooling": None}
    assert long_text_for_fingerprint(facts, given) == {"long_text": {**facts, "train_windows": 3}}
    assert long_text_for_fingerprint({"way": "head_tail"}, flags()) == {"long_text": {"way": "head_tail"}}


def test_what_is_not_said_is_as_the_model_has_it():
    assert long_text_facts(flags(), WINDOWS, 128) == WINDOWS
    assert long_text_facts(flags(), WINDOWS, 128, trains=True) == {**WINDOWS, "pooling": None}
    assert long_text_facts(flags(window_pooling="mean", stride=7), WINDOWS, 128) == {
        "way": "windows",
        "stride": 7,
        "pooling": "mean",
    }
    assert long_text_facts(flags(long_text="truncate"), WINDOWS, 128) is None
    assert long_text_facts(flags(long_text="head_tail"), WINDOWS, 128) == {"way": "head_tail"}
    # A model that truncates may be asked for windows; nothing has chosen their pooling.
    assert long_text_facts(flags(long_text="windows"), None, 10) == {"way": "windows", "stride": 6, "pooling": "mean"}
    assert default_stride(3) == 1


def test_gaps_are_refused():
    check_long_text({**WINDOWS, "stride": 126}, 128)
    check_long_text(None, 3)
    with pytest.raises(
        UsageError, match=r"--stride 127: with --max_length 128 a window has 126 tokens .* at most that"
    ):
        check_long_text({**WINDOWS, "stride": 127}, 128)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"long_text": "all"}, "--long_text all: not known; use one of truncate, head_tail, windows"),
        ({"long_text": "windows", "window_pooling": "min"}, "--window_pooling min: not known; use mean or max"),
        ({"long_text": "windows", "stride": 0}, "--stride 0: must be at least 1"),
        ({"long_text": "windows", "train_windows": 0}, "--train_windows 0: must be at least 1"),
        (
            {"stride": 9, "window_pooling": "max"},
            "--stride --window_pooling: nothing without --long_text windows; add",
        ),
        ({"long_text": "head_tail", "train_windows": 2}, "--train_windows: nothing without --long_text windows"),
        ({"stored": WINDOWS, "trains": False, "train_windows": 2}, "--train_windows: for a training"),
        (
            {"long_text": "windows", "ngrams": True},
            "give --ngram_features False, or --long_text head_tail or truncate",
        ),
        ({"stored": WINDOWS, "to_static": True}, "--long_text windows does not work with --to_static True"),
        ({"stored": WINDOWS, "pruner": "paddleslim"}, "--long_text windows does not work with --pruner paddleslim"),
    ],
)
def test_refusals(given, message):
    assert message in problems(**given)


def test_what_goes_together_is_not_refused():
    assert not problems() and not problems(long_text="head_tail", ngrams=True, to_static=True, pruner="paddleslim")
    assert not problems(long_text="truncate", stored=WINDOWS, ngrams=True)
    assert not problems(long_text="windows", stride=3, window_pooling="mean", train_windows=1)
