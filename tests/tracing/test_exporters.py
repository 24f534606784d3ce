"""Exporters and receivers that refuse, or do not answer, hurt nothing and are said once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from stream_guard import otlp
from stream_guard.pipeline import run

from ..support.fakes import FakeSink, FakeSource, frame, pipeline
from ..support.otlp import receiver
from .kept import SECRET, STAGES, Kept, asked, protect


class Refusing(SpanExporter):
    """Fails each time as told, and counts."""

    def __init__(self, failure: Exception | None) -> None:
        self.failure, self.exports, self.shutdowns = failure, 0, 0

    def export(self, spans: Any) -> SpanExportResult:
        self.exports += 1
        if self.failure is not None:
            raise self.failure
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self.shutdowns += 1


@pytest.mark.parametrize("failure", [None, RuntimeError(f"http://{SECRET}@collector/")])
def test_a_refusing_exporter_hurts_nothing_and_is_said_once(failure: Exception | None) -> None:
    exporter = Refusing(failure)
    kept = Kept(exporter=exporter)
    sink = protect(kept, 400)  # more spans than one batch holds
    kept.tracing.close()
    assert len(sink.frames) == 400
    assert exporter.exports > 1
    assert len(kept.said) == 1
    assert "could not be sent" in kept.said[0]
    assert SECRET not in kept.said[0]
    assert exporter.shutdowns == 1


def test_a_receiver_gets_what_was_recorded() -> None:
    said: list[str] = []
    with receiver() as there:
        with asked(there.url, said) as tracing:
            tracing.phase("job", attributes={"job.id": "7"})
            run(pipeline(*STAGES), FakeSource([frame(0)]), FakeSink, tracing=tracing)
        assert there.paths == {"/v1/traces"}
    (job,) = there.named("job")
    assert job.attributes == {"job.id": "7"}
    (root,) = there.named("frame")
    assert root.links == (job.id,)
    assert sorted(s.name for s in there.spans if s.parent == root.id) == ["decode", "encode", "find", "protect"]
    assert root.resource["stream_guard.stream"] == "studio"
    assert said == []


@pytest.mark.parametrize("status", [400, 503])
def test_a_receiver_that_refuses_is_said_once(status: int, caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []
    with receiver(status=status) as there, asked(there.url, said) as tracing:
        tracing.phase("job")
    assert there.requests >= 1
    assert len(said) == 1
    assert there.url not in said[0]
    assert caplog.records == []


def test_nobody_there_is_said_once() -> None:
    with receiver() as there:
        url = there.url
    said: list[str] = []
    with asked(url, said) as tracing:
        tracing.phase("job")
    assert len(said) == 1


def test_one_that_does_not_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "FLUSH_SECONDS", 0.1)
    monkeypatch.setattr(otlp, "LEAVE_SECONDS", 0.1)
    said: list[str] = []
    with receiver(silent=True) as there:
        with asked(there.url, said) as tracing:
            tracing.phase("job")
        assert len(said) == 1  # it was left before it answered
        assert not there.released.is_set()
    left = [t for t in threading.enumerate() if t.name in ("stream-guard-traces", "OtelBatchSpanRecordProcessor")]
    for thread in left:
        thread.join(30)
        assert not thread.is_alive()
    assert len(said) == 1
