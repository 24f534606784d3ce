"""Whether a head crop shows what MagDR was calibrated on: one photographed face, parsed as one.

What is not gets the verdict `unknown` with one of these words, and no score.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..types import UPRIGHT, Box, Orientation, head_region
from .engines import Rgb
from .regions import NAMES, Masks

TINY = "tiny_face"
BORDER = "at_border"
SEVERAL = "several_faces"
DRAWING = "not_a_photograph"
NOT_PARSED = "not_parsed"

OUTSIDE = 0.2
"""The share of the head crop that may lie beyond the picture."""
SHARED = 0.1
"""The share of another face's box that may lie inside the head crop."""
FLAT = 0.62
"""A picture in which more neighbours than this are equal is drawn. Delivered photographs stay below .5 (docs)."""
LEAST = {"skin": 0.08, "eyes": 0.0008, "nose": 0.006, "mouth": 0.003}
"""The share of a head crop that these regions take at least in a face seen from the front or from the side."""


def place(box: Box, others: list[Box], width: int, height: int, least: int, orientation: Orientation = UPRIGHT) -> str:
    """Why the face at `box` cannot be judged by where it is; empty where it can. Sizes in pixels of the picture."""
    if min(box.width, box.height) < least:
        return TINY
    head = head_region(box, orientation)
    if 1 - _shared(head, Box(0, 0, width, height)) > OUTSIDE:
        return BORDER
    return SEVERAL if any(_shared(other, head) > SHARED for other in others) else ""


def look(face: Rgb, masks: Masks) -> str:
    """Why the crop cannot be judged by what it shows; empty where it can."""
    if flatness(face) > FLAT:
        return DRAWING
    shares = {name: float(share) for name, share in zip(NAMES, masks.mean((1, 2)), strict=True)}
    return NOT_PARSED if any(shares[name] < least for name, least in LEAST.items()) else ""


def flatness(face: Rgb) -> float:
    """The share of neighbours across and down whose green differs by at most half a level in 256: 0 to 1."""
    green: npt.NDArray[np.int16] = face[..., 1].astype(np.int16)
    across, down = np.diff(green, axis=1) == 0, np.diff(green, axis=0) == 0
    return float((across.mean() + down.mean()) / 2)


def _shared(part: Box, whole: Box) -> float:
    """The share of `part` that lies inside `whole`."""
    width = min(part.x1, whole.x1) - max(part.x0, whole.x0)
    height = min(part.y1, whole.y1) - max(part.y0, whole.y0)
    return max(width, 0.0) * max(height, 0.0) / part.area
