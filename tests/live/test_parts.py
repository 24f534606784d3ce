"""The parts of the live runner one by one, on clocks that the tests turn."""

from __future__ import annotations

import io
import itertools
import resource
import threading
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from stream_guard.backoff import Backoff, Waits
from stream_guard.config import OnFailure
from stream_guard.errors import NoPictureError
from stream_guard.live.ledger import LATE, Ledger
from stream_guard.live.limits import Watch, resident_bytes
from stream_guard.live.pressure import SECONDS, Pressure
from stream_guard.live.snapshots import Snapshots
from stream_guard.live.spec import Limits, LiveEvent, LivePhase
from stream_guard.live.state import State
from stream_guard.live.totals import Totals, written
from stream_guard.live.verdicts import EVERY_SECONDS, TRACKS, VerdictChanges
from stream_guard.live.watching import Watching
from stream_guard.media import SourceReport, stand_in
from stream_guard.metrics import Metrics, families
from stream_guard.outcome import Tally
from stream_guard.types import Verdict

from ..support.fakes import frame, picture
from .conftest import Clock


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
    ledger.drop_rest("stopped")
    assert ledger.counts().dropped == {}, "a reason for which nothing was dropped is none"
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


def fill(pressure: Pressure, clock: Clock, every: int) -> None:
    """More than SECONDS of pictures, of which each so many is late."""
    for number in range(int(SECONDS * 25) + 2):
        clock.now += 0.04
        pressure.note(late=number % every == 0)


def test_a_machine_is_too_slow_from_a_quarter_of_late_pictures_on_and_anew_for_each_connection(clock: Clock) -> None:
    pressure = Pressure(clock)
    fill(pressure, clock, every=5)
    assert not pressure.too_slow
    fill(pressure, clock, every=3)
    assert pressure.too_slow
    pressure.forget()
    fill(pressure, clock, every=5)
    assert not pressure.too_slow, "what was late on another connection no longer counts"
    pressure.forget()
    pressure.note(late=True)
    assert not pressure.too_slow


def test_a_source_that_hung_and_sends_all_at_once_is_no_slow_machine(clock: Clock) -> None:
    pressure = Pressure(clock)
    fill(pressure, clock, every=1000)
    clock.now += 3.0
    pressure.rested(3.0)
    for _ in range(75):
        pressure.note(late=True)
    assert not pressure.too_slow
    clock.now += SECONDS - 0.1
    pressure.note(late=True)
    assert not pressure.too_slow, "its rest counts for as long as what came after it"
    clock.now += 0.2
    pressure.note(late=True)
    assert pressure.too_slow, "a rest longer ago says nothing of now"
    pressure.rested(SECONDS)
    pressure.note(late=True)
    assert not pressure.too_slow
    pressure.forget()
    fill(pressure, clock, every=1)
    assert pressure.too_slow, "nor does one on another connection"
    pressure.forget()
    fill(pressure, clock, every=3)
    assert pressure.too_slow, "what is forgotten is not taken off a second time"


@pytest.mark.parametrize("quiet", [LivePhase.GAP, LivePhase.DRAINING])
def test_a_source_that_is_away_or_left_is_not_called_a_slow_machine(clock: Clock, quiet: LivePhase) -> None:
    metrics, events = Metrics(), list[LiveEvent]()
    pressure, state = Pressure(clock), State(metrics, events.append)
    watching = Watching(metrics, Tally(metrics, OnFailure.BLOCK), state, pressure)
    fill(pressure, clock, every=1)
    said = []
    for phase in (LivePhase.GAP, quiet, LivePhase.RUNNING):
        state.enter(phase)
        watching.look(None, None, {})
        said.append([event.kind for event in events if event.kind != "phase"])
    assert said == [[], [], ["limit"] if quiet is LivePhase.GAP else []], "nothing runs after a drain"


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
    assert 1_000_000 < resident_bytes() < 1.1 * 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_totals_add_up_over_sources() -> None:
    totals = Totals()
    totals.begin(lambda: SourceReport(corrupt_packets=3))
    totals.end()
    assert totals.now().corrupt_packets == 3
    totals.begin(lambda: SourceReport(corrupt_packets=2, corrupt_frames=1))
    assert (totals.now().corrupt_packets, totals.now().corrupt_frames) == (5, 1)


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
    state.tell("error", "it works again", over=True)
    assert state.error == ""


def test_a_snapshot_is_of_one_picture_before_and_after(clock: Clock) -> None:
    snapshots = Snapshots(clock)
    with pytest.raises(NoPictureError, match="no picture yet"):
        snapshots.jpeg("original")
    came = frame(0, level=60)
    snapshots.before(came)
    stand_in.overwrite(came.picture, picture(70))
    snapshots.after(frame(99, level=200))  # was on its way before
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
