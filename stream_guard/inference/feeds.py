"""What every backend checks before it runs, so that a wrong shape says the same on all of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import FeedError
from .session import Array

Shape = tuple[int, ...]
"""A declared shape; -1 where any size is taken."""


def check_feeds(feeds: Mapping[str, Array], declared: Mapping[str, Shape]) -> dict[str, Array]:
    """The feeds as contiguous float32 arrays. Raises FeedError naming what is missing, foreign or misshapen."""
    if set(feeds) != set(declared):
        raise FeedError(f"the engine takes the inputs {sorted(declared)}, got {sorted(feeds)}")
    return {name: _checked(name, feeds[name], shape) for name, shape in declared.items()}


def _checked(name: str, array: Array, shape: Shape) -> Array:
    if array.dtype != np.float32:
        raise FeedError(f"input {name!r} must be float32, got {array.dtype}")
    fits = array.ndim == len(shape) and all(want in (-1, got) for want, got in zip(shape, array.shape, strict=True))
    if not fits or 0 in array.shape:
        raise FeedError(f"input {name!r} must have the shape {shape} (-1: any but 0), got {array.shape}")
    return np.ascontiguousarray(array)
