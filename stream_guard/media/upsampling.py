"""The weights that spread a coarse grid over a region of a plane: bilinear, separable, with the feather folded in."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float32]

AT_ONCE = 32
"""Rows, and columns, worked on together: a strip of a big region stays in the processor's second cache, and products
this small run on the calling thread. Larger ones wake OpenBLAS's threads, which then spin where the encoder should run.
"""


@lru_cache(maxsize=128)
def axis_weights(side: int, step: int, cosited: bool, grid: int, feather: float) -> Weights:
    """Weights (samples, grid): row i blends the grid cells for sample i of a region `side` luma pixels long.

    A plane has one sample every `step` luma pixels, in the middle of them, or at the first of them where `cosited`.
    All weights are >= 0 and each row sums to at most 1, so nothing that is spread exceeds the grid's own peak. Towards
    both ends the rows fade to 0 over `feather` of the side. Fewer samples than cells average the cells.
    """
    samples = side // step
    at = (np.arange(samples) * step + (0.5 if cosited else step / 2)) / side
    reach = max(1.0, grid / samples)
    distance = np.abs((at * grid - 0.5).clip(0, grid - 1)[:, None] - np.arange(grid)[None, :]) / reach
    weights = np.maximum(0.0, 1.0 - distance)
    weights *= (fade(at, feather) / weights.sum(1))[:, None]
    frozen: Weights = weights.astype(np.float32)
    frozen.setflags(write=False)
    return frozen


def fade(at: npt.NDArray[np.float64], feather: float) -> npt.NDArray[np.float64]:
    """A smooth window over positions 0 to 1: 0 at both ends, 1 from `feather` on, without a kink at either."""
    if feather <= 0:
        return np.ones_like(at)
    t = (np.minimum(at, 1 - at) / feather).clip(0, 1)
    eased: npt.NDArray[np.float64] = 0.5 - 0.5 * np.cos(np.pi * t)
    return eased


def strips(plane: Weights, rows: Weights, columns: Weights) -> Iterator[tuple[int, int, Weights]]:
    """Spread `plane` (grid, grid) into `rows @ plane @ columns.T`, strip by strip: (first row, end row, values).

    Each strip multiplies only the grid rows that reach it. The values are overwritten by the next strip. Nothing comes
    of no rows or no columns.
    """
    if not rows.size or not columns.size:
        return
    across = np.concatenate([plane @ columns[i : i + AT_ONCE].T for i in range(0, len(columns), AT_ONCE)], axis=1)
    scratch = np.empty((min(AT_ONCE, len(rows)), len(columns)), np.float32)
    for first in range(0, len(rows), AT_ONCE):
        part = rows[first : first + AT_ONCE]
        used = np.flatnonzero(part.any(0))
        if used.size:
            reach = slice(int(used[0]), int(used[-1]) + 1)
            yield first, first + len(part), np.matmul(part[:, reach], across[reach], out=scratch[: len(part)])
