"""Verdicts of checking stages as events: only changes, and not more than people can read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

from ..types import Verdict

EVERY_SECONDS = 1.0
"""One event of a stage and track in this time; a change that comes sooner waits, and may be taken back."""
TRACKS = 256
"""So many tracks are remembered: those seen last."""


@dataclass(slots=True)
class _Told:
    label: str
    time: float


class VerdictChanges:
    """Asked by one thread. A verdict is news when its label differs from the last one told of its stage and track."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._told: OrderedDict[tuple[str, int | None], _Told] = OrderedDict()

    def news(self, verdicts: Iterable[Verdict]) -> list[Verdict]:
        return [verdict for verdict in verdicts if self._is_news(verdict)]

    def _is_news(self, verdict: Verdict) -> bool:
        now, key = self._clock(), (verdict.stage, verdict.track)
        told = self._told.get(key)
        if told is not None:
            self._told.move_to_end(key)
            if told.label == verdict.label or now - told.time < EVERY_SECONDS:
                return False
        self._told[key] = _Told(verdict.label, now)
        if len(self._told) > TRACKS:
            self._told.popitem(last=False)
        return True
