"""Key points and the plane: coordinate grids, Gaussians, 2 x 2 inverses, relative motion, areas of hulls."""

from __future__ import annotations

from typing import NamedTuple

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
    """(N, 1, 1): how much larger the source's hull is than the initial driving frame's, in length.

    The published one leaves torch for it; here a gradient passes, as an attacker would have it.
    """
    ratio = hull_area(source).clamp(min=TINY) / hull_area(initial).clamp(min=TINY)
    return ratio.sqrt()[:, None, None]


def hull_area(points: Tensor) -> Tensor:
    """(N,): the area of the convex hull of points (N, K, 2), no two of which may be the same.

    A pair is an edge of the hull, counted anti-clockwise, when no point lies to its right; then the shoelace formula.
    K^3 comparisons, all of them operations that an exported graph has.
    """
    step = points[:, None] - points[:, :, None]
    across = _cross(step[:, :, :, None], step[:, :, None])
    along = (step[:, :, :, None] * step[:, :, None]).sum(-1)
    between = (across == 0) & (along > 0) & (along < step.square().sum(-1)[..., None])
    own = torch.eye(points.shape[1], dtype=torch.bool, device=points.device)
    fits = ((across >= 0) & ~between) | own[:, None] | own
    edge = fits.to(points.dtype).amin(-1)
    return 0.5 * (edge * _cross(points[:, :, None], points[:, None])).sum((1, 2))


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
