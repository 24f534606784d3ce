"""Batches of heads for training: random crops, shifts and flips on the device from one array decoded once."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stream_guard.errors import EngineError
from stream_guard.types import GUARD_SCALE, HEAD_SCALE

from .action_units import MIRRORED, POINTS, UNITS
from .pack import Head

HEAD_SHARE = HEAD_SCALE / GUARD_SCALE


class Heads:
    """All heads of a split on one device: `rgb` (N, 3, S, S) uint8 and `mask` (N, S, S) uint8 (0: none).

    `landmarks` (N, 66, 2) as shares of the side and `action_units` (N, 17) are NaN for heads without.
    """

    def __init__(self, heads: list[Head], device: torch.device) -> None:
        if not heads:
            raise EngineError(
                "the pack holds no face to learn from in this split; StarGAN and the parser need pictures with masks: "
                "pack more of them (docs/training.md)"
            )
        self.names = [h.name for h in heads]
        self.rgb = torch.from_numpy(np.stack([h.rgb for h in heads])).permute(0, 3, 1, 2).contiguous().to(device)
        blank = np.zeros(heads[0].rgb.shape[:2], np.uint8)
        self.mask = torch.from_numpy(np.stack([h.mask if h.mask is not None else blank for h in heads])).to(device)
        lost, unknown = np.full((POINTS, 2), np.nan, np.float32), np.full(len(UNITS), np.nan, np.float32)
        points = np.stack([lost if h.landmarks is None else h.landmarks for h in heads])
        units = np.stack([unknown if h.action_units is None else h.action_units for h in heads])
        self.landmarks = torch.from_numpy(points).to(device)
        self.action_units = torch.from_numpy(units).to(device)

    def __len__(self) -> int:
        return len(self.rgb)

    def pick(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randint(len(self), (n,), generator=generator)


def crop_theta(n: int, share: float, jitter: float, generator: torch.Generator | None, flip: bool = False) -> Tensor:
    """(N, 2, 3) affine grids of a square crop with `share` of the side, scaled and shifted by up to `jitter`."""
    theta = torch.zeros(n, 2, 3)
    r = torch.rand(n, 4, generator=generator) * 2 - 1
    scale = share * (1 + jitter * r[:, 0])
    theta[:, 0, 0] = scale * torch.where(r[:, 3] < 0, -1.0, 1.0) if flip else scale
    theta[:, 1, 1] = scale
    theta[:, 0, 2] = share * jitter * r[:, 1]
    theta[:, 1, 2] = share * jitter * r[:, 2]
    return theta


def crop(image: Tensor, theta: Tensor, size: int, mode: str = "bilinear") -> Tensor:
    """Sample (N, C, H, W) at `theta`; shrinking is anti-aliased by pooling first when it is by two or more."""
    span = float(theta[:, 1, 1].mean()) * image.shape[-1]
    factor = int(span // size)
    if factor >= 2 and mode == "bilinear":
        image = F.avg_pool2d(image, factor)
    grid = F.affine_grid(theta.to(image.device), [len(theta), image.shape[1], size, size], align_corners=False)
    return F.grid_sample(image, grid, mode=mode, padding_mode="reflection", align_corners=False)


def spread(change: Tensor, side: int) -> Tensor:
    """A change of head crops (N, 3, S, S) as one of their guard regions (N, 3, side, side)."""
    inner = round(side * HEAD_SHARE)
    edge = (side - inner) // 2
    whole = change.new_zeros(*change.shape[:2], side, side)
    whole[:, :, edge : edge + inner, edge : edge + inner] = F.interpolate(
        change, size=(inner, inner), mode="bilinear", align_corners=False
    )
    return whole


def sample(image: Tensor, grid: Tensor, theta: Tensor) -> Tensor:
    """`crop`, bent: the pixels of (N, C, H, W) at `grid` (N, S, S, 2) of the crop's coordinates. For heads whose crop
    is less than twice as large as the result: it does not pool first."""
    theta = theta.to(image.device)
    scale = torch.stack([theta[:, 0, 0], theta[:, 1, 1]], 1)[:, None, None]
    return F.grid_sample(
        image, grid * scale + theta[:, None, None, :, 2], padding_mode="reflection", align_corners=False
    )


def crop_points(points: Tensor, theta: Tensor) -> Tensor:
    """Landmarks (N, 66, 2), shares of the head's side, in the crop's coordinates in [-1, 1], mirrored where it is."""
    theta = theta.to(points.device)
    scale = torch.stack([theta[:, 0, 0], theta[:, 1, 1]], 1)[:, None]
    moved = (points * 2 - 1 - theta[:, None, :, 2]) / scale
    return torch.where(scale[:, :, :1] < 0, moved[:, MIRRORED], moved)
