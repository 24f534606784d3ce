"""One live stream inside its worker: builds it from its settings and tells the supervisor how it fares."""

from __future__ import annotations

import base64
import threading
from collections.abc import Collection
from functools import partial
from typing import Any

from ..config import OnFailure
from ..errors import EngineError, ExitCode, StageError, StreamGuardError
from ..live.parts import make_live_sink, open_live_source
from ..live.spec import LiveEvent, LiveSpec
from ..live.stream import LiveStream
from ..metrics import Metrics
from ..otlp import traced
from ..tracing import Tracing
from .channel import Channel
from .dialing import Dialer, dialing
from .protocol import OF_PROTECTION, Message, pack
from .settings import StreamSettings, Urls
from .specs import live_spec, unprotecting

REPORT_SECONDS = 1.0
UNPROTECTED = "unprotected"
"""The kind of events of what leaves unprotected."""


def run_live(spec: dict[str, Any], channel: Channel) -> int:
    """Run the stream until it ends, fails or is drained; says of a failure whether another attempt makes sense."""
    urls = Urls.model_validate(spec.pop("urls", {}))
    tracing = traced(spec.pop("tracing", None), lambda words: _tell(LiveEvent("tracing", words, {}), channel))
    settings = StreamSettings.model_validate(spec)
    with tracing as on, dialing(settings, urls) as dialer:
        return _run(live_spec(settings), channel, on, settings.screen, dialer)


def _run(chosen: LiveSpec, channel: Channel, tracing: Tracing, screens: bool, dialer: Dialer) -> int:
    metrics = Metrics()
    if not screens and (words := unprotecting(chosen.pipeline)):
        _tell(LiveEvent(UNPROTECTED, words, {}), channel)
    stream = LiveStream(
        chosen,
        metrics,
        lambda event: _tell(event, channel),
        partial(open_live_source, dial=dialer.source),
        partial(make_live_sink, dial=dialer.output),
        tracing,
    )
    reporter = _Reporter(stream, channel, OF_PROTECTION if screens else ())
    channel.on_order, channel.on_stop = reporter.order, stream.drain
    if channel.stop.is_set():  # asked before anybody listened
        stream.drain()
    reporter.start()
    try:
        stream.run(threading.Event())
    except StreamGuardError as exc:
        final = not may_pass(exc, chosen, stream.status().frames_in)
        channel.send({"type": "error", "message": str(exc), "final": final})
        return int(ExitCode.ERROR)
    finally:
        reporter.close()
    return int(ExitCode.STOPPED if channel.stop.is_set() else ExitCode.DONE)


def may_pass(error: StreamGuardError, spec: LiveSpec, frames_in: int) -> bool:
    """Whether a new worker may do better: after a fault of a stage, or an engine that could not be loaded.

    Limits, attempts that are used up and the policy `disconnect` are decisions: nobody starts the stream again.
    """
    if isinstance(error, EngineError):
        return frames_in == 0
    return isinstance(error, StageError) and spec.on_failure is not OnFailure.DISCONNECT


def _tell(event: LiveEvent, channel: Channel) -> None:
    message = {"type": "event", "kind": event.kind, "message": event.message, "data": event.data}
    channel.send(message, wait=False)  # the stream must not wait for a supervisor that is busy


class _Reporter:
    """Status and metrics once a second, and once more at the end; snapshots when asked for."""

    def __init__(self, stream: LiveStream, channel: Channel, without: Collection[str]) -> None:
        self._stream, self._channel, self._without = stream, channel, without
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stream-guard-reporter", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._report(wait=True)

    def order(self, order: Message) -> None:
        if order["type"] == "followed":
            self._stream.followed()
        if order["type"] != "snapshot":
            return
        answer: Message = {"type": "snapshot", "id": order["id"]}
        try:
            answer["jpeg"] = base64.b64encode(self._stream.snapshot(order["kind"])).decode()
        except StreamGuardError as exc:
            answer["error"] = str(exc)
        self._channel.send(answer)

    def _run(self) -> None:
        self._report(wait=False)
        while not self._ended.wait(REPORT_SECONDS):
            self._report(wait=False)

    def _report(self, *, wait: bool) -> None:
        self._channel.send({"type": "status", "status": self._stream.status().to_json()}, wait=wait)
        self._channel.send({"type": "metrics", "families": pack(self._stream.families(), self._without)}, wait=wait)
