"""Verdicts of checking stages on a live stream: counted, told when they change, and forgotten with the faces."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from stream_guard.live import state, verdicts
from stream_guard.types import Frame, Verdict

from ..support.fakes import FindOne, ProtectAll, spec
from ..support.live_fakes import FakeConnection, clip
from .faked import running


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


def test_on_another_connection_a_face_of_the_same_number_is_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(verdicts, "EVERY_SECONDS", 0.0)
    connections = [FakeConnection(clip(3)), FakeConnection(clip(3), then="stall")]
    with running(connections, spec(FindOne), spec(Judges)) as run:
        run.until(lambda status: status.frames_out == 6)
        run.drain()
    told = [event.data["label"] for event in run.events if event.kind == "verdict"]
    assert told == ["real", "fake", "fake"], "once for each connection"


def test_of_stages_that_were_opened_anew_a_face_of_the_same_number_is_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(verdicts, "EVERY_SECONDS", 0.0)
    again = threading.Event()

    class Breaks(Judges):
        opened = 0

        def open(self) -> None:
            type(self).opened += 1

        def process(self, shown: Frame) -> Iterable[Frame]:
            if self.opened == 2:
                again.set()
            elif shown.index == 2:
                raise RuntimeError("the device hangs")
            return super().process(shown)

    def until_again() -> Iterable[Any]:
        for number in itertools.count():
            yield from clip(1, start=40 * number)
            if again.wait(0.01):
                return

    with running([FakeConnection(until_again(), then="stall")], spec(FindOne), spec(Breaks)) as run:
        run.until(lambda status: again.is_set() and not status.in_flight)
        run.drain()
    told = [event.data["label"] for event in run.events if event.kind == "verdict"]
    assert told == ["real", "fake", "fake"], "once before and once after"
