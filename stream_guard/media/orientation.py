"""Which way up a picture is shown: networks are fed faces as a viewer sees them, while samples stay as they are stored.

`picture.rotation` is not enough: it knows no mirror, and reads a picture that stands on its head, mirrored, as upright.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, TypeVar

import av
import numpy as np

from ..torch_gate import Tensor, load_torch
from ..types import UPRIGHT, Orientation
from .side_data import display_matrix

Array = TypeVar("Array", bound=np.ndarray[Any, Any])

_PICTURE = (0, 1)
_PLANES = (-2, -1)
"""The axes down and across: of a picture (H, W, C), and of planes (..., H, W)."""


def orientation_of(picture: av.VideoFrame) -> Orientation:
    """From the picture's own display matrix, to the nearest quarter turn. Costs a microsecond or two."""
    matrix = display_matrix(picture)
    return UPRIGHT if matrix is None else _of_matrix(*matrix[:2], *matrix[3:5])


def upright(picture: Array, orientation: Orientation) -> Array:
    """A picture (H, W, C) as it is shown; itself where it is stored so."""
    return picture if orientation == UPRIGHT else _turned(picture, orientation, _PICTURE)


def upright_planes(planes: Array, orientation: Orientation) -> Array:
    """The same for planes (..., H, W)."""
    return planes if orientation == UPRIGHT else _turned(planes, orientation, _PLANES)


def as_stored(delta: Array, orientation: Orientation) -> Array:
    """What was made for an upright crop, planes (..., H, W), as it is added to the stored picture."""
    return upright_planes(delta, _back(orientation))


def upright_tensor(planes: Tensor, orientation: Orientation) -> Tensor:
    """`upright_planes` for a tensor, where it lies."""
    if orientation == UPRIGHT:
        return planes
    torch = load_torch()
    turned = torch.rot90(planes, orientation.turns, _PLANES)
    return (turned.flip(-1) if orientation.mirrored else turned).contiguous()


def tensor_as_stored(delta: Tensor, orientation: Orientation) -> Tensor:
    """`as_stored` for a tensor, where it lies."""
    return upright_tensor(delta, _back(orientation))


@lru_cache(maxsize=64)
def _of_matrix(a: int, b: int, c: int, d: int) -> Orientation:
    """A sample at (x, y) is shown at (a x + c y, b x + d y), up to a shift; y points down."""
    mirrored = a * d - b * c < 0
    if mirrored:  # what is left when the mirror, which comes last, is taken away
        a, c = -a, -c
    across, down = math.hypot(a, c), math.hypot(b, d)
    if not across or not down:
        return UPRIGHT  # shows nothing that could be looked at
    return Orientation(round(-math.degrees(math.atan2(b / down, a / across)) / 90) % 4, mirrored)


def _back(orientation: Orientation) -> Orientation:
    """What undoes it: a mirrored turn undoes itself."""
    return orientation if orientation.mirrored else Orientation(-orientation.turns % 4)


def _turned(array: Array, orientation: Orientation, axes: tuple[int, int]) -> Array:
    turned = np.rot90(array, orientation.turns, axes)
    return np.ascontiguousarray(np.flip(turned, axes[1]) if orientation.mirrored else turned)  # type: ignore[return-value]
