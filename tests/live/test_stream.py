"""The live runner on fakes: nothing is lost uncounted, and every way through a gap, a failure and an end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stream_guard.backoff import Backoff
from stream_guard.config import OnFailure
from stream_guard.errors import LimitError, SourceError, StageError
from stream_guard.live.spec import Limits, LivePhase, LiveSpec, OnGap
from stream_guard.live.stream import LiveStream

from ..support.fakes import Batch, FindOne, ProtectAll, spec
from ..support.live_fakes import Copied, FakeConnection, FakeNet, FakePacket, clip, wait_for
from .faked import PROTECT, Faked, rising, running


def test_frames_and_packets_arrive_in_order_and_the_stream_drains() -> None:
    items: list[Any] = []
    for shown in clip(10, start=5000):
        items += [shown, Copied(FakePacket(shown.pts, shown.pts))]
    with running([FakeConnection(items, then="stall")]) as run:
        run.until(lambda status: status.frames_out == 10)
        run.stream.drain()
        status = run.end()
    assert status.phase is LivePhase.ENDED
    assert (status.frames_in, status.frames_out, status.dropped) == (10, 10, {})
    assert (status.faces, status.protected_faces) == (10, 10)
    sink = run.sinks.made[0]
    assert sink.closed
    assert not sink.aborted
    assert [float(packet.pts - sink.frames[i].pts) for i, packet in enumerate(sink.packets)] == [0.0] * 10
    assert (status.width, status.height) == (64, 48)
    assert run.value("frames_out_total") == 10
    assert run.value("stream_phase", phase="ended") == 1
    assert run.value("output_state", output="0", state="closed") == 1
    assert run.value("output_state", output="record", state="closed") == 1
    assert status.recording is not None
    assert (status.recording["state"], status.recording["error"]) == ("closed", "no space")


def test_a_picture_at_the_time_of_the_one_before_it_is_dropped() -> None:
    first, second, third = clip(3)
    with running([FakeConnection([first, replace(second, pts=first.pts), third], then="stall")]) as run:
        run.until(lambda status: status.frames_in == 3 and not status.in_flight)
        assert run.drain().dropped == {"disordered": 1}
    assert len(run.sinks.made[0].times) == 2


def test_what_is_on_the_way_at_a_stop_is_counted() -> None:
    gate = threading.Event()
    with running([FakeConnection(clip(8), then="stall")], sink={"gate": gate}) as run:
        run.until(lambda status: status.frames_in == 8)
        run.stop.set()
        run.until(lambda status: status.phase is LivePhase.DRAINING)
        gate.set()
        status = run.end()
    assert status.phase is LivePhase.ENDED
    assert status.frames_out + status.dropped["stopped"] == 8
    assert status.dropped["stopped"] >= 5
    assert run.value("frames_dropped_total", reason="stopped") == status.dropped["stopped"]
    assert run.sinks.made[0].closed


def test_times_go_on_over_a_reconnect_and_the_gap_is_filled_with_the_slate() -> None:
    back = threading.Event()
    second = FakeConnection([*clip(5, start=90000, level=200)], then="stall")
    with running([FakeConnection(clip(5, start=7000)), *([SourceError("refused")] * 3), _later(back, second)]) as run:
        run.until(lambda status: status.filled >= 3)
        assert run.status.phase is LivePhase.GAP
        back.set()
        run.until(lambda status: status.frames_out == 10)
        run.stream.drain()
        status = run.end()
    sink = run.sinks.made[0]
    assert len(run.sinks.made) == 1
    assert rising(sink.times)
    assert status.reconnects == 1 == run.value("reconnects_total")
    assert status.filled == len(sink.silences) == run.value("filled_frames_total")
    slate = [level for shown, level in zip(sink.frames, sink.levels, strict=True) if shown.index == -1]
    assert len(set(slate)) == 1
    assert slate[0] < 60
    gap = sink.times[5 + status.filled] - sink.times[4]
    assert float(gap) >= 3 * 0.04
    assert "back after" in run.words("reconnect")


def _later(event: threading.Event, connection: FakeConnection) -> Callable[[], FakeConnection]:
    """The connection, opened once `event` is set."""

    def opened() -> FakeConnection:
        event.wait(30)
        return connection

    return opened


def test_freeze_shows_what_left_last() -> None:
    with running([FakeConnection(clip(4, level=180))], on_gap=OnGap.FREEZE) as run:
        run.until(lambda status: status.filled >= 3)
        run.stop.set()
        run.end()
    levels = run.sinks.made[0].levels
    assert levels[3] > 150
    assert set(levels[4:]) == {levels[3]}


def test_freeze_does_not_show_on_what_left_unprotected() -> None:
    stages = (spec(FindOne), spec(ProtectAll, miss=(3,)))
    settings: dict[str, Any] = {"on_gap": OnGap.FREEZE, "on_failure": OnFailure.PASS}
    with running([FakeConnection(clip(4, level=180))], *stages, **settings) as run:
        run.until(lambda status: status.filled >= 3)
        run.stop.set()
        status = run.end()
    levels = run.sinks.made[0].levels
    assert sum(status.unprotected.values()) == 1
    assert levels[3] > 150
    assert max(levels[4:]) < 60


def test_close_ends_the_outputs_and_opens_them_anew() -> None:
    with running([FakeConnection(clip(4)), FakeConnection(clip(4), then="stall")], on_gap=OnGap.CLOSE) as run:
        run.until(lambda status: status.frames_out == 8)
        run.stop.set()
        status = run.end()
    first, second = run.sinks.made
    assert first.closed
    assert second.times[0] > first.times[-1]
    assert status.filled == 0


@pytest.mark.parametrize("followed", [True, False])
def test_a_playlist_ends_with_the_stream_unless_another_carries_it_on(followed: bool) -> None:
    with running([FakeConnection(clip(3), then="stall")]) as run:
        run.until(lambda status: status.frames_out == 3)
        if followed:
            run.stream.followed()
        run.drain()
    assert [sink.for_good for sink in run.sinks.made] == [not followed]


def test_a_playlist_does_not_end_with_a_fault() -> None:
    """The worker is started again, and players wait for it; whoever starts it no more ends the playlist."""

    def fault() -> None:
        run.until(lambda status: status.frames_out == 3)
        raise RuntimeError("a fault of ours")

    with running([FakeConnection([*clip(3), fault])]) as run:
        run.end()
    assert isinstance(run.error, StageError)
    assert [sink.for_good for sink in run.sinks.made] == [False]


def test_another_size_opens_the_outputs_anew() -> None:
    other = FakeConnection(clip(3, size=(32, 32)), then="stall", size=(32, 32))
    with running([FakeConnection(clip(3)), other]) as run:
        run.until(lambda status: status.frames_out == 6)
        run.stop.set()
        status = run.end()
    assert [sink.closed for sink in run.sinks.made] == [True, True]
    assert [sink.for_good for sink in run.sinks.made] == [False, True]
    assert (status.width, status.height) == (32, 32)
    assert "opened anew" in run.words("output")


@pytest.mark.parametrize("size", [(64, 48), (32, 32)])
@pytest.mark.parametrize("on_gap", [OnGap.SLATE, OnGap.FREEZE])
def test_a_connection_without_a_picture_leaves_the_gap_filled(size: tuple[int, int], on_gap: OnGap) -> None:
    """It breaks after the outputs were made ready for it: what fills the gap goes on, at their size, and is no picture
    of the source that nobody protected."""
    broken = FakeConnection([], size=size)
    with running([FakeConnection(clip(4, level=180)), broken], on_gap=on_gap) as run:
        run.until(lambda status: broken.closed)
        filled = run.status.filled
        run.until(lambda status: status.filled >= filled + 3)
        run.stop.set()
        run.end()
    last = run.sinks.made[-1]
    assert len(run.sinks.made) == 1 + (size != (64, 48))
    assert {(shown.picture.width, shown.picture.height) for shown in last.frames} == {size}
    assert rising([time for sink in run.sinks.made for time in sink.times])
    if size != (64, 48):
        assert max(last.levels) < 60


def test_attempts_without_a_picture_end_the_stream() -> None:
    with running([], backoff=Backoff(0.01, 0.02, 0.0, attempts=3)) as run:
        run.end()
    assert isinstance(run.error, SourceError)
    assert "3 attempts" in str(run.error)
    assert "refused" in str(run.error)
    assert run.net.attempts == 3


def test_attempts_are_counted_anew_from_each_picture_on() -> None:
    with running([FakeConnection(clip(2)) for _ in range(6)], backoff=Backoff(0.01, 0.02, 0.0, attempts=2)) as run:
        status = run.end()
    assert status.frames_out + sum(status.dropped.values()) == 12
    assert status.reconnects == 5


def test_a_source_above_the_limits_is_not_asked_again() -> None:
    with running([FakeConnection(clip(3)), LimitError("the source sends 99x99")]) as run:
        status = run.end()
    assert isinstance(run.error, LimitError)
    assert (status.phase, status.error) == (LivePhase.FAILED, "the source sends 99x99")
    assert run.net.attempts == 2


def test_a_rate_that_looks_too_high_once_is_asked_again() -> None:
    def too_fast() -> None:
        raise LimitError("the source sends 999 pictures a second")

    connections = [[*clip(3), too_fast], clip(3), [*clip(3), too_fast], [*clip(3), too_fast]]
    with running([FakeConnection(items) for items in connections]) as run:
        status = run.end()
    assert isinstance(run.error, LimitError)
    assert run.net.attempts == 4
    assert status.frames_in == 12


def test_a_source_that_stays_away_ends_the_stream() -> None:
    with running([FakeConnection(clip(3), then="end")], end_after_gap_seconds=0.3) as run:
        status = run.end()
    assert run.error is None
    assert status.phase is LivePhase.ENDED
    assert run.sinks.made[0].closed


def test_a_source_that_never_came_is_a_failure() -> None:
    with running([], end_after_gap_seconds=0.3) as run:
        run.end()
    assert "no picture ever came" in str(run.error)


def test_the_duration_is_limited() -> None:
    with running([FakeConnection(clip(3), then="stall")], limits=Limits(duration_seconds=0.5)) as run:
        status = run.end()
    assert status.phase is LivePhase.ENDED
    assert "limits.duration" in run.words("limit")


def test_the_memory_is_limited() -> None:
    with running([FakeConnection(clip(3), then="stall")], limits=Limits(memory_bytes=1000)) as run:
        run.end()
    assert "limits.memory" in str(run.error)


def test_snapshots_show_the_picture_before_and_after() -> None:
    with running([FakeConnection(clip(3), then="stall")]) as run:
        run.until(lambda status: status.frames_out == 3)
        jpegs = [run.stream.snapshot(kind) for kind in ("original", "protected", "difference")]
        run.stop.set()
        run.end()
    assert all(jpeg.startswith(b"\xff\xd8") for jpeg in jpegs)


def test_secrets_stay_out_of_words() -> None:
    run = Faked([])
    assert "key" not in repr(run.spec)


def test_what_the_stages_hold_leaves_when_the_stream_drains() -> None:
    with running([FakeConnection(clip(8), then="stall")], *PROTECT, spec(Batch)) as run:
        run.until(lambda status: status.frames_out == 6)
        assert run.status.in_flight == 2
        status = run.drain()
    assert (status.frames_out, status.dropped) == (8, {})


def test_a_stop_while_the_engine_is_loaded() -> None:
    loading, go = threading.Event(), threading.Event()

    class Loads(ProtectAll):
        def open(self) -> None:
            loading.set()
            go.wait(30)

    with running([FakeConnection(clip(3))], spec(FindOne), spec(Loads)) as run:
        loading.wait(30)
        run.stop.set()
        go.set()
        status = run.end()
    assert status.phase is LivePhase.ENDED
    assert run.net.attempts == 0


def test_a_stop_while_connecting() -> None:
    class Silent(FakeNet):
        def __call__(self, spec: LiveSpec, cancelled: threading.Event) -> Any:
            self.attempts += 1
            cancelled.wait(30)
            raise SourceError("no answer")

    run = Faked([])
    run.net = Silent([])
    run.stream = LiveStream(run.spec, run.metrics, run.events.append, run.net, run.sinks)
    run.thread.start()
    wait_for(lambda: run.net.attempts == 1)
    run.stream.drain()
    assert run.end().phase is LivePhase.ENDED


def test_a_drain_before_the_start_runs_nothing() -> None:
    run = Faked([FakeConnection(clip(3))])
    run.stream.drain()
    run.thread.start()
    assert run.end().phase is LivePhase.ENDED
    assert run.net.attempts == 0


def test_many_streams_one_after_another_leave_nothing() -> None:
    for _ in range(20):
        with running([FakeConnection(clip(3), then="stall")]) as run:
            run.until(lambda status: status.frames_out >= 1)
            run.stop.set()
            run.end()


def test_faces_of_a_pipeline_that_only_looks_are_no_failure() -> None:
    with running([FakeConnection(clip(5), then="stall")], spec(FindOne), on_failure=OnFailure.BLOCK) as run:
        run.until(lambda status: status.frames_out == 5)
        status = run.drain()
    assert (status.faces, status.blocked, status.unprotected) == (5, {}, {})


def test_a_stream_without_outputs_is_only_looked_at() -> None:
    run = Faked([FakeConnection(clip(5)), FakeConnection(clip(5), then="stall")])
    run.spec = replace(run.spec, outputs=())
    run.stream = LiveStream(run.spec, run.metrics, run.events.append, run.net)
    run.thread.start()
    run.until(lambda status: status.frames_out == 10)
    status = run.drain()
    assert (status.outputs, status.filled) == ((), 0)
