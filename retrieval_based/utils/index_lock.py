"""One writer at a time in the folder of an index: a lock that the system takes back however its holder ends."""

import contextlib
import errno
import os
import socket
from pathlib import Path

from utils import UsageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

# In the folder while somebody writes, with his process and machine. A killed process leaves it, but not the lock.
LOCK_FILE = "writing.lock"
# Windows keeps others from reading what is locked: a byte behind the text is.
FAR = 1 << 20


class FolderLock:
    """The right to write in a folder.

    Args:
        folder: it is made where it is not there, and taken away again where nothing was written.
    """

    def __init__(self, folder):
        self.path, self._descriptor, self._made = Path(folder) / LOCK_FILE, None, False

    def acquire(self):
        """Take the lock, without waiting.

        Raises:
            UsageError: another process, or another index of this one, has it; the folder cannot be written to.
        """
        try:
            self._made = not self.path.parent.exists()
            self._descriptor = self._open_and_seize()
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, f"{os.getpid()} {socket.gethostname()}".encode())
        except OSError as error:
            raise UsageError(
                f"{self.path.parent}: cannot write the index there ({error.strerror}); choose another folder"
            ) from None

    def release(self):
        """Give it back; nothing where it is not held."""
        if self._descriptor is None:
            return
        if fcntl is None:
            os.close(self._descriptor)  # Windows deletes no open file
        with contextlib.suppress(OSError):
            self.path.unlink()
        if fcntl is not None:
            os.close(self._descriptor)
        self._descriptor = None
        if self._made:
            with contextlib.suppress(OSError):
                self.path.parent.rmdir()  # only where it is empty

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

    def _open_and_seize(self):
        """A descriptor of the lock file, locked by this process alone."""
        while True:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                if not self._seize(descriptor):
                    pid, host = self._owner()
                    raise UsageError(
                        f"{self.path.parent}: process {pid} on {host} is writing the index there; wait until it has "
                        "ended, then run the same command again"
                    )
                # Who held it may have deleted the file between the two calls: the next one would lock another file.
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(descriptor), self.path.stat()):
                        return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _seize(self, descriptor):
        """Lock an open file; False where somebody has it."""
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                os.lseek(descriptor, FAR, os.SEEK_SET)
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                os.lseek(descriptor, 0, os.SEEK_SET)
            return True
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                return False
            if fcntl is None:
                raise
        return not self._owner_lives()  # a file system without locks

    def _owner(self):
        """Process and machine that the lock file names."""
        with contextlib.suppress(OSError, ValueError):
            pid, host = self.path.read_text(encoding="utf-8").split(" ", 1)
            return int(pid), host
        return "?", "this machine"

    def _owner_lives(self):
        """Whether the process that the lock file names may still run; one on another machine may."""
        pid, host = self._owner()
        if pid in ("?", os.getpid()):
            return False
        if host != socket.gethostname():
            return True
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True
