"""Server-sent events: what happens, as it happens."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import suppress
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ..control import Event
from .answers import error
from .asking import RULES, Daemon
from .words import clean

MOST_LISTENERS = 32
RETRY_MS = 3000
"""How long a browser waits before it connects again."""
END = object()
Feed = Generator["Event | None", None, None]

router = APIRouter(prefix="/v1", tags=["events"], dependencies=RULES)
Since = Annotated[int, Query(ge=0, le=2**63 - 1, description="Only events after this number; 0: all that are kept")]
Stream = Annotated[str, Query(max_length=64, description="Only events of the stream of this name")]
LastEventId = Annotated[
    str, Header(max_length=32, description="The last number seen, as browsers send it; beats since")
]
TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}


@router.get("/events", response_class=Response, responses=TEXT, summary="Events as they happen")
async def events(
    request: Request, daemon: Daemon, since: Since = 0, stream: Stream = "", last_event_id: LastEventId = ""
) -> Response:
    """`text/event-stream`: `event` is the kind, `id` rises, `data` is JSON. Comments keep it open in silence."""
    after = min(int(last_event_id), 2**63 - 1) if re.fullmatch("[0-9]+", last_event_id) else since
    state, token = request.app.state, getattr(request.state, "token", None)

    def known() -> bool:
        """Whether the listener would still be let in: tokens may change."""
        tokens = state.tokens()
        return not tokens or token in tokens

    return EventResponse(_read(daemon, after, stream), known, state.ending, state.listeners)


def encoded(event: Event | None) -> bytes:
    """One event in the format of text/event-stream; None becomes a comment."""
    if event is None:
        return b":\n\n"
    kind = re.sub(r"[^a-z0-9_.-]", "", event.kind.lower()) or "message"
    data = json.dumps(clean(dataclasses.asdict(event)), ensure_ascii=True)
    return f"id: {event.id}\nevent: {kind}\ndata: {data}\n\n".encode()


def _read(daemon: Daemon, since: int, stream: str) -> Feed:
    """A generator, so that the daemon is asked on the thread that may wait."""
    yield from daemon.events(since, stream)


class EventResponse(StreamingResponse):
    """Streams until the listener goes or is not `known` any more, the daemon drains or the server stops.

    Each waits on a thread of its own.
    """

    def __init__(
        self, source: Feed, known: Callable[[], bool], ending: threading.Event, listeners: threading.Semaphore
    ) -> None:
        self._source, self._known, self._ending, self._listeners = source, known, ending, listeners
        super().__init__(self._feed(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._listeners.acquire(blocking=False):
            full = error(429, f"{MOST_LISTENERS} listeners are connected", headers={"Retry-After": "10"})
            await full(scope, receive, send)
            return
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._listeners.release()

    async def _feed(self) -> AsyncIterator[bytes]:
        own_thread = CapacityLimiter(1)
        yield f"retry: {RETRY_MS}\n\n".encode()
        try:
            while not self._ending.is_set():
                event: Any = await to_thread.run_sync(next, self._source, END, limiter=own_thread)
                if event is END or not self._known():
                    break
                yield encoded(event)
        finally:
            with suppress(ValueError):  # its thread still waits in it: a stop that could not wait any longer
                self._source.close()
