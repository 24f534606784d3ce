"""The live runner on fakes: nothing is lost uncounted, and every way through a gap, a failure and an end."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from stream_guard.backoff import Backoff
from stream_guard.config import OnFailure
from stream_guard.errors import EngineError, LimitError, SourceError, UnprotectedError
from stream_guard.live.spec import Limits, LivePhase, LiveSpec, OnGap
from stream_guard.live.stream import LiveStream
from stream_guard.media import LiveOutput
from stream_guard.types import Frame, Verdict

from ..support.fakes import Batch, FindOne, ProtectAll, pipeline, spec
from ..support.live_fakes import Copied, FakeConnection, FakeNet, FakePacket, Sinks, clip, wait_for
from .running import Running

PROTECT = (spec(FindOne), spec(ProtectAll))


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert [t.name for t in threading.enumerate() if t not in before] == []


class Faked(Running):
    """A stream between fakes."""

    def __init__(self, connections: list[Any], *stages: Any, sink: dict[str, Any] | None = None, **settings: Any):
        self.sinks, self.net = Sinks(settings=sink or {}), FakeNet(connections)
        chosen: dict[str, Any] = {"backoff": Backoff(0.01, 0.05, 0.0), **settings}
        config, outputs = pipeline(*stages or PROTECT), (LiveOutput("rtmp://there/live/key"),)
        self.spec = LiveSpec("test", "rtmp://here/live/key", outputs, config, **chosen)
        super().__init__(self.spec, open_source=self.net, make_sink=self.sinks)


@contextmanager
def running(connections: list[Any], *stages: Any, **settings: Any) -> Iterator[Faked]:
    run = Faked(connections, *stages, **settings)
    run.thread.start()
    try:
        yield run
    finally:
        run.stop.set()
        run.thread.join(30)


def rising(times: list[Any]) -> bool:
    return all(a < b for a, b in itertools.pairwise(times))


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


def test_another_size_opens_the_outputs_anew() -> None:
    other = FakeConnection(clip(3, size=(32, 32)), then="stall", size=(32, 32))
    with running([FakeConnection(clip(3)), other]) as run:
        run.until(lambda status: status.frames_out == 6)
        run.stop.set()
        status = run.end()
    assert [sink.closed for sink in run.sinks.made] == [True, True]
    assert (status.width, status.height) == (32, 32)
    assert "opened anew" in run.words("output")


class Slow(ProtectAll):
    """Waits for `gate` at every frame."""

    gate = threading.Event()

    def process(self, shown: Frame) -> Iterable[Frame]:
        self.gate.wait(30)
        return super().process(shown)


def test_late_frames_are_dropped_and_the_delay_returns_to_its_bound() -> None:
    Slow.gate = threading.Event()
    late = threading.Event()
    items = [*clip(4), lambda: late.wait(30), *clip(3, start=160)]
    with running([FakeConnection(items, then="stall")], spec(FindOne), spec(Slow), max_delay_seconds=0.2) as run:
        run.until(lambda status: status.in_flight == 4)
        threading.Event().wait(0.3)
        Slow.gate.set()
        run.until(lambda status: status.in_flight == 0)
        assert run.status.dropped == {"late": 3}
        late.set()
        run.until(lambda status: status.frames_out == 4)
        run.stop.set()
        status = run.end()
    assert status.unprotected == {}
    assert [shown.index for shown in run.sinks.frames] == [0, 4, 5, 6]
    assert run.value("frames_dropped_total", reason="late") == 3


def test_with_pass_late_frames_leave_and_are_counted() -> None:
    Slow.gate = threading.Event()
    stages = (spec(FindOne), spec(Slow))
    with running(
        [FakeConnection(clip(4), then="stall")], *stages, max_delay_seconds=0.2, on_failure=OnFailure.PASS
    ) as run:
        run.until(lambda status: status.in_flight == 4)
        threading.Event().wait(0.3)
        Slow.gate.set()
        run.until(lambda status: status.in_flight == 0)
        run.stop.set()
        status = run.end()
    assert status.unprotected.get("too_slow", 0) + status.dropped.get("late", 0) == 3
    assert status.unprotected["too_slow"] >= 1


def test_frames_beyond_the_queue_push_out_the_oldest() -> None:
    Slow.gate = threading.Event()
    with running([FakeConnection(clip(30), then="stall")], spec(FindOne), spec(Slow), max_delay_seconds=0.2) as run:
        run.until(lambda status: status.frames_in == 30)
        assert run.status.dropped["late"] >= 30 - 6 - 1
        Slow.gate.set()
        run.until(lambda status: status.in_flight == 0)
        run.stop.set()
        run.end()
    shown = [frame.index for frame in run.sinks.frames]
    assert shown == sorted(shown)
    assert len(shown) + run.status.dropped["late"] == 30


class Dying(ProtectAll):
    """Raises at the frames of `fatal`, and while it is opened again `refusals` times."""

    name = "dying"
    opened = 0
    refusals = 0
    fatal: tuple[int, ...] = (3,)
    again = threading.Event()
    let = threading.Event()

    def open(self) -> None:
        cls = type(self)
        cls.opened += 1
        if cls.opened > 1:
            cls.let.wait(30)
        if 1 < cls.opened <= 1 + cls.refusals:
            raise EngineError("the device is gone")
        if cls.opened > 1:
            cls.again.set()

    def process(self, shown: Frame) -> Iterable[Frame]:
        if shown.index in self.fatal:
            raise RuntimeError("the device hangs")
        return super().process(shown)


@pytest.fixture
def dying() -> type[Dying]:
    return type("Fresh", (Dying,), {"opened": 0, "again": threading.Event(), "let": threading.Event()})


def _reopened(dying: type[Dying], count: int) -> FakeConnection:
    """Six frames, and `count` more once the stage was opened again."""

    def wait() -> None:
        dying.again.wait(30)
        wait_for(lambda: not any(thread.name == "stream-guard-reopen" for thread in threading.enumerate()))

    return FakeConnection([*clip(6), wait, *clip(count, start=240, level=200)], then="stall")


def test_an_engine_that_dies_is_opened_anew_and_the_last_picture_stands_in(dying: type[Dying]) -> None:
    dying.refusals = 2
    with running([_reopened(dying, 4)], spec(FindOne), spec(dying)) as run:
        run.until(lambda status: status.frames_out == 6)
        dying.let.set()
        run.until(lambda status: status.frames_out == 10)
        run.stop.set()
        status = run.end()
    assert dying.opened == 4
    assert status.blocked == {"engine_failed": 3}
    assert status.unprotected == {}
    assert status.protected_faces == 3 + 4
    assert [shown.index for shown in run.sinks.frames] == list(range(10))
    assert "the device hangs" in run.words("error")
    assert "work again" in run.words("error")
    assert status.error == ""


def test_an_engine_that_dies_with_pass_is_counted(dying: type[Dying]) -> None:
    with running([_reopened(dying, 4)], spec(FindOne), spec(dying), on_failure=OnFailure.PASS) as run:
        run.until(lambda status: status.frames_out == 6)
        dying.let.set()
        run.until(lambda status: status.frames_out == 10)
        run.stop.set()
        status = run.end()
    assert status.unprotected == {"engine_failed": 3}
    assert run.value("unprotected_frames_total", reason="engine_failed") == 3
    assert status.blocked == {}


def test_an_engine_that_dies_with_disconnect_ends_the_stream(dying: type[Dying]) -> None:
    connection = FakeConnection(clip(9), then="stall")
    with running([connection], spec(FindOne), spec(dying), on_failure=OnFailure.DISCONNECT) as run:
        status = run.end()
    assert status.phase is LivePhase.FAILED
    assert "the device hangs" in str(run.error)
    assert status.frames_out <= 3
    assert run.sinks.made[0].closed


def test_frames_that_a_dying_stage_held_leave_by_the_policy(dying: type[Dying]) -> None:
    dying.fatal = (4,)
    dying.let.set()
    with running([_reopened(dying, 3)], spec(FindOne), spec(Batch), spec(dying)) as run:
        run.until(lambda status: status.frames_out == 9)
        run.stop.set()
        run.end()
    assert [shown.index for shown in run.sinks.frames] == list(range(9))


def test_an_unprotected_face_with_disconnect_ends_the_stream() -> None:
    stages = (spec(FindOne), spec(ProtectAll, miss=(2,)))
    with running([FakeConnection(clip(9), then="stall")], *stages, on_failure=OnFailure.DISCONNECT) as run:
        run.end()
    assert isinstance(run.error, UnprotectedError)
    assert run.error.reason == "too_small"


class NoEngine(ProtectAll):
    def open(self) -> None:
        raise EngineError("the engine file is damaged")


def test_without_an_engine_nothing_runs() -> None:
    with running([FakeConnection(clip(3))], spec(FindOne), spec(NoEngine)) as run:
        status = run.end()
    assert run.net.attempts == 0
    assert "the engine file is damaged" in str(run.error)
    assert (status.phase, status.error) == (LivePhase.FAILED, "the engine file is damaged")


def test_without_an_engine_pass_relays_and_counts() -> None:
    connection = FakeConnection(clip(3, level=180), then="stall")
    with running([connection], spec(FindOne), spec(NoEngine), on_failure=OnFailure.PASS) as run:
        run.until(lambda status: status.frames_out == 3)
        run.stop.set()
        status = run.end()
    assert status.unprotected == {"engine_failed": 3}
    assert min(run.sinks.made[0].levels) > 150


def test_attempts_without_a_picture_end_the_stream() -> None:
    with running([], backoff=Backoff(0.01, 0.02, 0.0, attempts=3)) as run:
        run.end()
    assert isinstance(run.error, SourceError)
    assert "3 attempts" in str(run.error)
    assert "refused" in str(run.error)
    assert run.net.attempts == 3


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


def test_an_error_of_the_sink_names_encode() -> None:
    with running([FakeConnection(clip(9), then="stall")], sink={"fail_at": 2}) as run:
        status = run.end()
    assert "stage 'encode' failed" in str(run.error)
    assert run.sinks.made[0].aborted
    assert status.frames_in == status.frames_out + sum(status.dropped.values())


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


class Gives(ProtectAll):
    """Says of every face that the engine failed, until it is opened again."""

    name = "gives"
    opened = 0

    def open(self) -> None:
        type(self).opened += 1

    def process(self, shown: Frame) -> Iterable[Frame]:
        if self.opened > 1:
            return super().process(shown)
        return [replace(shown, faces=tuple(face.unprotected("engine_failed") for face in shown.faces))]


def test_an_engine_that_fails_without_a_word_is_opened_anew_too() -> None:
    Gives.opened = 0

    def reopened() -> None:
        wait_for(lambda: Gives.opened == 2)
        wait_for(lambda: not any(thread.name == "stream-guard-reopen" for thread in threading.enumerate()))

    items = [*clip(10), reopened, *clip(5, start=400)]
    with running([FakeConnection(items, then="stall")], spec(FindOne), spec(Gives)) as run:
        run.until(lambda status: status.frames_out == 15)
        status = run.drain()
    assert status.blocked == {"engine_failed": 10}
    assert status.protected_faces == 5
    assert "10 pictures in a row" in run.words("error")


class Judges(ProtectAll):
    """Gives a verdict on every frame."""

    name = "judges"

    def process(self, shown: Frame) -> Iterable[Frame]:
        for judged in super().process(shown):
            yield replace(judged, verdicts=(Verdict("judges", "fake" if shown.index else "real", 0.9, track=1),))


def test_verdicts_are_counted_and_changes_are_told() -> None:
    pause = [lambda: threading.Event().wait(1.1)]
    with running(
        [FakeConnection([*clip(3), *pause, *clip(4, start=120)], then="stall")], spec(FindOne), spec(Judges)
    ) as run:
        run.until(lambda status: status.frames_out == 7)
        status = run.drain()
    assert status.verdicts == {"judges:real": 1, "judges:fake": 6}
    assert [event.data["label"] for event in run.events if event.kind == "verdict"] == ["real", "fake"]


def test_a_machine_that_stays_too_slow_with_disconnect_ends_the_stream() -> None:
    class Steady(FakeConnection):
        def read(self) -> Iterator[Any]:
            for shown in clip(2000):
                if self.interrupted.wait(0.01):
                    return
                yield shown

    class Dawdles(ProtectAll):
        def process(self, shown: Frame) -> Iterable[Frame]:
            threading.Event().wait(0.1)
            return super().process(shown)

    stages = (spec(FindOne), spec(Dawdles))
    with running([Steady([])], *stages, on_failure=OnFailure.DISCONNECT, max_delay_seconds=0.1) as run:
        status = run.end()
    assert "too slow" in str(run.error)
    assert status.dropped["late"] > 0


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
