"""One writer at a time in the folder of an index: a lock that the system takes back however its holder ends."""

import contextlib
from pathlib import Path

from core import locks
from utils import UsageError

# In the folder while somebody writes, with his process and machine. A killed process leaves it, but not the lock.
LOCK_FILE = "writing.lock"
BUSY = "is writing the index there; wait until it has ended, then run the same command again"
fcntl = locks.fcntl  # None on Windows


def _dumps(owner):
    return f"{owner['pid']} {owner['host']}"


def _loads(text):
    pid, host = text.split(" ", 1)
    return {"pid": int(pid), "host": host}


class FolderLock:
    """The right to write in a folder; two indexes of one process keep each other out.

    Args:
        folder: it is made where it is not there, and taken away again where nothing was written.
    """

    def __init__(self, folder):
        self._lock = locks.FileLock(Path(folder) / LOCK_FILE, "flock", BUSY, _dumps, _loads)
        self._descriptor, self._made = None, False

    def acquire(self):
        """Take the lock, without waiting.

        Raises:
            UsageError: another process, or another index of this one, has it; the folder cannot be written to.
        """
        folder = self._lock.path.parent
        try:
            self._made = not folder.exists()
            self._descriptor = self._lock.take()
        except OSError as error:
            raise UsageError(
                f"{folder}: cannot write the index there ({error.strerror}); choose another folder"
            ) from None

    def release(self):
        """Give it back; nothing where it is not held."""
        if self._descriptor is None:
            return
        self._lock.give_back(self._descriptor)
        self._descriptor = None
        if self._made:
            with contextlib.suppress(OSError):
                self._lock.path.parent.rmdir()  # only where it is empty

    @contextlib.contextmanager
    def held(self):
        """Hold the lock for a block, or go on holding it."""
        if self._descriptor is not None:
            yield
            return
        self.acquire()
        try:
            yield
        finally:
            self.release()
