"""What PaddleNLP's log shows at each level."""

import logging

import pytest

from core import log as logs

CHATTER = (
    "The default value for the training argument `--report_to` will change in v5",
    "The global seed is set to 42, local seed is set to 43 and random seed is set to 42.",
    "We are using <class 'paddlenlp.transformers.ernie.tokenizer.ErnieTokenizer'> to load 'x'.",
    "Loading configuration file x/config.json",
    "[timelog] checkpoint saving time: 0.87s (2026-11-25 18:48:07) ",
    "tokenizer config file saved in x/tokenizer_config.json",
    "Configuration saved in x/config.json",
    "Saving model checkpoint to x/.writing-30z2c_e4",
    "set state-dict :([], [])",
    "\nTraining completed. \n",
    "  Total prediction steps = 7",
)
KEPT = (
    "loss: 2.38931293, learning_rate: 0.0001, global_step: 5",
    "eval_loss: 2.0, eval_accuracy: 0.40",
    "Saving model checkpoint to x/checkpoint-28",
    "Continuing training from global step 6",
    "***** Running training *****",
    "  Num examples = 880",
    "-----Evaluate model-------",
    "a line that nobody has seen yet",
)


@pytest.fixture
def shown(log):
    """A function from a level and messages to the messages that are shown at it."""

    def show(level, messages, record_level=logging.INFO):
        logs.set_log_level(level)
        for message in messages:
            logging.getLogger("PaddleNLP").log(record_level, message)
        result, log[:] = list(log), []
        return result

    yield show
    logs.set_log_level("info")


def test_chatter_is_left_out_and_all_else_kept(shown):
    assert shown("info", CHATTER) == []
    assert shown("info", KEPT) == list(KEPT)


def test_debug_shows_all(shown):
    assert shown("debug", [*CHATTER, *KEPT]) == [*CHATTER, *KEPT]
    assert shown("info", ["adam_beta1 : 0.9"], logging.DEBUG) == []
    assert shown("debug", ["adam_beta1 : 0.9"], logging.DEBUG) == ["adam_beta1 : 0.9"]


def test_warnings_stay_at_every_level(shown):
    for level in logs.LEVELS:
        assert shown(level, ["the weights are random", CHATTER[0]], logging.WARNING) == [
            "the weights are random",
            CHATTER[0],
        ]
    assert shown("warning", KEPT) == []


def test_a_prediction_is_not_announced(shown):
    lines = ["***** Running Prediction *****", "  Num examples = 220", "  Total Batch size = 32", "then this"]
    assert shown("info", lines) == ["then this"]
    lines[0] = "***** Running Evaluation *****"
    assert shown("info", lines) == [lines[0], lines[1], "then this"]
