"""The parts of the live runner one by one, on clocks that the tests turn."""

from __future__ import annotations

import io
import itertools
import threading
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from stream_guard.backoff import Backoff, Waits
from stream_guard.config import OnFailure
from stream_guard.errors import NoPictureError
from stream_guard.live import slate
from stream_guard.live.gap import PAUSE_SECONDS, Filler, rate_of
from stream_guard.live.ledger import LATE, Ledger
from stream_guard.live.limits import Watch, resident_bytes
from stream_guard.live.pressure import SECONDS, Pressure
from stream_guard.live.snapshots import Snapshots
from stream_guard.live.spec import Limits, LiveEvent, LivePhase, OnGap
from stream_guard.live.splice import LEAD_SECONDS, Splice
from stream_guard.live.state import State
from stream_guard.live.totals import Totals, written
from stream_guard.live.verdicts import EVERY_SECONDS, TRACKS, VerdictChanges
from stream_guard.media import SourceReport, stand_in
from stream_guard.metrics import Metrics, families
from stream_guard.outcome import Tally
from stream_guard.types import Verdict

from ..support.fakes import frame, mean_level, picture

STEP = Fraction(1, 25)


class Clock:
    """A wall clock that stands until it is turned."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def send(splice: Splice, clock: Clock, start: float, count: int, stream: int = 0) -> list[Fraction]:
    """Items in real time; where they were placed."""
    placed = []
    for number in range(count):
        stamp = Fraction(start) + number * STEP
        offset = splice.place(stream, stamp, STEP)
        assert offset is not None
        placed.append(stamp + offset)
        clock.now += float(STEP)
    return placed


# --- splice -----------------------------------------------------------------------------------------------------------


def test_a_connection_begins_at_the_start_of_the_timeline(clock: Clock) -> None:
    assert send(Splice(clock), clock, 5000.0, 3) == [LEAD_SECONDS + i * STEP for i in range(3)]


def test_the_wall_clock_says_how_long_a_gap_was(clock: Clock) -> None:
    splice = Splice(clock)
    before = send(splice, clock, 5000.0, 100)
    clock.now += 30
    splice.connect()
    after = send(splice, clock, 7.0, 10)
    assert float(after[0] - before[-1]) == pytest.approx(30 + float(LEAD_SECONDS), abs=0.1)


def test_sound_and_picture_keep_their_distance_over_a_reconnect(clock: Clock) -> None:
    splice = Splice(clock)
    for start in (100.0, 3.0):
        splice.connect()
        shown = splice.place(0, Fraction(start), STEP)
        heard = splice.place(1, Fraction(start) + Fraction(1, 30), STEP)
        assert shown == heard


@pytest.mark.parametrize("jump", [-500.0, -3.0, 20.0, 100000.0])
def test_a_jump_of_the_clock_is_joined(clock: Clock, jump: float) -> None:
    splice = Splice(clock)
    before = send(splice, clock, 1000.0, 50)
    after = send(splice, clock, 1002.0 + jump, 50)
    assert splice.jumps == 1
    assert 0 < after[0] - before[-1] < 1
    assert after[-1] - after[0] == 49 * STEP


def test_a_pause_that_the_wall_clock_saw_is_no_jump(clock: Clock) -> None:
    splice = Splice(clock)
    before = send(splice, clock, 1000.0, 5)
    clock.now += 60
    after = send(splice, clock, 1060.2, 5)
    assert splice.jumps == 0
    assert float(after[0] - before[-1]) == pytest.approx(60.04, abs=0.001)


def test_a_straggler_of_the_old_clock_is_placed_by_it(clock: Clock) -> None:
    splice = Splice(clock)
    send(splice, clock, 1000.0, 50)
    splice.place(1, Fraction(1002), STEP)
    splice.place(0, Fraction(5), STEP)  # jumped
    late = splice.place(1, Fraction(1002) + STEP, STEP)
    assert late is None or Fraction(1002) + STEP + late < 10
    assert splice.jumps == 1


def test_what_lies_before_the_timeline_is_left_out(clock: Clock) -> None:
    splice = Splice(clock)
    splice.place(0, Fraction(100), STEP)
    assert splice.place(1, Fraction(99.5), STEP) is None


def test_a_clock_that_runs_faster_is_followed(clock: Clock) -> None:
    splice = Splice(clock)
    for number in range(20000):
        stamp = number * STEP * Fraction(10001, 10000)
        splice.place(0, stamp, STEP)
        clock.now += float(STEP)
    assert abs(splice.ahead_seconds(splice.now())) < 0.06


# --- gap --------------------------------------------------------------------------------------------------------------


def test_a_gap_is_filled_in_real_time_and_what_was_missed_is_left_out(clock: Clock) -> None:
    splice = Splice(clock)
    send(splice, clock, 0.0, 10)
    last = frame(10, level=90, duration=1)
    filler = Filler(OnGap.FREEZE, splice, clock)
    assert filler.wait_seconds() is None
    filler.begin(last)
    times = []
    for late in (0.0, 0.0, 0.5, 0.0):
        clock.now += (filler.wait_seconds() or 0.0) + late
        shown = filler.picture()
        assert mean_level(shown) == mean_level(last)
        times.append(shown.pts)
    steps = [b - a for a, b in itertools.pairwise(times)]
    assert steps[0] == 1
    assert steps[2] >= 12
    splice.connect()
    after = splice.place(0, Fraction(0), STEP)
    assert after is not None
    assert after > times[-1] * STEP
    filler.end()
    assert filler.wait_seconds() is None


def test_what_viewers_have_in_store_is_used_up_first(clock: Clock) -> None:
    splice = Splice(clock)
    for number in range(200):  # eight seconds at once
        splice.place(0, number * STEP, STEP)
    filler = Filler(OnGap.SLATE, splice, clock)
    filler.begin(frame(205, duration=1))
    assert filler.wait_seconds() == pytest.approx(PAUSE_SECONDS)


def test_close_fills_nothing(clock: Clock) -> None:
    filler = Filler(OnGap.CLOSE, Splice(clock), clock)
    filler.begin(frame(1))
    assert filler.wait_seconds() is None
    with pytest.raises(ValueError, match="no gap"):
        filler.picture()


@pytest.mark.parametrize("size", [(64, 48), (320, 240), (1280, 720), (90, 160)])
def test_the_slate_is_dark_with_something_on_it(size: tuple[int, int]) -> None:
    drawn = slate.draw(*size)
    assert drawn.shape == (size[1], size[0], 3)
    assert drawn.mean() < 70
    assert (drawn > 150).any()


def test_a_slate_in_ten_bits_and_odd_size() -> None:
    like = picture(10, 66, 50, "yuv420p10le")
    made = stand_in.painted(like, slate.draw(66, 50))
    assert stand_in.layout(made) == stand_in.layout(like)


@pytest.mark.parametrize(("duration", "rate"), [(0, 25), (1, 25), (1000, 1)])
def test_the_rate_of_a_gap_is_within_reason(duration: int, rate: int) -> None:
    assert rate_of(frame(0, duration=duration)) == rate


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_waits_double_are_capped_and_shortened_by_chance() -> None:
    waits = Waits(Backoff(1.0, 5.0, 0.5, attempts=4), chance=lambda: 0.0)
    assert [waits.next() for _ in range(3)] == [1.0, 2.0, 4.0]
    assert not waits.used_up
    assert waits.next() == 5.0
    assert waits.used_up
    waits.reset()
    assert not waits.used_up
    assert Waits(Backoff(1.0, 5.0, 0.5), chance=lambda: 1.0).next() == 0.5


def test_waits_do_not_overflow() -> None:
    waits = Waits(Backoff(1.0, 5.0, 0.0))
    assert [waits.next() for _ in range(5000)][-1] == 5.0
    assert not waits.used_up


def test_the_ledger_adds_up(clock: Clock) -> None:
    metrics = Metrics()
    ledger = Ledger(metrics, Tally(metrics, OnFailure.BLOCK), clock)
    for index in range(10):
        ledger.came_in(index)
    clock.now += 0.5
    assert ledger.waited(3) == 0.5
    for index in range(4):
        clock.now += 0.1
        ledger.went_out(frame(index))
    ledger.dropped(4, "late")
    counts = ledger.counts()
    assert (counts.frames_in, counts.frames_out, counts.in_flight, counts.dropped) == (10, 4, 5, {"late": 1})
    assert counts.fps == pytest.approx(10.0)
    assert counts.latency_seconds == pytest.approx(0.75)
    ledger.drop_rest("stopped")
    ledger.drop_rest("stopped")
    assert ledger.counts().dropped == {"late": 1, "stopped": 5}
    assert ledger.counts().in_flight == 0
    value = metrics.registry.get_sample_value
    assert value("stream_guard_frames_in_flight") == 0
    assert value("stream_guard_frames_dropped_total", {"reason": "stopped"}) == 5
    clock.now += 100
    assert ledger.counts().fps == 0


def test_a_page_of_metrics_adds_up_while_pictures_come_and_go() -> None:
    metrics = Metrics()
    ledger = Ledger(metrics, Tally(metrics, OnFailure.BLOCK))
    stop = threading.Event()

    def come_and_go(first: int) -> None:
        for index in itertools.count(first, 2):
            ledger.came_in(index)
            ledger.dropped(index, LATE) if index % 3 else ledger.went_out(frame(index))
            if stop.is_set():
                return

    threads = [threading.Thread(target=come_and_go, args=(first,)) for first in (0, 1)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            with ledger.still():
                found = families(metrics.registry)
            page = {family.name: sum(value for _, _, value in family.samples) for family in found}
            names = ("in", "out", "dropped", "in_flight")
            came, out, dropped, inside = (page[f"stream_guard_frames_{name}"] for name in names)
            assert came == out + dropped + inside
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_machine_is_too_slow_when_it_lasts(clock: Clock) -> None:
    pressure = Pressure(clock)
    for _ in range(10):
        pressure.note(late=True)
    assert not pressure.too_slow
    for _ in range(int(SECONDS * 25) + 1):
        clock.now += 0.04
        pressure.note(late=True)
    assert pressure.too_slow
    for _ in range(int(SECONDS * 25) + 1):
        clock.now += 0.04
        pressure.note(late=False)
    assert not pressure.too_slow
    pressure.forget()
    assert not pressure.too_slow


def test_verdicts_are_news_when_they_change_and_not_too_often(clock: Clock) -> None:
    changes = VerdictChanges(clock)
    real, fake = Verdict("detect", "real", 0.9, 1), Verdict("detect", "fake", 0.8, 1)
    assert changes.news([real, real]) == [real]
    assert changes.news([fake]) == []
    clock.now += EVERY_SECONDS
    assert changes.news([fake]) == [fake]
    assert changes.news([fake]) == []
    assert changes.news([Verdict("detect", "fake", 0.8, 2)]) != []


def test_verdicts_of_many_tracks_do_not_pile_up(clock: Clock) -> None:
    changes = VerdictChanges(clock)
    for track in range(3 * TRACKS):
        changes.news([Verdict("detect", "real", 0.9, track)])
    assert len(changes._told) == TRACKS


def test_limits_are_told_in_words() -> None:
    assert Watch(Limits(memory_bytes=0)).exceeded() == ""
    assert "limits.memory" in Watch(Limits(memory_bytes=10), memory=lambda: 11).exceeded()
    spent = iter([5.0, 20.0])
    watch = Watch(Limits(cpu_seconds=10, memory_bytes=0), cpu=lambda: next(spent))
    assert "15.0 s of CPU time" in watch.exceeded()
    assert resident_bytes() > 1_000_000


def test_totals_add_up_over_sources() -> None:
    totals = Totals()
    totals.end(SourceReport(corrupt_packets=3))
    assert totals.with_present(SourceReport(corrupt_packets=2, corrupt_frames=1)).corrupt_packets == 5
    assert totals.with_present(None).corrupt_packets == 3


@pytest.mark.parametrize(("recording", "total"), [(None, 5), ({"bytes": 4}, 9)])
def test_what_is_written_is_outputs_and_recording(recording: dict[str, int] | None, total: int) -> None:
    sink = SimpleNamespace(outputs=({"bytes": 3}, {"bytes": 2}), recording=recording)
    assert written(cast(Any, sink)).bytes == total


def test_phases_end_where_they_end_and_the_same_words_are_told_once() -> None:
    events: list[LiveEvent] = []
    state = State(Metrics(), events.append)
    for phase in (LivePhase.LOADING, LivePhase.DRAINING, LivePhase.GAP, LivePhase.ENDED, LivePhase.RUNNING):
        state.enter(phase)
    assert [event.data["phase"] for event in events] == ["loading", "draining", "ended"]
    for _ in range(5):
        state.tell("error", "refused")
    assert [event.message for event in events].count("refused") == 1
    assert state.error == "refused"


def test_a_snapshot_is_of_one_picture_before_and_after(clock: Clock) -> None:
    snapshots = Snapshots(clock)
    with pytest.raises(NoPictureError, match="no picture yet"):
        snapshots.jpeg("original")
    came = frame(0, level=60)
    snapshots.before(came)
    stand_in.overwrite(came.picture, picture(70))
    snapshots.after(came)
    levels = {kind: _level(snapshots.jpeg(kind)) for kind in ("original", "protected", "difference")}
    assert levels["original"] == pytest.approx(60, abs=3)
    assert levels["protected"] == pytest.approx(70, abs=3)
    assert levels["difference"] > 240
    snapshots.before(frame(1, level=200))  # within the second: not copied
    snapshots.after(frame(1, level=200))
    assert _level(snapshots.jpeg("original")) == levels["original"]


def _level(jpeg: bytes) -> float:
    with Image.open(io.BytesIO(jpeg)) as image:
        return float(np.asarray(image.convert("L")).mean())
