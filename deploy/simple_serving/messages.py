"""HTTP messages over ASGI: the bodies of requests, and answers whole or piece by piece."""

import asyncio
import contextlib
import json
import zlib

from deploy.simple_serving.query import Refusal


class ClientGone(Exception):
    """The client has closed its connection."""


def header(scope, name):
    """A header of a request, or None: str.

    Args:
        scope (dict): of ASGI.
        name (bytes): in small letters.
    """
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


async def read_body(scope, receive, settings, kinds=("application/json",), codings=()):
    """The body of a request, as it came.

    Args:
        scope, receive: of ASGI.
        settings (Settings): with the limits.
        kinds (Sequence[str]): content types that it may have.
        codings (Sequence[str]): ways in which it may be compressed, see decompress.

    Raises:
        Refusal: it is too large or too slow, or is not said to be of these kinds.
        ClientGone: it will not come.
    """
    kind = (header(scope, b"content-type") or "application/json").split(";")[0].strip().lower()
    if kind not in kinds:
        what = "Content-Type is %s; send JSON with the header Content-Type: application/json"
        raise Refusal(415, what, quoted=kind[:40])
    coding = (header(scope, b"content-encoding") or "identity").strip().lower()
    if coding != "identity" and coding not in codings:
        what = "Content-Encoding is %s; send the body as it is, without that header"
        raise Refusal(415, what, headers={"Accept-Encoding": ", ".join(codings) or "identity"}, quoted=coding[:40])

    def check_size(size):
        if size > settings.max_body_bytes:
            raise Refusal(413, f"the body is larger than {settings.max_body_bytes} bytes; send fewer texts a request")

    length = header(scope, b"content-length") or "0"
    check_size(int(length) if len(length) < 16 else 10**16)
    chunks, size = [], 0
    with deadline(settings.body_seconds, f"the request did not arrive within {settings.body_seconds} seconds"):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            size += len(message.get("body", b""))
            check_size(size)
            chunks.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(chunks) if len(chunks) > 1 else chunks[0]


def decompress(body, coding, most):
    """A body that came compressed.

    Args:
        body (bytes): the body.
        coding (str): gzip, or deflate, which HTTP means zlib's format by.
        most (int): bytes that it may have; no more is unpacked.

    Raises:
        Refusal: it is not that, is cut short, or is too large.
    """
    unpacker = zlib.decompressobj(31 if coding == "gzip" else 15)
    try:
        plain = unpacker.decompress(body, most + 1)
    except zlib.error as error:
        raise Refusal(400, f"the body is not {coding} ({error}); send it as it is, without Content-Encoding") from None
    if len(plain) > most:
        raise Refusal(413, f"the body is larger than {most} bytes, unpacked; send fewer texts a request")
    if not unpacker.eof or unpacker.unused_data:
        what = "something follows it" if unpacker.eof else "it is cut short"
        raise Refusal(400, f"the body is not whole as {coding}: {what}; send it again")
    return plain


@contextlib.contextmanager
def deadline(seconds, message):
    """Cancel what the running task waits for inside after some seconds.

    asyncio.wait_for makes a task for each call, which costs more than reading a short body.

    Raises:
        Refusal: 408 with the message, when the time is over.
    """
    task, expired = asyncio.current_task(), []

    def expire():
        expired.append(True)
        task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, expire)
    try:
        yield
    except asyncio.CancelledError:
        if not expired:
            raise
        if hasattr(task, "uncancel"):  # Python 3.11
            task.uncancel()
        raise Refusal(408, message) from None
    finally:
        timer.cancel()


class Watch:
    """Tells when a client closes its connection, while its request is worked on; the whole body has been read.

    Args:
        receive (Callable): of ASGI.
    """

    def __init__(self, receive):
        self._task = asyncio.ensure_future(self._wait(receive))

    @staticmethod
    async def _wait(receive):
        while (await receive())["type"] != "http.disconnect":
            pass

    @property
    def is_gone(self):
        return self._task.done()

    async def result(self, future):
        """The result of a concurrent.futures.Future that is completed on this loop's thread.

        Raises:
            ClientGone: the client left; the future is cancelled.
        """
        done = asyncio.get_running_loop().create_future()

        def finish(_):
            if not done.done():
                done.set_result(None)

        future.add_done_callback(finish)
        self._task.add_done_callback(finish)
        try:
            await done
            if not future.done():
                raise ClientGone
            return future.result()
        finally:
            self._task.remove_done_callback(finish)
            future.cancel()

    def end(self):
        self._task.cancel()


def json_bytes(content):
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


async def send_whole(send, status, body, headers=None, kind="application/json"):
    """Answer with a body that is there."""
    headers = {"content-type": kind, "content-length": str(len(body)), **(headers or {})}
    await send(_start(status, headers))
    await send({"type": "http.response.body", "body": body})


async def send_pieces(send, pieces, watch, pool, headers=None):
    """Answer 200 with a body whose pieces are made on another thread, each when the one before has been taken.

    Args:
        send (Callable): of ASGI; it waits while much has not been sent.
        pieces (Iterator[bytes]): the body.
        watch (Watch): the rest is not made for a client that has gone.
        pool (concurrent.futures.Executor): where they are made.
        headers (dict[str, str] | None): of the answer; None means that it is JSON.

    Raises:
        ClientGone: see above.
    """
    await send(_start(200, headers or {"content-type": "application/json"}))
    loop = asyncio.get_running_loop()
    while (piece := await loop.run_in_executor(pool, next, pieces, None)) is not None:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        if watch.is_gone:
            raise ClientGone
    await send({"type": "http.response.body", "body": b""})


def _start(status, headers):
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": encoded}
