"""One training at a time in an output folder: a lock that the system takes back however its holder ends."""

import contextlib
import errno
import json
import os
import socket
from pathlib import Path

from utils import UsageError, read_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

# In the folder, with the pid and the machine of the process that holds it.
LOCK_FILE = "training.lock"

# Windows keeps others from reading what is locked: a byte behind the text is.
FAR = 1 << 20

_held = set()


@contextlib.contextmanager
def locked_folder(folder, flag="--output_dir"):
    """Hold a folder, which is made where it is not there; a process may do so twice.

    A file that a killed process left is taken over. Nothing in this process may open the file meanwhile: POSIX gives
    a lock up with the first of its file's descriptors that is closed.

    Raises:
        UsageError: another process holds it, naming its pid, or the folder cannot be written.
    """
    path = Path(folder).resolve() / LOCK_FILE
    if path in _held:
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _open_and_seize(path, os.O_CREAT)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode("ascii"))
    except OSError as error:
        raise UsageError(f"{folder}: cannot write there ({error.strerror}); choose another {flag}") from None
    _held.add(path)
    try:
        yield
    finally:
        _held.discard(path)
        if fcntl is None:
            os.close(descriptor)  # Windows deletes no open file
        with contextlib.suppress(OSError):
            path.unlink()
        if fcntl is not None:
            os.close(descriptor)


def refuse_if_locked(folder):
    """Raise UsageError when another process holds the folder; changes nothing."""
    path = Path(folder).resolve() / LOCK_FILE
    if path not in _held and path.is_file():
        with contextlib.suppress(OSError):
            os.close(_open_and_seize(path))


def _open_and_seize(path, flags=0):
    """A descriptor of the lock file, which this process alone has locked.

    Raises:
        UsageError: another process has.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | flags)
        try:
            if not _seize(descriptor, path):
                owner = read_json(path)
                who = f"process {owner.get('pid', '?')} on {owner.get('host', 'this machine')}"
                raise UsageError(
                    f"{path.parent}: {who} is training there; wait for it, stop it, or choose another --output_dir"
                )
            # Whoever held it may have deleted the file between the two calls: the next one would lock another file.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _seize(descriptor, path):
    """Lock an open file without waiting; False when another process has it."""
    try:
        if fcntl is not None:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            os.lseek(descriptor, FAR, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
    return not _is_alive(read_json(path))  # a file system without locks


def _is_alive(owner):
    """Whether the process that a lock file names may still run; one of another machine may."""
    import psutil

    if not owner or owner.get("pid") == os.getpid():
        return False
    return owner.get("host") != socket.gethostname() or psutil.pid_exists(owner.get("pid", -1))
