"""What a live stream does when an engine dies, the machine is too slow, or a face cannot be protected."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, cast

import pytest

from stream_guard.config import OnFailure
from stream_guard.errors import EngineError, UnprotectedError
from stream_guard.live.pressure import Pressure
from stream_guard.live.spec import LivePhase, OnGap
from stream_guard.types import Frame

from ..support.fakes import Batch, FindOne, ProtectAll, spec
from ..support.live_fakes import FakeConnection, FakeLiveSink, clip, wait_for
from .faked import running


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


def test_a_machine_that_stays_too_slow_with_disconnect_ends_the_stream() -> None:
    class Steady(FakeConnection):
        def read(self) -> Iterator[Any]:
            for start in itertools.count(0, 40):
                if self.interrupted.wait(0.01):
                    return
                yield from clip(1, start=start)

    class Dawdles(ProtectAll):
        def process(self, shown: Frame) -> Iterable[Frame]:
            threading.Event().wait(0.1)
            return super().process(shown)

    stages = (spec(FindOne), spec(Dawdles))
    with running([Steady([])], *stages, on_failure=OnFailure.DISCONNECT, max_delay_seconds=0.1) as run:
        status = run.end()
    assert "too slow" in str(run.error)
    assert status.dropped["late"] > 0


def test_the_stages_say_how_long_they_waited_for_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    monkeypatch.setattr(Pressure, "rested", lambda pressure, seconds: rests.append(seconds))
    with running([FakeConnection(clip(4), then="stall")]) as run:
        run.until(lambda status: status.frames_out == 4)
    assert len(rests) >= 4
    assert min(rests) >= 0


def test_counters_of_what_ends_are_neither_missed_nor_doubled_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The metrics look at them ten times a second, and one that falls would end the stream."""

    def slowly(value: Any) -> Any:
        if threading.current_thread().name in ("stream-guard-read", "stream-guard-encode"):
            threading.Event().wait(0.25)
        return value

    class Damaged:
        corrupt_packets = property(lambda report: slowly(3))

    outputs = FakeLiveSink.outputs.fget
    assert outputs is not None
    monkeypatch.setattr(FakeLiveSink, "outputs", property(lambda sink: slowly(outputs(sink))))
    first, second = (FakeConnection(clip(4), then=then, report=cast(Any, Damaged())) for then in ("fail", "stall"))
    with running([first, second], on_gap=OnGap.CLOSE) as run:
        run.until(lambda status: status.frames_out == 8)
        run.drain()
    assert run.value("source_corrupt_packets_total") == 6
    assert run.value("encoded_bytes_total") == 80


def test_an_error_of_the_sink_names_encode() -> None:
    with running([FakeConnection(clip(9), then="stall")], sink={"fail_at": 2}) as run:
        status = run.end()
    assert "stage 'encode' failed" in str(run.error)
    assert run.sinks.made[0].aborted
    assert status.frames_in == status.frames_out + sum(status.dropped.values())
