"""Counters of sources and sinks that come and go, added up over all of them."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from ..media.live import LiveWriter
from ..outcome import FOLLOWED


class Totals:
    """Sums of the counters that the metrics follow. One thread adds; a source or sink that ends is added for good."""

    def __init__(self) -> None:
        self._ended: Counter[str] = Counter()

    def end(self, report: Any) -> None:
        """This source or sink will not count any further."""
        self._ended.update(_counters(report))

    def with_present(self, report: Any) -> SimpleNamespace:
        """The sums together with one that still counts."""
        return SimpleNamespace(**(self._ended + Counter(_counters(report))))


def written(sink: LiveWriter) -> SimpleNamespace:
    """What the outputs of a sink and its recording have taken, as a report."""
    everywhere = [*sink.outputs, *([sink.recording] if sink.recording else [])]
    return SimpleNamespace(bytes=sum(int(str(output.get("bytes", 0))) for output in everywhere))


def _counters(report: Any) -> dict[str, int]:
    names = {counter for _, counter in FOLLOWED.values()}
    return {name: int(value) for name in names if (value := getattr(report, name, 0))}
