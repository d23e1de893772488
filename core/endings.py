"""How a script ends when it cannot go on: a message on stderr and an exit code, no traceback."""

import errno
import sys

# What a disk or its settings refuse, whatever is written.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


def end_with_message(error, is_usage_error):
    """Print what a user should know of an exception.

    Args:
        error (BaseException): what ended the script.
        is_usage_error (bool): whether it is a utils.UsageError, which says all by itself.

    Returns:
        int: the exit code: 2, and 130 for Ctrl-C.

    Raises:
        BaseException: the error itself, where it is a fault of the program.
    """
    code = 2
    if is_usage_error:
        message = error
    elif isinstance(error, KeyboardInterrupt):
        message, code = " ".join(map(str, error.args)) or "interrupted", 130
    elif isinstance(error, OSError) and error.errno in DISK_ERRORS:
        message = f"{error.filename or 'the disk'}: {error.strerror}; free some room, or give another path"
    else:
        raise error
    print(message, file=sys.stderr)
    return code
