"""Deadlines and a limit for connections, which uvicorn does not have.

Its own deadline begins after the first answer and is forgotten at the next byte: a connection that sends nothing, or
half a header, stays for ever, and so does one whose client never reads. No flag and no application can change that,
and uvicorn has chosen its protocol class before it imports the application. So guard_uvicorn changes those classes in
place; connections of other applications, which have no guard in their lifespan's state, stay as they were.
"""

import contextlib
import importlib
import socket
import time

from deploy.simple_serving.observing import logger

# Where an application puts its guard in the state of its lifespan.
STATE_KEY = "serving.connections"
# Seconds between two looks at all connections.
INTERVAL = 0.5
# Descriptors that are left for everything else than connections.
OTHER_FILES = 100

FULL = b'{"error":{"status":503,"message":"too many connections; try again later"}}'
HEAD = (
    f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {len(FULL)}\r\n"
    "Retry-After: 2\r\nConnection: close\r\n\r\n"
)


class Guard:
    """Closes connections that keep others from being served.

    Args:
        settings (Settings): max_connections, header_seconds, send_seconds, stop_seconds.
    """

    def __init__(self, settings):
        self.settings = settings
        self.limit = min(settings.max_connections, max(10, open_files() - OTHER_FILES))
        self._stop_at = None
        self._sweeping = False
        self._idle = {}  # protocol -> since when no request of it runs
        self._unread = {}  # protocol -> (bytes that wait to be sent, since when)

    def admit(self, protocol):
        """Look after a new connection; make room for it, or refuse it."""
        now = time.monotonic()
        self._idle[protocol] = now
        others = [other for other in protocol.connections if other is not protocol and not is_closing(other)]
        if len(others) >= self.limit:
            self._make_room(protocol, others)
        if not self._sweeping:
            self._sweeping = True
            protocol.loop.call_later(INTERVAL, self._sweep, protocol.loop, protocol.connections)

    def stop(self):
        """The server ends: from now on there is a deadline for all."""
        self._stop_at = self._stop_at or time.monotonic() + self.settings.stop_seconds

    def _make_room(self, newcomer, others):
        waiting = [other for other in others if is_idle(other)]
        if waiting:  # the one that has sent no request for the longest time
            close([min(waiting, key=lambda other: self._idle.get(other, 0))], "room for others was needed")
        else:
            newcomer.transport.write(HEAD.encode() + FULL)
            close([newcomer], f"{self.limit} connections have a request each")

    def _sweep(self, loop, connections):
        now = time.monotonic()
        idle, unread, silent, stuck = {}, {}, [], []
        for protocol in connections:
            size = protocol.transport.get_write_buffer_size()
            if size:
                before, since = self._unread.get(protocol, (None, now))
                since = since if size == before else now
                unread[protocol] = size, since
                if now - since >= self.settings.send_seconds:
                    stuck.append(protocol)
            if not is_idle(protocol) or protocol.timeout_keep_alive_task is not None:
                continue  # what uvicorn waits for itself has a deadline
            idle[protocol] = self._idle.get(protocol, now)
            if now - idle[protocol] >= self.settings.header_seconds and not size:
                silent.append(protocol)
        self._idle, self._unread = idle, unread
        close(silent, f"no request within {self.settings.header_seconds} seconds")
        close(stuck, f"nothing of the answer was read for {self.settings.send_seconds} seconds")
        if self._stop_at and now >= self._stop_at:
            close(list(connections), f"{self.settings.stop_seconds} seconds after the end was asked for")
        self._sweeping = bool(connections)
        if self._sweeping:
            loop.call_later(INTERVAL, self._sweep, loop, connections)


def is_idle(protocol):
    """Whether a connection has no request whose answer is still to come."""
    return protocol.cycle is None or protocol.cycle.response_complete


def is_closing(protocol):
    return protocol.transport.is_closing()


def close(protocols, why):
    """End some connections at once, with what waits to be sent if the client takes it now; one line of log."""
    for protocol in protocols:
        protocol.transport.close()
        if protocol.transport.get_write_buffer_size():
            protocol.transport.abort()
    if protocols:
        logger.warning("closed", extra={"fields": {"connections": len(protocols), "why": why}})


def open_files():
    """How many files this process may have open."""
    try:
        import resource
    except ImportError:  # Windows, where sockets do not count
        return 1 << 20
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def guard_uvicorn():
    """Let uvicorn's protocol classes tell the guard of their application, if there is one, of each connection."""
    for name in ("h11_impl.H11Protocol", "httptools_impl.HttpToolsProtocol"):
        module, _, cls = name.partition(".")
        try:
            protocol = getattr(importlib.import_module(f"uvicorn.protocols.http.{module}"), cls)
        except ImportError:  # httptools is optional
            continue
        if not hasattr(protocol, "is_guarded"):
            protocol.is_guarded = True
            _guard(protocol)


def _guard(protocol):
    made, received, shutdown = protocol.connection_made, protocol.data_received, protocol.shutdown

    def connection_made(self, transport):
        made(self, transport)
        if guard := self.app_state.get(STATE_KEY):
            with contextlib.suppress(OSError, AttributeError):  # a Unix socket, a pipe
                # asyncio does it itself, but not for the socket that uvicorn makes for --workers: 40 ms an answer.
                transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            guard.admit(self)

    def data_received(self, data):
        if STATE_KEY not in self.app_state:
            return received(self, data)
        try:
            received(self, data)
        except Exception as error:
            # h11 raises what uvicorn does not expect, such as for a Content-Length of 5,000 digits.
            logger.warning("bad request", extra={"fields": {"why": type(error).__name__}})
            try:
                self.send_400_response("Invalid HTTP request received.")
            except Exception:  # an answer is under way
                self.transport.close()

    def shutdown_guarded(self):
        if guard := self.app_state.get(STATE_KEY):
            guard.stop()
        shutdown(self)

    protocol.connection_made, protocol.data_received = connection_made, data_received
    protocol.shutdown = shutdown_guarded
