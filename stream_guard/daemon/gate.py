"""A proxy on loopback through which FFmpeg reads http and https, and opens rtmps, so that every connection is checked.

A check of the URL before opening does not see where a redirect, a playlist or a name whose answer changes will lead.
The gate sees each request: it checks the host again and connects to the very addresses that passed.


    with Gate(urls) as gate:
        av.open(url, options={"http_proxy": gate.url, ...})   # with `httpproxy` in the protocol whitelist

FFmpeg hands the option on to a playlist's segments and keys. It obeys `no_proxy`: that variable must not be set.
Of tunnels, for https and rtmps, only host and port are seen: `urls.paths` holds for the first URL and for plain http.
"""

from __future__ import annotations

import logging
import re
import selectors
import socket
import socketserver
import threading
from contextlib import closing, suppress
from types import TracebackType
from urllib.parse import urlsplit

from ..errors import ConfigError
from .addresses import Resolver, check_host, parse_host
from .settings import Urls
from .urls import CheckedUrl, check_url

MOST_HEAD = 65536
"""Bytes of a request's head."""
OPEN_SECONDS, IDLE_SECONDS = 10.0, 60.0
_CHUNK = 65536
_LINE = re.compile(rb"(GET|HEAD|CONNECT) ([!-~]+) HTTP/1\.[01]\r\n")
_HOP = re.compile(rb"(?im)^(connection|proxy-[a-z-]+|keep-alive):[^\n]*\n")

log = logging.getLogger(__name__)


class Gate:
    """A context manager; `url` is the value of FFmpeg's option `http_proxy`. One thread a connection.

    `tunnels` is the scheme whose connections may be asked for, where `urls.schemes` has it.
    """

    def __init__(self, urls: Urls, resolve: Resolver = socket.getaddrinfo, tunnels: str = "https") -> None:
        self.refusals: list[str] = []
        """The last words of refusals, without secrets: FFmpeg itself only says `403 Forbidden`."""
        self._open: set[socket.socket] = set()
        self._server = _Server(self, urls, resolve, tunnels)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="gate", daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Gate:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()  # joins the threads of the connections

    def refused(self, words: str) -> None:
        log.warning("the stream leads elsewhere: %s", words)
        self.refusals = [*self.refusals[-9:], words]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, gate: Gate, urls: Urls, resolve: Resolver, tunnels: str) -> None:
        self.gate, self.urls, self.resolve, self.tunnels = gate, urls, resolve, tunnels
        super().__init__(("127.0.0.1", 0), _Connection)

    def track(self, connection: socket.socket, present: bool) -> None:
        (self.gate._open.add if present else self.gate._open.discard)(connection)


class _Connection(socketserver.BaseRequestHandler):
    """One request: answered by the host that it names, or with 403."""

    server: _Server
    request: socket.socket

    def handle(self) -> None:
        self.request.settimeout(IDLE_SECONDS)
        self.server.track(self.request, True)
        try:
            with suppress(OSError):
                self._serve()
        finally:
            self.server.track(self.request, False)

    def _serve(self) -> None:
        head, rest = self._head()
        line = _LINE.match(head)
        if line is None:
            self._answer("400 Bad Request")
            return
        method, target = line[1].decode(), line[2].decode()
        try:
            upstream = self._connect(target) if method == "CONNECT" else self._request(head, target)
        except ConfigError as exc:
            self.server.gate.refused(str(exc))
            self._answer("403 Forbidden")
            return
        except OSError as exc:
            host = target if method == "CONNECT" else urlsplit(target).hostname
            log.warning("the stream's host %s cannot be reached: %s", host, exc.strerror or exc)
            self._answer("502 Bad Gateway")  # FFmpeg makes "Server returned 5XX" of it, as if the source had answered
            return
        with closing(upstream):
            if method == "CONNECT":
                self._answer("200 Connection established")
                upstream.sendall(rest)
            self._relay(upstream)

    def _head(self) -> tuple[bytes, bytes]:
        """The head with its empty line, and what came after it."""
        data = b""
        while b"\r\n\r\n" not in data and len(data) < MOST_HEAD:
            more = self.request.recv(_CHUNK)
            if not more:
                return b"", b""
            data += more
        head, end, rest = data.partition(b"\r\n\r\n")
        return head + end, rest

    def _connect(self, target: str) -> socket.socket:
        """A tunnel for https or rtmps."""
        host, _, port = target.rpartition(":")
        wanted = self.server.tunnels
        if wanted not in self.server.urls.schemes or not port.isdecimal() or not 1 <= int(port) <= 65535:
            raise ConfigError(f"the stream leads to {wanted}, which is not allowed, or to no port")
        addresses = check_host(parse_host(host), int(port), self.server.urls.hosts, self.server.resolve)
        return _dial(addresses, int(port))

    def _request(self, head: bytes, target: str) -> socket.socket:
        """The connection on which the request was sent, one a request: the next may go to another host."""
        checked: CheckedUrl = check_url(target, self.server.urls, "source", self.server.resolve)
        if checked.scheme != "http":
            raise ConfigError("the source leads to another scheme than http and https")
        upstream = _dial(checked.addresses, checked.port)
        parts = urlsplit(target)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        line, _, headers = head.partition(b"\r\n")
        method = line.split(b" ")[0]
        kept = _HOP.sub(b"", headers)
        try:
            upstream.sendall(method + b" " + path.encode() + b" HTTP/1.1\r\nConnection: close\r\n" + kept)
        except OSError:
            upstream.close()
            raise
        return upstream

    def _answer(self, status: str) -> None:
        ends = "" if status.startswith("200") else "Content-Length: 0\r\nConnection: close\r\n"
        self.request.sendall(f"HTTP/1.1 {status}\r\n{ends}\r\n".encode())

    def _relay(self, upstream: socket.socket) -> None:
        """Both ways, until either side ends or nothing has come for a while."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.request, selectors.EVENT_READ, upstream)
            selector.register(upstream, selectors.EVENT_READ, self.request)
            while ready := selector.select(IDLE_SECONDS):
                for key, _ in ready:
                    source: socket.socket = key.fileobj  # type: ignore[assignment]
                    data = source.recv(_CHUNK)
                    if not data:
                        return
                    key.data.sendall(data)


def _dial(addresses: tuple[str, ...], port: int) -> socket.socket:
    """A connection to the first address that answers. Raises OSError."""
    failure = OSError("no address")
    for address in addresses:
        try:
            connection = socket.create_connection((address, port), OPEN_SECONDS)
        except OSError as exc:
            failure = exc
        else:
            connection.settimeout(IDLE_SECONDS)
            return connection
    raise failure
