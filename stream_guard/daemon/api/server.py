"""Serves an ASGI app over HTTP or HTTPS on a thread of its own."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import socket
import threading
import time
from typing import Any, cast

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from ...errors import UsageError
from ..settings import Http
from .access import check_certificate
from .answers import error
from .door import Doors
from .guard import CLOSE, HEADERS

START_SECONDS = 10.0
HEADER_SECONDS = 10.0
"""From the connection to the end of the request's headers."""
SEND_SECONDS = 20.0
"""How long a client may leave an answer, or the events, unread."""
IDLE_SECONDS = 15
STOP_SECONDS = 6
"""What requests may still take when the server is asked to stop; longer than the silence of an event stream."""
MAX_HEADER_BYTES = 16384
BACKLOG = 128
"""Connections that may wait to be accepted. asyncio tries as many times at once, also where files have run out."""
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
SAY_AGAIN_SECONDS = 10.0
log = logging.getLogger(__name__)
CLIENTS = logging.getLogger("uvicorn.error.clients")
CLIENTS.setLevel(logging.ERROR)
"""The log of connections without its warnings: whoever reaches the port could write them at will."""


class PatientProtocol(H11Protocol):
    """Closes a connection that does not send the head of its request, or does not take the answer, in time."""

    _patience: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _came = 0.0
    most = 256
    """Connections; of more, the one that has been without a request longest is let go. `Server` sets it."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.logger = CLIENTS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._came = self.loop.time()
        if len(self.connections) > self.most:
            self._make_room()
        self._watch()

    def _make_room(self) -> None:
        """Whoever refuses the newest instead lets silent connections shut the liveness probe out."""
        others = (one for one in self.connections if one is not self and isinstance(one, PatientProtocol))
        quiet = [one for one in others if one.cycle is None or one.cycle.response_complete]
        if quiet:
            min(quiet, key=lambda one: one._came).transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        self._taken()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        self._unread = self.loop.call_later(SEND_SECONDS, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        self._taken()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """To what is no HTTP, and so never reaches the app. Where an answer has begun, there is no second one."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = error(400, "the request is not well-formed HTTP/1.1", headers={**HEADERS, **CLOSE})
            head = h11.Response(status_code=400, headers=answer.raw_headers, reason=b"Bad Request")
            for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _taken(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._rest()
        elif self._patience is None:
            self._patience = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _rest(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


class _Listening(uvicorn.Server):
    """Ends without leaving a connection behind.

    A connection that is accepted while asyncio's server closes gets lost (python/cpython#109564), and one that came
    after uvicorn told them all to end is waited for in vain.
    """

    loop: asyncio.AbstractEventLoop | None = None
    doors: Doors | None = None
    """Of TLS: `Server` sets it."""
    _said = -math.inf
    """When it was told last that nobody can be let in."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(self._trouble)
        await super().startup(sockets)

    def _trouble(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """asyncio tries each knock at the door anew where files have run out, and tells each with a traceback."""
        exc = context.get("exception")
        if not isinstance(exc, OSError) or exc.errno not in EXHAUSTED:
            loop.default_exception_handler(context)
        elif loop.time() - self._said >= SAY_AGAIN_SECONDS:
            self._said = loop.time()
            log.error("no connection can be taken: %s; raise the limit (LimitNOFILE, ulimit -n)", exc.strerror)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in sockets or ():
            asyncio.get_running_loop().remove_reader(listener)
        await _turns()  # what was accepted last is told to end, as the others are
        if self.doors is not None:
            self.doors.close()
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await _turns()


async def _turns() -> None:
    """A few turns of the loop: from `accept` to `connection_made`, or from `abort` to `connection_lost`."""
    for _ in range(5):
        await asyncio.sleep(0)


class Server:
    """One app on one address. `port` is the real one once `start` has returned."""

    def __init__(self, app: FastAPI, http: Http) -> None:
        self._app, self._http = app, http
        self.port = http.port
        self._server: _Listening | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Scheme, address and port, such as http://127.0.0.1:8642."""
        address = f"[{self._http.address}]" if ":" in self._http.address else self._http.address
        return f"{'https' if self._http.tls else 'http'}://{address}:{self.port}"

    def start(self) -> None:
        """Listen and answer. Raises ConfigError for a bad certificate, UsageError when the port cannot be had."""
        self._app.state.ending.clear()
        config = self._config()
        listener = self._listen()
        self.port = listener.getsockname()[1]
        self._server = _Listening(config)
        self._server.doors = _doors(config)
        self._thread = threading.Thread(target=self._run, args=(self._server, listener), name="http", daemon=True)
        self._thread.start()
        self._wait_until_started()

    def renew(self) -> None:
        """Give connections from now on the certificate that lies there now. Raises ConfigError, and keeps the old."""
        tls, server = self._http.tls, self._server
        if tls is None or server is None or server.loop is None or server.doors is None:
            return
        check_certificate(tls)  # apart: in the context, a key that does not fit would take the old one's place
        # On the loop's thread: there nobody shakes hands meanwhile.
        server.loop.call_soon_threadsafe(server.doors.context.load_cert_chain, tls.certificate, tls.key)

    def stop(self) -> None:
        """Answer what is being asked, end the event streams, close. May be called twice."""
        if self._server is None or self._thread is None:
            return
        self._app.state.ending.set()
        self._server.should_exit = True
        self._thread.join()
        self._server = self._thread = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _run(self, server: _Listening, listener: socket.socket) -> None:
        with listener:
            server.run(sockets=[listener])

    def _wait_until_started(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self._server and self._thread and self._thread.is_alive() and time.monotonic() < deadline:
            if self._server.started:
                return
            time.sleep(0.01)
        self.stop()
        raise UsageError(f"the HTTP server on {self._http.address}:{self.port} did not start; see the log")

    def _listen(self) -> socket.socket:
        address, port = self._http.address, self._http.port
        try:
            family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((address, port), family=family)
        except OSError as exc:
            raise UsageError(
                f"the API cannot be served on {address}:{port}: {exc.strerror or exc}; "
                "choose another http.address or http.port"
            ) from exc

    def _config(self) -> uvicorn.Config:
        tls = self._http.tls
        config = uvicorn.Config(
            self._app,
            http=type("Protocol", (PatientProtocol,), {"most": 4 * self._http.max_requests}),
            ws="none",
            loop="asyncio",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
        )
        if tls is not None:
            check_certificate(tls)
        config.load()
        return config


def _doors(config: uvicorn.Config) -> Doors | None:
    """In front of the protocol where there is TLS, in the place of asyncio's own."""
    if config.ssl is None:
        return None
    behind = cast(type[PatientProtocol], config.http_protocol_class)
    doors = Doors(behind, config.ssl, behind.most)
    config.http_protocol_class, config.ssl = cast(Any, doors), None
    return doors


def serve_app(app: FastAPI, http: Http) -> Server:
    """A server for `app`, not started yet."""
    return Server(app, http)
