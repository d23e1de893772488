"""core/endings.py: messages and exit codes."""

import errno

import pytest

from utils import UsageError, exit_on_usage_error


@pytest.mark.parametrize(
    "error, code, message",
    [
        (UsageError("a.txt:3: blank line"), 2, "a.txt:3: blank line"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (KeyboardInterrupt("interrupted; go on so"), 130, "interrupted; go on so"),
        (
            OSError(errno.ENOSPC, "No space left on device", "out/x"),
            2,
            "out/x: No space left on device; free some room",
        ),
    ],
)
def test_a_message_and_an_exit_code(error, code, message, capsys):
    with pytest.raises(SystemExit) as ending, exit_on_usage_error():
        raise error
    assert ending.value.code == code and capsys.readouterr().err.startswith(message)


def test_faults_of_the_program_keep_their_traceback():
    for error in (FileNotFoundError(errno.ENOENT, "gone"), ValueError("x"), BrokenPipeError(errno.EPIPE, "pipe")):
        with pytest.raises(type(error)), exit_on_usage_error():
            raise error
