"""What traces hold, with an exporter in memory: frames and their stages, phases, jobs; and that off is off."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stream_guard import otlp
from stream_guard.backoff import Backoff
from stream_guard.errors import ConfigError, SourceError, StageError, StoppedError
from stream_guard.live.spec import LiveSpec
from stream_guard.media import LiveOutput
from stream_guard.otlp import OtelSpans, check_endpoint, traced, with_path
from stream_guard.pipeline import run
from stream_guard.stages.base import Stage
from stream_guard.tracing import OFF, Recording, Tracing

from .live.running import Running
from .support.fakes import Batch, FakeSink, FakeSource, FindOne, ProtectAll, Troubled, frame, pipeline, spec
from .support.live_fakes import FakeConnection, FakeNet, Sinks, clip
from .support.otlp import receiver

STAGES = (spec(FindOne), spec(ProtectAll))
SECRET = "secretkey"


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert [t.name for t in threading.enumerate() if t not in before] == []


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


def test_a_frame_is_a_trace_with_its_stages_in_order() -> None:
    kept = Kept()
    kept.tracing.phase("job")
    protect(kept)
    spans = kept.spans()
    roots = [span for span in spans if span.name == "frame"]
    (job,) = [span for span in spans if span.name == "job"]
    assert [attributes(root)["frame.index"] for root in roots] == list(range(6))
    assert len({root.context.trace_id for root in roots}) == 6
    for root in roots:
        assert root.parent is None
        assert [link.context.span_id for link in root.links] == [job.context.span_id]
        parts = children(root, spans)
        assert [part.name for part in parts] == ["decode", "find", "protect", "encode"]
        assert {part.context.trace_id for part in parts} == {root.context.trace_id}
        times = [root.start_time, *(t for part in parts for t in (part.start_time, part.end_time)), root.end_time]
        assert all(a <= b for a, b in itertools.pairwise(times))
        assert attributes(root)["frame.faces"] == attributes(root)["frame.protected_faces"] == 1
    assert attributes(roots[5])["frame.time_seconds"] == 0.2


def test_frames_are_picked_by_time() -> None:
    kept = Kept(every=3600)
    protect(kept, 50)
    (root,) = kept.spans("frame")
    assert attributes(root)["frame.index"] == 0


def test_what_the_policy_did_is_told() -> None:
    kept = Kept()
    protect(kept, 3, spec(FindOne), spec(ProtectAll, miss=(1,)))
    told = [attributes(root) for root in kept.spans("frame")]
    assert [one.get("frame.on_failure") for one in told] == [None, "too_small", None]
    assert [one["frame.protected_faces"] for one in told] == [1, 0, 1]


def test_frames_that_a_stage_holds_are_followed_to_their_end() -> None:
    kept = Kept()
    protect(kept, 7, *STAGES, spec(Batch))
    spans = kept.spans()
    for root in (span for span in spans if span.name == "frame"):
        assert [part.name for part in children(root, spans)] == ["decode", "find", "protect", "batch", "encode"]


def test_frames_of_two_streams_with_one_number_are_kept_apart() -> None:
    kept = Kept()
    items = [replace(frame(i), stream=s) for i in range(3) for s in (0, 1)]
    run(pipeline(*STAGES), FakeSource(items, streams=(0, 1)), FakeSink, tracing=kept.tracing)
    spans = kept.spans()
    for root in (span for span in spans if span.name == "frame"):
        assert [part.name for part in children(root, spans)] == ["decode", "find", "protect", "encode"]


def test_a_failing_stage_fails_its_span_and_shows_no_words() -> None:
    kept = Kept()
    with pytest.raises(StageError):
        protect(kept, 6, *STAGES, spec(Troubled, at=3))
    spans = kept.spans()
    (part,) = [span for span in spans if span.name == "troubled" and not span.status.is_ok]
    assert attributes(part) == {"error.type": "ValueError"}
    assert part.status.description is None
    root = next(s for s in spans if s.name == "frame" and attributes(s)["frame.index"] == 3)
    assert attributes(root)["frame.dropped"] == "unfinished"
    assert attributes(root)["error.type"] == "ValueError"


def test_the_resource_names_service_and_stream() -> None:
    kept = Kept()
    protect(kept, 1)
    for span in kept.spans():
        named = dict(span.resource.attributes)
        assert (named["service.name"], named["stream_guard.stream"]) == ("stream-guard", "studio")
        assert named["service.version"]


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


def test_a_live_stream_tells_connections_gaps_and_pictures() -> None:
    kept = Kept()
    refused = SourceError(f"rtmp://here/{SECRET}")
    connections = [FakeConnection(clip(5)), refused, FakeConnection(clip(5), then="stall")]
    live(kept, connections, lambda running: running.until(lambda status: status.frames_out == 10))
    spans = kept.spans()
    phases = [span.name for span in spans if span.name.startswith("stream.")]
    assert phases == [f"stream.{p}" for p in ("loading", "connecting", "running", "gap", "running", "draining")]
    assert all(span.parent is None for span in spans if span.name.startswith("stream."))
    attempts = [span for span in spans if span.name == "connect"]
    assert [attributes(span).get("error.type") for span in attempts] == [None, "SourceError", None]
    (gap,) = [span for span in spans if span.name == "stream.gap"]
    assert {span.name for span in children(gap, spans)} == {"connect"}
    roots = [span for span in spans if span.name == "frame"]
    assert sorted(attributes(root)["frame.index"] for root in roots) == list(range(10))
    for root in roots:
        assert [part.name for part in children(root, spans)] == ["wait", "find", "protect", "encode"]
        assert len(root.links) == 1
    assert SECRET not in "".join(span.to_json() for span in spans)


def test_a_late_picture_says_that_it_was_dropped() -> None:
    kept = Kept()
    live(
        kept,
        [FakeConnection(clip(5), then="stall")],
        lambda running: running.until(lambda status: status.frames_in == 5 and not status.in_flight),
        max_delay_seconds=1e-9,
    )
    roots = kept.spans("frame")
    assert roots
    assert {attributes(root)["frame.dropped"] for root in roots} == {"late"}


def test_a_stream_that_fails_fails_its_phase() -> None:
    kept = Kept()
    kept.tracing.phase("stream.running")
    kept.tracing.phase("", "failed")
    (span,) = kept.spans()
    assert attributes(span) == {"error.type": "failed"}


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


@contextmanager
def asked(url: str, said: list[str]) -> Iterator[Tracing]:
    with traced({"endpoint": url, "stream": "studio"}, said.append) as tracing:
        yield tracing


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


def test_times_follow_a_clock_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = [0]
    monkeypatch.setattr(otlp, "time_ns", lambda: time.time_ns() + ahead[0])
    kept = Kept()
    kept.tracing.phase("one")
    ahead[0] = 3600 * 10**9
    kept.tracing.phase("two")
    one, two = kept.spans()
    assert (two.start_time or 0) - (one.start_time or 0) >= 3600 * 10**9


def test_an_error_is_told_by_its_type_and_a_stop_is_none() -> None:
    with receiver() as there:
        for error in (ValueError(SECRET), StoppedError("stopped")):
            with pytest.raises(type(error)), asked(there.url, []) as tracing:  # noqa: PT012
                tracing.phase("job")
                raise error
    failed, stopped = there.named("job")
    assert (failed.failed, failed.attributes) == (True, {"error.type": "ValueError"})
    assert (stopped.failed, stopped.attributes) == (False, {})
    assert SECRET.encode() not in there.raw


@pytest.mark.parametrize("wanted", [None, {}, {"endpoint": "", "stream": "x"}])
def test_without_an_endpoint_it_is_off(wanted: dict[str, str] | None) -> None:
    with traced(wanted, pytest.fail) as tracing:
        assert tracing is OFF


def test_a_mistake_in_the_environment_is_said_and_the_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-1")
    said: list[str] = []
    with asked("http://127.0.0.1:9", said) as tracing:
        assert tracing is OFF
    assert said == ["there are no traces: ValueError while OpenTelemetry was set up"]


@pytest.mark.parametrize(
    "endpoint", ["collector:4318", "grpc://collector:4317", "http://", "http://a:port", "http://["]
)
def test_an_endpoint_that_is_no_http_url_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="http or https URL") as raised:
        check_endpoint(endpoint)
    assert endpoint not in str(raised.value).replace("http://127.0.0.1:4318", "")


def test_paths_of_endpoints() -> None:
    assert with_path("http://there:4318") == with_path("http://there:4318/") == "http://there:4318/v1/traces"
    assert with_path("https://there/otlp/v1/traces?a=b") == "https://there/otlp/v1/traces?a=b"


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'stream-guard\[otel\]'"):
        check_endpoint("http://127.0.0.1:4318")
    said: list[str] = []
    with asked("http://127.0.0.1:4318", said) as tracing:
        assert tracing is OFF
    assert len(said) == 1
    assert "stream-guard[otel]" in said[0]


ABSENT = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
"""
OFF_CODE = """
import sys, threading
from tests.support.fakes import FakeSink, FakeSource, FindOne, ProtectAll, frame, pipeline, spec
import stream_guard.daemon.worker, stream_guard.daemon.live_worker, stream_guard.daemon.jobs.work, stream_guard.cli
from stream_guard.pipeline import run
from stream_guard.otlp import traced
with traced({}, print) as tracing:
    sink = FakeSink()
    run(pipeline(spec(FindOne), spec(ProtectAll)), FakeSource([frame(0)]), lambda: sink, tracing=tracing)
assert len(sink.frames) == 1
loaded = [name for name in sys.modules if name.startswith("opentelemetry")]
assert not loaded, loaded
"""
MISSING_CODE = """
from stream_guard.otlp import traced
from stream_guard.tracing import OFF
with traced({"endpoint": "http://127.0.0.1:4318"}, print) as tracing:
    assert tracing is OFF
"""


@pytest.mark.parametrize("before", ["", ABSENT], ids=["installed", "absent"])
def test_off_imports_nothing_of_opentelemetry(before: str) -> None:
    done = subprocess.run([sys.executable, "-c", before + OFF_CODE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_on_without_the_packages_the_work_goes_on() -> None:
    done = subprocess.run([sys.executable, "-c", ABSENT + MISSING_CODE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "stream-guard[otel]" in done.stdout


def test_what_is_off_answers_every_call() -> None:
    shown = frame(0)
    OFF.came_in(shown, 0.0)
    OFF.part(shown, "find", 0.0, 1.0)
    OFF.judged(shown, None)
    OFF.went_out(shown)
    OFF.dropped(0, "late")
    OFF.phase("job")
    with OFF.lasting("join"):
        OFF.lasted("segment", 0.0)
    OFF.close()
    assert vars(OFF) == {}


class Ending(Stage):
    """Ends the run by a key press."""

    name = "ending"
    description = "is interrupted"

    def process(self, shown: Any) -> Any:
        raise KeyboardInterrupt


def test_an_interrupt_is_a_span_with_an_error() -> None:
    kept = Kept()
    with pytest.raises(KeyboardInterrupt):
        protect(kept, 1, *STAGES, spec(Ending))
    (part,) = kept.spans("ending")
    assert attributes(part) == {"error.type": "KeyboardInterrupt"}
