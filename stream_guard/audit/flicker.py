"""How much the change itself moves: a still perturbation hides in a still face, a flickering one does not.

No standard exists. Ours is the mean of |d_t - warp(d_{t-1})| in 8-bit levels over the RGB of the head region, where d
is protected minus original and warp moves the last difference with the face, by whole pixels and by translation only.
The codec's own noise counts as well: compare with the same figure of a plain transcode.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..types import Box
from .quality import Difference, pixels_of


@dataclass
class Flicker:
    """Accumulates over the tracks of a clip; a track that was away starts anew."""

    total: int = 0
    values: int = 0
    _last: dict[int, tuple[int, Box, Difference]] = field(default_factory=dict)

    def add(self, frame: int, track: int, region: Box, difference: Difference) -> None:
        """`difference` is the whole frame's (H, W, 3); `frame` counts the protected video's, to see gaps."""
        last = self._last.get(track)
        if last is not None and last[0] == frame - 1:
            self._compare(region, difference, last[1], last[2])
        self._last[track] = (frame, region, difference)
        for stale in [key for key, (seen, _, _) in self._last.items() if seen < frame - 1]:
            del self._last[stale]

    def _compare(self, region: Box, now: Difference, last_region: Box, before: Difference) -> None:
        height, width = now.shape[:2]
        (x, y), (last_x, last_y) = region.center, last_region.center
        dx, dy = round(x - last_x), round(y - last_y)
        there = _overlap(region, dx, dy, width, height)
        if there is None:
            return
        rows, columns = there
        warped = before[rows.start - dy : rows.stop - dy, columns.start - dx : columns.stop - dx]
        self.total += int(np.abs(now[there] - warped).sum(dtype=np.int64))
        self.values += warped.size

    @property
    def levels(self) -> float | None:
        return self.total / self.values if self.values else None


def _overlap(region: Box, dx: int, dy: int, width: int, height: int) -> tuple[slice, slice] | None:
    """The pixels of the region that lie in the picture both now and before the face moved by (dx, dy)."""
    inside = pixels_of(region, width, height)
    if inside is None:
        return None
    rows, columns = inside
    y0, y1 = max(rows.start, dy), min(rows.stop, height + dy)
    x0, x1 = max(columns.start, dx), min(columns.stop, width + dx)
    return (slice(y0, y1), slice(x0, x1)) if y1 > y0 and x1 > x0 else None
