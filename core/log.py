"""What PaddleNLP logs beside what a user of the scripts asked for."""

import logging
import os
import re
import sys
import warnings

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}

# The library's lines that say nothing of the user's data or model; all its other lines are shown.
CHATTER = re.compile(
    r"""\s*(
    The\ default\ value\ for\ the\ training\ argument\ `--report_to`
    | The\ global\ seed\ is\ set
    | We\ are\ using\ <class
    | Loading\ (configuration|weights)\ file
    | Loaded\ weights\ file\ from\ disk
    | All\ (model\ checkpoint|the)\ weights
    | Starting\ training\ from\ resume_from_checkpoint\ :\ None
    | \[timelog\]
    | (tokenizer\ config|Special\ tokens)\ file\ saved
    | (Configuration|Model\ weights)\ saved\ in
    | Saving\ optimizer\ files
    | Saving\ model\ checkpoint\ to\ .*\.writing-
    | set\ state-dict\ :
    | Training\ completed
    | Exporting\ inference\ model
    | Inference\ model\ exported
    | (Total\ prediction\ steps|Pre\ device\ batch\ size|Total\ Batch\ size|Instantaneous\ batch\ size)
    )""",
    re.VERBOSE,
)


class _Filter(logging.Filter):
    """Lets through what is at least of a level and, above debug, no chatter."""

    def __init__(self, level):
        super().__init__()
        self.level = level
        self.is_prediction = False

    def filter(self, record):
        if self.level == logging.DEBUG:
            return True
        message = record.getMessage()
        # The library announces each prediction in five lines, the parity check's too.
        if message.startswith("*****"):
            self.is_prediction = "Running Prediction" in message
        if self.is_prediction and (message.startswith("*****") or message.startswith("  Num examples")):
            return False
        return record.levelno >= self.level and not (record.levelno <= logging.INFO and CHATTER.match(message))


def set_log_level(level):
    """Show PaddleNLP's log from a level on.

    Args:
        level (str): of LEVELS; info leaves out the library's own chatter, debug shows it.
    """
    logger = logging.getLogger("PaddleNLP")
    for kept in [kept for kept in logger.filters if isinstance(kept, _Filter)]:
        logger.removeFilter(kept)
    logger.addFilter(_Filter(LEVELS[level]))


def quiet_libraries():
    """Silence what the libraries say in every run, and keep colours out of files; before the first `import paddle`."""
    if not sys.stderr.isatty():
        os.environ.setdefault("NO_COLOR", "1")
    os.environ.setdefault("GLOG_minloglevel", "1")  # Paddle's C++: "New Executor is Running."
    warnings.filterwarnings("ignore", message="Setuptools is replacing distutils")
    warnings.filterwarnings("ignore", message="full_graph=False don't support input_spec")
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated as an API")  # jieba's
    set_log_level("info")
