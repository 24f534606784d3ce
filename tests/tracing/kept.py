"""Recordings kept in memory, and runs that are recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stream_guard.backoff import Backoff
from stream_guard.live.spec import LiveSpec
from stream_guard.media import LiveOutput
from stream_guard.otlp import OtelSpans, traced
from stream_guard.pipeline import run
from stream_guard.tracing import Recording, Tracing

from ..live.running import Running
from ..support.fakes import FakeSink, FakeSource, FindOne, ProtectAll, frame, pipeline, spec
from ..support.live_fakes import FakeNet, Sinks

STAGES = (spec(FindOne), spec(ProtectAll))
SECRET = "secretkey"


class Kept:
    """A recording and what it exported."""

    def __init__(self, every: float = 0.0, exporter: SpanExporter | None = None) -> None:
        self.said: list[str] = []
        self.exporter = InMemorySpanExporter()
        self.tracing = Recording(OtelSpans(exporter or self.exporter, "studio", self.said.append), every)

    def spans(self, name: str = "") -> list[ReadableSpan]:
        """The finished spans, oldest first; closes the recording."""
        self.tracing.close()
        found = [span for span in self.exporter.get_finished_spans() if name in ("", span.name)]
        return sorted(found, key=lambda span: span.start_time or 0)


def protect(kept: Kept, count: int = 6, *stages: Any, **parts: Any) -> FakeSink:
    sink = FakeSink(**parts)
    source = FakeSource([frame(i) for i in range(count)])
    run(pipeline(*stages or STAGES), source, lambda: sink, tracing=kept.tracing)
    return sink


def children(root: ReadableSpan, spans: list[ReadableSpan]) -> list[ReadableSpan]:
    return [span for span in spans if span.parent is not None and span.parent.span_id == root.context.span_id]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def live(kept: Kept, connections: list[Any], until: Callable[[Running], None], **settings: Any) -> None:
    sinks = Sinks()
    chosen = LiveSpec(
        "test",
        f"rtmp://here/live/{SECRET}",
        (LiveOutput(f"rtmp://there/live/{SECRET}"),),
        pipeline(*STAGES),
        backoff=Backoff(0.01, 0.05, 0.0),
        **settings,
    )
    running = Running(chosen, open_source=FakeNet(connections), make_sink=sinks, tracing=kept.tracing)
    running.thread.start()
    try:
        until(running)
        running.drain()
    finally:
        running.stop.set()
        running.thread.join(30)


@contextmanager
def asked(url: str, said: list[str]) -> Iterator[Tracing]:
    with traced({"endpoint": url, "stream": "studio"}, said.append) as tracing:
        yield tracing
