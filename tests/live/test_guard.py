"""The guard of a live stream's stages by itself: what it opens, closes and forgets, and how long it waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import pytest

from stream_guard.backoff import Backoff
from stream_guard.config import OnFailure
from stream_guard.live.guard import DEAD_AFTER, SOUND_AFTER, Guard
from stream_guard.metrics import Metrics
from stream_guard.outcome import Tally
from stream_guard.types import Frame

from ..support.fakes import Batch, FindOne, ProtectAll, frame, pipeline, spec

SOUND, RAISES, QUIET = "sound", "raises", "says so"


class Scripted(ProtectAll):
    """Does with each frame what `script` says by its index: fails aloud, or only says that the engine failed."""

    name = "scripted"
    script: Sequence[str] = ()
    opened = closed = resets = 0

    def open(self) -> None:
        type(self).opened += 1

    def process(self, shown: Frame) -> Iterable[Frame]:
        if self.script[shown.index] == RAISES:
            raise RuntimeError("the device hangs")
        if self.script[shown.index] == QUIET:
            return [replace(shown, faces=tuple(face.unprotected("engine_failed") for face in shown.faces))]
        return super().process(shown)

    def reset(self) -> None:
        type(self).resets += 1

    def close(self) -> None:
        type(self).closed += 1


class Lags(Batch):
    """Lets each frame go when the next one comes."""

    name = "lags"

    def process(self, shown: Frame) -> Iterable[Frame]:
        before, self.held = self.held, [shown]
        return before


@pytest.fixture
def scripted() -> type[Scripted]:
    return type("Fresh", (Scripted,), {})


class Impatient(threading.Event):
    """Waits for nothing, and remembers how long it should have."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is not None:
            self.waits.append(timeout)
        return self.is_set()


def guarding(
    stage: type[Scripted], *before: type[Batch], script: Sequence[str] = (), reopened: Callable[[], None] = list
) -> tuple[Guard, Impatient]:
    """A guard whose stages are open, and the event by which it waits."""
    stage.script = script
    config = pipeline(spec(FindOne), *(spec(each) for each in before), spec(stage))
    tally = Tally(Metrics(), OnFailure.BLOCK)
    backoff, silent = Backoff(1.0, 8.0, 0.0), lambda kind, message, **data: None
    guard = Guard(config, OnFailure.BLOCK, tally, backoff, silent, reopened)
    guard._halt = halt = Impatient()
    guard.open()
    return guard, halt


def reopened(guard: Guard) -> None:
    """The stages have been opened anew by now; they are taken over with the next frame."""
    if guard._helper is not None:
        guard._helper.join()


def play(guard: Guard, script: Sequence[str]) -> list[int]:
    left = []
    for index in range(len(script)):
        left += [shown.index for shown in guard.process(frame(index))]
        reopened(guard)
    return left


@pytest.mark.parametrize(
    ("between", "wait"),
    [
        ([SOUND] * SOUND_AFTER, 1.0),
        ([SOUND] * (SOUND_AFTER - 1), 4.0),
        ([SOUND] * (SOUND_AFTER - 1) + [QUIET] + [SOUND] * (SOUND_AFTER - 1), 4.0),
    ],
)
def test_after_enough_sound_frames_a_failure_is_the_first_again(
    scripted: type[Scripted], between: list[str], wait: float
) -> None:
    script = [RAISES, RAISES, *between, RAISES]
    guard, halt = guarding(scripted, script=script)
    assert play(guard, script) == list(range(len(script)))
    assert halt.waits == [1.0, 2.0, wait]
    guard.close()


@pytest.mark.parametrize(
    ("script", "opened"),
    [
        ([QUIET] * DEAD_AFTER, 2),
        ([QUIET] * (DEAD_AFTER - 1) + [SOUND] + [QUIET] * (DEAD_AFTER - 1), 1),
        ([QUIET] * (2 * DEAD_AFTER - 1), 2),
        ([QUIET] * 2 * DEAD_AFTER, 3),
    ],
)
def test_an_engine_that_says_so_is_dead_after_so_many_frames_in_a_row(
    scripted: type[Scripted], script: list[str], opened: int
) -> None:
    guard, _ = guarding(scripted, script=script)
    assert play(guard, script) == list(range(len(script)))
    assert scripted.opened == opened
    guard.close()
    assert scripted.closed == opened


def test_frames_that_leave_together_are_judged_together(scripted: type[Scripted]) -> None:
    """A stage before it lets go of three at a time, so the tenth to fail leaves with the twelfth."""
    script = [QUIET] * 12
    guard, _ = guarding(scripted, Batch, script=script)
    assert play(guard, script[:11]) == list(range(9))
    assert scripted.opened == 1
    assert [shown.index for shown in guard.process(frame(11))] == [9, 10, 11]
    reopened(guard)
    assert scripted.opened == 2
    guard.close()


def test_a_dead_engine_is_opened_anew_also_where_the_stages_never_hold_nothing(scripted: type[Scripted]) -> None:
    """What they hold leaves first, and the first frame in the new ones leaves with the next."""
    script = [QUIET] * (DEAD_AFTER + 3)
    guard, _ = guarding(scripted, Lags, script=script)
    assert play(guard, script[: DEAD_AFTER + 1]) == list(range(DEAD_AFTER + 1))
    assert (scripted.opened, scripted.closed) == (2, 1)
    assert list(guard.process(frame(DEAD_AFTER + 1))) == []
    assert [shown.index for shown in guard.process(frame(DEAD_AFTER + 2))] == [DEAD_AFTER + 1]
    guard.close()


def test_a_stage_that_raises_while_a_dead_engine_s_frames_leave_is_opened_anew_once(scripted: type[Scripted]) -> None:
    script = [QUIET] * DEAD_AFTER + [RAISES]
    guard, halt = guarding(scripted, Lags, script=script)
    assert play(guard, script) == list(range(DEAD_AFTER + 1))
    assert (scripted.opened, scripted.closed, halt.waits) == (2, 1, [1.0])
    guard.close()


def test_it_is_said_when_frames_go_into_stages_that_were_opened_anew(scripted: type[Scripted]) -> None:
    """After the last frame of the old ones has left."""
    left: list[object] = []
    script = [SOUND, RAISES, SOUND, SOUND]
    guard, _ = guarding(scripted, script=script, reopened=lambda: left.append("reopened"))
    for index in range(len(script)):
        for shown in guard.process(frame(index)):
            left.append(shown.index)
        reopened(guard)
    guard.close()
    assert left == [0, 1, "reopened", 2, 3]


def test_between_two_connections_the_stages_forget(scripted: type[Scripted]) -> None:
    guard, _ = guarding(scripted, Batch, script=[SOUND] * 5)
    assert play(guard, [SOUND] * 2) == []
    assert [shown.index for shown in guard.pause()] == [0, 1]
    assert scripted.resets == 1
    assert [shown.index for shown in guard.process(frame(2))] == []
    assert [shown.index for shown in guard.flush()] == [2]
    assert scripted.resets == 1
    guard.close()


def test_what_is_opened_is_closed_also_what_was_not_taken_over_yet(scripted: type[Scripted]) -> None:
    guard, _ = guarding(scripted, script=[RAISES])
    assert play(guard, [RAISES]) == [0]
    assert (scripted.opened, scripted.closed) == (2, 1)
    guard.close()
    assert scripted.closed == 2
