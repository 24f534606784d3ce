"""Stands before the app: who may ask, from where, how much and how long. Written for ASGI, so that streams pass."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import traceback
from collections.abc import Callable, Iterator

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..settings import Http, Token
from .access import EVENTS, HOOKS, OPEN, READING, bearer, host_name, is_foreign, is_loopback, may
from .answers import Answer, error

BODY_SECONDS = 10.0
"""How long a body may take to arrive."""
LINGER_SECONDS = 1.0
LINGER_BYTES = 1 << 20
"""How long and how much of a refused request's body is still read, and thrown away, once the answer is out."""
UNCOUNTED = frozenset({"/livez", EVENTS})
"""Not counted among the requests at once: the liveness probe, and event streams, which have a bound of their own."""
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}
"""On every answer that does not say otherwise."""
CLOSE = {"Connection": "close"}
"""On answers to requests whose body was not read to its end."""

log = logging.getLogger(__name__)


class Guard:
    """Wraps the app. What is refused here never reaches it. `tokens` is asked at each request: they may change."""

    def __init__(self, app: ASGIApp, http: Http, tokens: Callable[[], tuple[Token, ...]]) -> None:
        self._app, self._http, self._tokens = app, http, tokens
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = next(self._refusals(scope, Headers(scope=scope)), None)
        counted = scope["path"] not in UNCOUNTED
        if refusal is None and counted and self._running >= self._http.max_requests:
            refusal = error(503, "too many requests at once", "ask again in 1 s", headers={"Retry-After": "1"})
        if refusal is not None:
            await _refuse(refusal, scope, receive, _with_headers(send))
            return
        self._running += counted
        try:
            await self._ask(scope, receive, _with_headers(send))
        finally:
            self._running -= counted

    async def _ask(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if _has_body(headers):
            try:
                receive = await asyncio.wait_for(self._body(receive), BODY_SECONDS)
            except asyncio.TimeoutError:
                slow = error(408, f"the body did not arrive within {BODY_SECONDS:g} s", headers=CLOSE)
                await slow(scope, receive, send)
                return
            except _TooLargeError:
                await _refuse(self._too_large(), scope, receive, send)
                return
        if scope["method"] == "HEAD" and scope["path"] != EVENTS:  # the server leaves the body out; events have no end
            scope = {**scope, "method": "GET"}
        await _answer(self._app, scope, receive, send)

    async def _body(self, receive: Receive) -> Receive:
        """Reads the whole body, and gives it out again as one message."""
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return _replay([message], receive)
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._http.max_body_bytes:
                raise _TooLargeError
        return _replay([{"type": "http.request", "body": body, "more_body": False}], receive)

    def _too_large(self) -> Answer:
        return error(413, f"the body is larger than {self._http.max_body_bytes} bytes", headers=CLOSE)

    def _refusals(self, scope: Scope, headers: Headers) -> Iterator[Answer]:
        """Every reason to refuse, found in the request's head."""
        path, method = scope["path"], scope["method"]
        host, origin = headers.get("host", ""), headers.get("origin")
        tokens = self._tokens()
        if not tokens and not is_loopback(host_name(host) or ""):
            yield error(403, "the Host header names another machine", "use 127.0.0.1 or localhost", headers=CLOSE)
        if path not in OPEN and not path.startswith(HOOKS) and tokens:
            yield from _without_token(tokens, scope, headers)
        if method not in READING and not path.startswith(HOOKS):
            foreign = origin is not None and is_foreign(origin, host)
            if foreign or headers.get("sec-fetch-site") in ("cross-site", "same-site"):
                yield error(403, "pages of other sites may not change anything here", headers=CLOSE)
            if method != "DELETE" and not _is_json(headers):
                yield error(415, "the body must be JSON", allowed=["application/json"], headers=CLOSE)
        if "content-length" in headers and "transfer-encoding" in headers:  # RFC 9112, 6.1: a sign of smuggling
            yield error(400, "Content-Length and Transfer-Encoding exclude each other", headers=CLOSE)
        if int(headers.get("content-length", "0")[:20]) > self._http.max_body_bytes:
            yield self._too_large()


def _without_token(tokens: tuple[Token, ...], scope: Scope, headers: Headers) -> Iterator[Answer]:
    token = bearer(tokens, headers.get("authorization", ""))
    if token is None:
        what = "send Authorization: Bearer TOKEN with a token of http.tokens"
        yield error(401, "a token is needed", what, headers={"WWW-Authenticate": "Bearer", **CLOSE})
    elif not may(token.role, scope["method"]):
        what = "use a token with the role write"
        yield error(403, f"the token {token.name} may only look", what, allowed=["write"], headers=CLOSE)
    else:
        scope.setdefault("state", {})["token"] = token


async def _refuse(refusal: Answer, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers, then reads for a moment what still comes of the body.

    A connection that is closed with bytes unread is reset, and the client may lose the answer with it.
    """
    if not _has_body(Headers(scope=scope)):
        await refusal(scope, receive, send)
        return

    async def unfinished(message: Message) -> None:
        await send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

    await refusal(scope, receive, unfinished)
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(_read_on(receive), LINGER_SECONDS)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _read_on(receive: Receive) -> None:
    left, more = LINGER_BYTES, True
    while more and left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)


class _TooLargeError(Exception):
    """The body has more bytes than allowed."""


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _is_json(headers: Headers) -> bool:
    return headers.get("content-type", "").split(";")[0].strip().lower() == "application/json"


def _replay(messages: list[Message], receive: Receive) -> Receive:
    waiting = iter(messages)

    async def replayed() -> Message:
        return next(waiting, None) or await receive()

    return replayed


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending


async def _answer(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Asks the app. An unforeseen error ends as 500 with where it came from in the log, but not its own words."""
    started = False

    async def watching(message: Message) -> None:
        nonlocal started
        started = True
        await send(message)

    try:
        await app(scope, receive, watching)
    except Exception as exc:
        trace = "".join(traceback.format_tb(exc.__traceback__))
        log.error("%s %s failed with %s\n%s", scope["method"], scope["path"], type(exc).__name__, trace)
        if started:
            raise ConnectionAbortedError("the answer broke off") from None
        await error(500, "an error of ours; the log says more")(scope, receive, watching)
