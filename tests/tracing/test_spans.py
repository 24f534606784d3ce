"""What traces hold, with an exporter in memory: frames and their stages, phases, jobs."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import Any

import pytest

from stream_guard import otlp
from stream_guard.errors import SourceError, StageError, StoppedError
from stream_guard.pipeline import run
from stream_guard.stages.base import Stage

from ..support.fakes import Batch, FakeSink, FakeSource, FindOne, ProtectAll, Troubled, frame, pipeline, spec
from ..support.live_fakes import FakeConnection, clip
from ..support.otlp import receiver
from .kept import SECRET, STAGES, Kept, asked, attributes, children, live, protect


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
