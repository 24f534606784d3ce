"""The head that ships with the demo."""

from __future__ import annotations

import numpy as np

from stream_guard.talking_head import portrait
from stream_guard.types import Box, head_region

FACE = Box(184, 64, 267, 177)


def head() -> np.ndarray:
    """The astronaut's head crop at 128 px."""
    region = head_region(FACE)
    box = (region.x0, max(region.y0, 0), region.x1, region.y1)
    return np.asarray(portrait().resize((128, 128), box=tuple(map(float, box))))
