"""Key points and the plane: coordinate grids, Gaussians, 2 x 2 inverses, relative motion, areas of hulls."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

TINY = 1e-8
"""Determinants nearer to zero than this are moved away from it: no infinity may reach an attack's gradient."""


class KeyPoints(NamedTuple):
    """`value` (N, K, 2) as (x, y) in [-1, 1] and `jacobian` (N, K, 2, 2), row by row."""

    value: Tensor
    jacobian: Tensor

    def flat(self) -> Tensor:
        """(N, 6 K): all values, then all jacobians."""
        return torch.cat([self.value.flatten(1), self.jacobian.flatten(1)], 1)

    @staticmethod
    def of_flat(row: Tensor) -> KeyPoints:
        """The inverse of `flat`."""
        count = row.shape[1] // 6
        return KeyPoints(row[:, : 2 * count].reshape(-1, count, 2), row[:, 2 * count :].reshape(-1, count, 2, 2))

    def detach(self) -> KeyPoints:
        return KeyPoints(self.value.detach(), self.jacobian.detach())


def coordinate_grid(height: int, width: int, like: Tensor) -> Tensor:
    """(H, W, 2) of (x, y), from -1 at the first pixel's centre to 1 at the last's."""
    x = torch.linspace(-1, 1, width, device=like.device, dtype=like.dtype)
    y = torch.linspace(-1, 1, height, device=like.device, dtype=like.dtype)
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1)


def kp2gaussian(value: Tensor, height: int, width: int, variance: float) -> Tensor:
    """(N, K, H, W): a Gaussian of height 1 around each key point (N, K, 2)."""
    offset = coordinate_grid(height, width, value) - value[:, :, None, None, :]
    return torch.exp(-0.5 * offset.square().sum(-1) / variance)


def inverse_2x2(m: Tensor) -> Tensor:
    """The inverse of (..., 2, 2), written out: `torch.inverse` has no ONNX form."""
    a, b, c, d = m[..., 0, 0], m[..., 0, 1], m[..., 1, 0], m[..., 1, 1]
    determinant = a * d - b * c
    floor = torch.where(determinant < 0, -TINY, TINY)
    determinant = torch.where(determinant.abs() < TINY, floor, determinant)
    rows = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
    return rows / determinant[..., None, None]


def normalize_kp(
    source: KeyPoints,
    driving: KeyPoints,
    initial: KeyPoints,
    relative_movement: bool = True,
    relative_jacobian: bool = True,
    adapt_movement_scale: bool = False,
) -> KeyPoints:
    """The driving key points for this source: its own, moved as the driving ones moved since the initial frame.

    `adapt_movement_scale` scales the movement by the square root of the ratio of the hulls' areas, source to initial
    driving frame. The published one takes both areas from the first row of a batch; here each row has its own.
    """
    if not relative_movement:
        return driving
    scale = movement_scale(source.value, initial.value) if adapt_movement_scale else 1.0
    value = (driving.value - initial.value) * scale + source.value
    if not relative_jacobian:
        return KeyPoints(value, driving.jacobian)
    change = driving.jacobian @ inverse_2x2(initial.jacobian)
    return KeyPoints(value, change @ source.jacobian)


def movement_scale(source: Tensor, initial: Tensor) -> Tensor:
    """(N, 1, 1): how much larger the source's hull is than the initial driving frame's, in length; no gradient."""
    pairs = zip(source.detach().cpu().numpy(), initial.detach().cpu().numpy(), strict=True)
    scales = [np.sqrt(hull_area(s)) / np.sqrt(max(hull_area(i), TINY)) for s, i in pairs]
    return torch.tensor(scales, dtype=source.dtype, device=source.device)[:, None, None]


def hull_area(points: npt.NDArray[np.floating]) -> float:
    """The area of the convex hull of (K, 2) points: Andrew's chain, then the shoelace formula."""
    ordered = sorted({(float(x), float(y)) for x, y in points})
    hull = _chain(ordered) + _chain(ordered[::-1])
    pairs = zip(hull, hull[1:] + hull[:1], strict=True)
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs)) / 2


def _chain(ordered: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """One side of the hull, without its last point, which begins the other side."""
    side: list[tuple[float, float]] = []
    for point in ordered:
        while len(side) > 1 and _turn(side[-2], side[-1], point) <= 0:
            side.pop()
        side.append(point)
    return side[:-1]


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
