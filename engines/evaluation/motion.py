"""Block motion between two pictures, to tell what moves from what flickers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BLOCK = 16
REACH = 6
"""Blocks of 16 x 16 pixels are looked for within 6 pixels each way."""

Luma = npt.NDArray[np.float32]
Motion = npt.NDArray[np.int64]


def block_motion(now: Luma, before: Luma) -> Motion:
    """(H / BLOCK, W / BLOCK, 2): where each block of `now` (H, W) was in `before`, in pixels down and right.

    `before` (H + 2 REACH, W + 2 REACH) has a margin around the same place. Standing still wins a tie.
    """
    height, width = (side // BLOCK * BLOCK for side in now.shape)
    best = np.full((height // BLOCK, width // BLOCK), np.inf)
    motion = np.zeros((*best.shape, 2), np.int64)
    shifts = [(dy, dx) for dy in range(-REACH, REACH + 1) for dx in range(-REACH, REACH + 1)]
    for dy, dx in sorted(shifts, key=lambda shift: abs(shift[0]) + abs(shift[1])):
        there = before[REACH + dy : REACH + dy + height, REACH + dx : REACH + dx + width]
        error = np.abs(now[:height, :width] - there)
        cost = error.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).sum((1, 3))
        better = cost < best
        best[better] = cost[better]
        motion[better] = (dy, dx)
    return motion


def warped(before: npt.NDArray[np.float32], motion: Motion) -> npt.NDArray[np.float32]:
    """`before` (H + 2 REACH, W + 2 REACH, C) moved along to where its blocks are now: (H', W', C), whole blocks."""
    rows, columns = (n * BLOCK for n in motion.shape[:2])
    whole = motion.repeat(BLOCK, 0).repeat(BLOCK, 1)
    y = np.arange(rows)[:, None] + REACH + whole[..., 0]
    x = np.arange(columns)[None, :] + REACH + whole[..., 1]
    out: npt.NDArray[np.float32] = before[y, x]
    return out
