"""Progress and metrics, told not too often."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from time import monotonic
from typing import Any

from ...metrics import PREFIX, Family, Metrics, families
from ...outcome import FOLLOWED, Progress
from ..protocol import pack

TELL_SECONDS = 0.5
METRICS_SECONDS = 5.0

OF_PICTURES = (
    *("frames_in", "frames_out", "frames_without_face", "faces", "unprotected_frames", "blocked_frames", "verdicts"),
    *FOLLOWED,
)
"""Counters of which only what is whole is told: what an attempt had begun when it ended is done anew by the next."""

Emit = Callable[[dict[str, Any]], None]


class Teller:
    """`most` is the share of the whole at which `tell` ends."""

    def __init__(self, emit: Emit, most: float = 1.0, without: Collection[str] = ()) -> None:
        """`without` names families that are not told."""
        self._emit = emit
        self._most = most
        self._without = without
        self._told = self._measured = 0.0
        self._lock = threading.Lock()
        self.metrics = Metrics()
        """Of this attempt as it runs; sent now and then, and by `end`, but for OF_PICTURES."""
        self.whole = Metrics()
        """What is told of OF_PICTURES: counted when a segment, or the file, is whole."""

    def tell(self, progress: Progress, before: int = 0) -> None:
        """`before` pictures were done by earlier attempts."""
        frames, total = before + progress.frames, progress.total_frames
        share = self._most * min(1.0, frames / total) if total else 0.0
        self.send(share, {"frames": frames, "total_frames": total, "fps": round(progress.fps, 2)})

    def send(self, share: float, more: dict[str, Any]) -> None:
        now = monotonic()
        if now - self._told >= TELL_SECONDS:
            self._told = now
            self._emit({"type": "progress", "progress": round(share, 4), **more})
        if now - self._measured >= METRICS_SECONDS:
            self.end()

    def all_whole(self) -> None:
        """The run that counted in `metrics` came to its end, and with it all that it counted."""
        self.whole = self.metrics

    def media_whole(self, side: str, report: Mapping[str, Any]) -> None:
        """Count what the report of a `source` or `sink` counts, once that is whole."""
        for metric, (of, counter) in FOLLOWED.items():
            if of == side:
                self.whole[metric].inc(report[counter])

    def end(self) -> None:
        """Send the metrics as they are now. From any thread: of two, the later tells the later state."""
        with self._lock:
            self._measured = monotonic()
            self._emit({"type": "metrics", "families": pack(self._families(), self._without)})

    def _families(self) -> list[Family]:
        names = {f"{PREFIX}_{name}" for name in OF_PICTURES}
        whole = {one.name: one for one in families(self.whole.registry) if one.name in names}
        return [whole.get(one.name, one) for one in families(self.metrics.registry)]
