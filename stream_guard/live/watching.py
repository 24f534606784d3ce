"""What the caller's thread does now and then: metrics that follow counters, and words on what lasts."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

from ..metrics import Metrics
from ..outcome import Tally
from .pressure import Pressure
from .spec import LivePhase
from .state import State

OUTPUT_STATES = ("open", "waiting", "failed", "closed")
AGAIN_SECONDS = 10.0
"""The same trouble is told again after this time."""


class Watching:
    def __init__(self, metrics: Metrics, tally: Tally, state: State, pressure: Pressure) -> None:
        self._metrics, self._tally, self._state, self._pressure = metrics, tally, state, pressure
        self._told: dict[str, float] = {}
        self._unprotected = 0
        self._slow = False

    def look(self, source: Any, sink: Any, outputs: Mapping[str, Mapping[str, Any]]) -> None:
        """`source` and `sink` are reports that hold for the whole stream; `outputs` are states, by name."""
        self._tally.follow(source, sink)
        for name, output in outputs.items():
            for state in OUTPUT_STATES:
                gauge = self._metrics["output_state"].labels(name, state)
                gauge.set(float(output.get("state") == state))
        self._look_at_pressure()
        unprotected = dict(self._tally.unprotected)
        if sum(unprotected.values()) > self._unprotected:
            reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(unprotected.items()))
            if self._say("unprotected", f"pictures left unprotected so far: {reasons}", **unprotected):
                self._unprotected = sum(unprotected.values())

    def _look_at_pressure(self) -> None:
        if self._state.phase in (LivePhase.GAP, LivePhase.DRAINING):
            return  # what is known is of the connection before: the source is away, or nothing is read any more
        was, self._slow = self._slow, self._pressure.too_slow
        if self._slow:
            self._say("limit", "the machine is too slow for this stream: pictures are dropped before the stages")
        elif was:
            self._state.tell("limit", "the machine keeps up again", over=True)

    def _say(self, kind: str, words: str, **data: Any) -> bool:
        now = monotonic()
        if now - self._told.get(kind, -AGAIN_SECONDS) < AGAIN_SECONDS:
            return False
        self._told[kind] = now
        self._state.tell(kind, words, **data)
        return True
