"""Connections to Milvus, to a server or to a file of Milvus Lite, with errors that are one line."""

import contextlib
import logging
import re
import sqlite3
import time
from pathlib import Path

from core.arguments import require_packages
from retrieval_based.utils import config
from utils import UsageError

# What is a server; any other URI that comes here is a file of Milvus Lite.
SERVER = re.compile(r"https?://", re.IGNORECASE)
# Seconds: until a server must answer at first, and for any one call later.
CONNECT_TIMEOUT = 5
CALL_TIMEOUT = 120
LOAD_TIMEOUT = 1800
# Seconds to wait for the program of Milvus Lite whose client was killed: it ends by itself within about one.
LOCK_TIMEOUT = 5
# Of a query: what any client has written before is seen.
READ_ALL = {"consistency_level": "Strong", "timeout": CALL_TIMEOUT}
# The table of a file of Milvus Lite that names its collections.
LITE_TABLE = "collection_meta"

# Open indexes of this process by file: they share one program of Milvus Lite.
_open_files = {}


@contextlib.contextmanager
def plain_errors(uri):
    """Turn what pymilvus raises into one line that names the URI."""
    from grpc import RpcError
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except (MilvusException, RpcError) as error:
        what = getattr(error, "message", None) or str(error)
        raise UsageError(f"{uri}: Milvus says: {' '.join(what.split())[:300]}") from error


def connect(uri, token=""):
    """A pymilvus.MilvusClient; close it by disconnect.

    Args:
        uri (str): a file that ends in .db, or http://host:port.
        token (str): user:password of a server that asks for it.

    Raises:
        UsageError: no server there, a file that is in use, damaged or another program's; a package is missing.
    """
    is_server = SERVER.match(uri)
    names = ["pymilvus"] if is_server else ["pymilvus", "milvus-lite"]
    require_packages(f"--uri {uri}", *names, requirements="retrieval_based/requirements.txt")
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

    logging_off()
    if not is_server:
        check_lite_file(Path(uri))
        with plain_errors(uri):
            client = MilvusClient(uri)
        _open_files[lite_key(uri)] = _open_files.get(lite_key(uri), 0) + 1
        return client
    try:
        return MilvusClient(uri, token=token, timeout=CONNECT_TIMEOUT)
    except (MilvusException, ValueError) as error:
        what = " ".join((getattr(error, "message", None) or str(error)).split())[:200]
        raise UsageError(
            f"{uri}: no Milvus answers there ({what}); start one, correct --uri, or use a local file: "
            f"--uri {config.URI}"
        ) from None


def disconnect(client, uri):
    """End a connection; the file of Milvus Lite is then free for another process."""
    client.close()
    if not SERVER.match(uri):
        from milvus_lite.server_manager import server_manager_instance

        _open_files[lite_key(uri)] -= 1
        if not _open_files[lite_key(uri)]:
            server_manager_instance.release_server(uri)


def logging_off():
    """pymilvus logs a traceback for everything that it raises too."""
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("pymilvus"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def lite_key(uri):
    """The name by which the library knows a file."""
    return str(Path(uri).absolute().resolve())


def check_lite_file(path):
    """Refuse what Milvus Lite cannot open, before it is asked: its own messages say little.

    Raises:
        UsageError: a name that it does not take, no such folder, in use, not a file of its own, or damaged.
    """
    from milvus_lite.server_manager import server_manager_instance

    if not re.fullmatch(r"[A-Za-z0-9._-]{1,36}", path.name):
        raise UsageError(f"{path}: Milvus Lite takes up to 36 letters, digits, . _ and - as a name; choose another")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        start = path.open("rb").read(16) if path.exists() else b""
    except OSError as error:
        raise UsageError(f"{path}: cannot be opened ({error.strerror}); choose another --uri") from None
    if start and start != b"SQLite format 3\0":
        raise UsageError(f"{path}: not a file of Milvus Lite; choose another --uri")
    # Asked here, since the library's own attempt deletes the other process's lock when it fails.
    if lite_key(path) not in server_manager_instance._servers:
        _wait_for_lock(path)
        if start:
            _check_database(path)


def _wait_for_lock(path):
    """Raise UsageError where another process has the file open and keeps it so."""
    import fcntl  # not on Windows, which has no Milvus Lite, but can reach a server

    lock, deadline = path.absolute().parent / f".{path.name}.lock", time.monotonic() + LOCK_TIMEOUT
    while lock.exists():
        try:
            with lock.open("a") as file:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
        except OSError:
            if time.monotonic() > deadline:
                raise UsageError(
                    f"{path}: another process has it open; Milvus Lite is for one process at a time: end that one, or "
                    "run a Milvus server and give --uri http://host:19530"
                ) from None
            time.sleep(0.1)


def _check_database(path):
    """Refuse a damaged file: Milvus Lite opens it without the rows that it cannot read, or waits in vain for 10 s."""
    # Not read-only: what a kill has cut off is rolled back first.
    address = f"{path.absolute().as_uri()}?mode=rw"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master")]
            ((state,),) = database.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.OperationalError as error:
        raise UsageError(f"{path}: cannot be opened ({error}); choose another --uri") from None
    except sqlite3.DatabaseError as error:
        tables, state = [LITE_TABLE], str(error)
    if tables and LITE_TABLE not in tables:
        raise UsageError(f"{path}: a database of another program, not of Milvus Lite; choose another --uri")
    if state != "ok":
        state = " ".join(state.replace("*** in database main ***", "").split())
        raise UsageError(
            f"{path}: the file is damaged ({state}); bring back a copy of it, or move it away and insert again"
        )
