"""What came and went between two detections lies in neither of their pictures: where to look once more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..types import guard_region
from .looks import Look
from .tracking import Copies, inside

Samples = npt.NDArray[np.bool_]

LEVEL = 2
"""The gray copies are compared halved so often: the smallest face that is found has some twelve samples there."""
CHANGE = 12
"""By how much of 255 a sample must differ from both pictures, beyond what these differ by, as in a fade."""
ENOUGH = 8
"""So many such samples, away from the known faces, make a detection worth its price."""


def passing(before: Copies, after: Copies, between: Sequence[Look]) -> int | None:
    """The place in `between` of the picture that shows most of what is in neither `before` nor `after`, or None."""
    start, end = before.level(LEVEL), after.level(LEVEL)
    apart = np.abs(end - start) + CHANGE
    counts = [0]
    for look in between:
        here = look.copies.level(LEVEL)
        other = np.minimum(np.abs(here - start), np.abs(here - end)) > apart
        if np.count_nonzero(other) >= ENOUGH:
            _leave_out_faces(other, look)
        counts.append(int(np.count_nonzero(other)))
    most = int(np.argmax(counts))
    return most - 1 if counts[most] >= ENOUGH else None


def _leave_out_faces(other: Samples, look: Look) -> None:
    """Known faces move, and what is around them with them."""
    for box, _ in look.faces.values():
        around = inside(guard_region(box), look.copies.luma.shape)
        if around is not None:
            rows = slice(int(around.y0) >> LEVEL, (int(around.y1) >> LEVEL) + 1)
            other[rows, int(around.x0) >> LEVEL : (int(around.x1) >> LEVEL) + 1] = False
