"""Locks that the system takes back however their holder ends; one training at a time in an output folder."""

import contextlib
import errno
import json
import os
import socket
from pathlib import Path

from utils import UsageError

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


class FileLock:
    """A lock on a file that names its holder. A file that a killed process left is taken over.

    Args:
        path (Path): the file.
        kind (str): lockf: the process holds it, and may take it twice; POSIX gives it up with the first of the
            file's descriptors that is closed. flock: the open file holds it, and keeps others of this process out.
        busy (str): what the other one does there, and what to do about it, such as "is writing there; wait".
        dumps (Callable): from {"pid": int, "host": str} to what is in the file.
        loads (Callable): the reverse; raises ValueError where it is something else.
    """

    def __init__(self, path, kind, busy, dumps=json.dumps, loads=json.loads):
        self.path, self.kind, self.busy, self.dumps, self.loads = Path(path), kind, busy, dumps, loads

    def take(self):
        """Make the folder where it is not there, lock the file without waiting, and write the holder into it.

        Returns:
            int: the descriptor, for `give_back`.

        Raises:
            UsageError: another one has it, naming its pid.
            OSError: the folder cannot be written to.
        """
        descriptor = self._open_and_seize(os.O_CREAT)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, self.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode("utf-8"))
        return descriptor

    def give_back(self, descriptor):
        """Delete the file, and let others have it."""
        if fcntl is None:
            os.close(descriptor)  # Windows deletes no open file
        with contextlib.suppress(OSError):
            self.path.unlink()
        if fcntl is not None:
            os.close(descriptor)

    def refuse_if_taken(self):
        """Raise UsageError when another one has it; changes nothing."""
        with contextlib.suppress(OSError):
            os.close(self._open_and_seize())

    def _open_and_seize(self, flags=0):
        while True:
            if flags & os.O_CREAT:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | flags, 0o666)
            try:
                if not self._seize(descriptor):
                    owner = self._owner()
                    who = f"process {owner.get('pid', '?')} on {owner.get('host', 'this machine')}"
                    raise UsageError(f"{self.path.parent}: {who} {self.busy}")
                # Who held it may have deleted the file between the two calls: the next one would lock another file.
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(descriptor), self.path.stat()):
                        return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _seize(self, descriptor):
        """Lock an open file without waiting; False when another one has it."""
        try:
            if fcntl is not None:
                getattr(fcntl, self.kind)(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                os.lseek(descriptor, FAR, os.SEEK_SET)
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                os.lseek(descriptor, 0, os.SEEK_SET)
            return True
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                return False
        return not _is_alive(self._owner())  # a file system without locks

    def _owner(self):
        """Process and machine that the file names: pid and host; empty where it names none."""
        with contextlib.suppress(OSError, ValueError):
            owner = self.loads(self.path.read_text(encoding="utf-8"))
            return owner if isinstance(owner, dict) else {}
        return {}


def _training_lock(folder):
    busy = "is training there; wait for it, stop it, or choose another --output_dir"
    return FileLock(Path(folder).resolve() / LOCK_FILE, "lockf", busy)


@contextlib.contextmanager
def locked_folder(folder, flag="--output_dir"):
    """Hold a folder, which is made where it is not there; a process may do so twice.

    A file that a killed process left is taken over. Nothing in this process may open the file meanwhile: POSIX gives
    a lock up with the first of its file's descriptors that is closed.

    Raises:
        UsageError: another process holds it, naming its pid, or the folder cannot be written.
    """
    lock = _training_lock(folder)
    if lock.path in _held:
        yield
        return
    try:
        descriptor = lock.take()
    except OSError as error:
        raise UsageError(f"{folder}: cannot write there ({error.strerror}); choose another {flag}") from None
    _held.add(lock.path)
    try:
        yield
    finally:
        _held.discard(lock.path)
        lock.give_back(descriptor)


def refuse_if_locked(folder):
    """Raise UsageError when another process holds the folder; changes nothing."""
    lock = _training_lock(folder)
    if lock.path not in _held and lock.path.is_file():
        lock.refuse_if_taken()


def _is_alive(owner):
    """Whether the process that a lock file names may still run; one of another machine may."""
    import psutil

    if not owner or owner.get("pid") == os.getpid():
        return False
    return owner.get("host") != socket.gethostname() or psutil.pid_exists(owner.get("pid", -1))
