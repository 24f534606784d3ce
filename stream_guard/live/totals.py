"""Counters of sources and sinks that come and go, added up over all of them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ..media.live import LiveWriter
from ..outcome import FOLLOWED


class Totals:
    """Sums of the counters that the metrics follow, over one source or sink after the other; any thread may ask.

    The lock keeps one that ends from being missed or counted twice: the sums must never fall.
    """

    def __init__(self) -> None:
        self._ended: Counter[str] = Counter()
        self._present: Callable[[], Any] | None = None
        self._lock = threading.Lock()

    def begin(self, report: Callable[[], Any]) -> None:
        """Another source or sink begins; `report` gives its counters."""
        with self._lock:
            self._present = report

    def end(self) -> None:
        """It will not count any further."""
        with self._lock:
            self._ended, self._present = self._sums(), None

    def now(self) -> SimpleNamespace:
        with self._lock:
            return SimpleNamespace(**self._sums())

    def _sums(self) -> Counter[str]:
        return self._ended + Counter(_counters(self._present() if self._present is not None else None))


def written(sink: LiveWriter) -> SimpleNamespace:
    """What the outputs of a sink and its recording have taken, as a report."""
    everywhere = [*sink.outputs, *([sink.recording] if sink.recording else [])]
    return SimpleNamespace(bytes=sum(int(str(output.get("bytes", 0))) for output in everywhere))


def _counters(report: Any) -> dict[str, int]:
    names = {counter for _, counter in FOLLOWED.values()}
    return {name: int(value) for name in names if (value := getattr(report, name, 0))}
