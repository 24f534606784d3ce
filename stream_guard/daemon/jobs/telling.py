"""Progress and metrics, told not too often."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from ...metrics import Metrics, families
from ...outcome import Progress
from ..protocol import pack

TELL_SECONDS = 0.5
METRICS_SECONDS = 5.0

Emit = Callable[[dict[str, Any]], None]


class Teller:
    """`most` is the share of the whole at which `tell` ends."""

    def __init__(self, emit: Emit, most: float = 1.0) -> None:
        self._emit = emit
        self._most = most
        self._told = self._measured = 0.0
        self.metrics = Metrics()
        """Of this attempt; sent now and then, and by `end`."""

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

    def end(self) -> None:
        """Send the metrics as they are now."""
        self._measured = monotonic()
        self._emit({"type": "metrics", "families": pack(families(self.metrics.registry))})
