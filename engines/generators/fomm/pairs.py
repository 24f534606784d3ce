"""Pairs of pictures of one head, a source and where it moved to: frames of clips, and stills warped at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ...data.clips import Clip
from ...data.heads import HEAD_SHARE
from .geometry import coordinate_grid
from .warps import Warp

ANCHORS = ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47), (30,), (58,), (62,), (50,), (55,), (8,), (2,), (14,))
"""Where the ten key points are led to at first, as means of landmarks (data/action_units.py): the eyes, the tip of the
nose, the corners of the mouth, the upper and lower lip, the chin, both ends of the jaw."""
FLOW = 32
"""The side of the grid on which the motion of a warped still is given."""
MIRRORED = (1, 0, 2, 4, 3, 5, 6, 7, 9, 8)
"""The anchor that each becomes in a mirrored picture."""


@dataclass(frozen=True)
class Guard:
    """Protects pictures (T, 3, H, W) uint8, and is what `share` of the sources went through."""

    protect: Callable[[Tensor], Tensor]
    share: float


@dataclass(frozen=True)
class Batch:
    """`source` and `driving` (N, 3, S, S) in [0, 1]; their anchors (N, 10, 2) as key points, NaN where not known.

    `flow` (N, FLOW, FLOW, 2) says where each place of the driving picture lies in the source, NaN for clips.
    """

    source: Tensor
    driving: Tensor
    source_points: Tensor
    driving_points: Tensor
    flow: Tensor


class Pool:
    """Pictures of one size on one device, `rgb` (F, 3, S, S) uint8, with anchors (F, 10, 2) in [-1, 1] or NaN.

    Pictures `start[i]` to `start[i] + length[i]` show one head: a clip's frames, or a single still. With a
    `guard`, some of the sources are protected.
    """

    def __init__(
        self,
        pictures: Sequence[npt.NDArray[np.uint8]],
        landmarks: Sequence[npt.NDArray[np.float32]],
        side: int,
        device: torch.device,
        guard: Guard | None = None,
    ) -> None:
        planes = [torch.from_numpy(np.array(p)).permute(0, 3, 1, 2) for p in pictures]  # decoded ones are read-only
        self.rgb = torch.cat([_shrunk(p, side) for p in planes]).to(device)
        self.share, self.protected = 0.0, self.rgb
        if guard is not None:
            self.share = guard.share
            self.protected = torch.cat([_shrunk(guard.protect(p), side) for p in planes]).to(device)
        self.anchors = torch.cat([anchors(p) for p in landmarks]).to(device)
        self.length = torch.tensor([len(p) for p in pictures])
        self.start = self.length.cumsum(0) - self.length

    @staticmethod
    def of_clips(clips: Sequence[Clip], side: int, device: torch.device, guard: Guard | None = None) -> Pool:
        return Pool([c.frames for c in clips], [c.landmarks for c in clips], side, device, guard)

    def pick(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Indices of n pairs of pictures, each of one head."""
        which = torch.randint(len(self.length), (n,), generator=rng)
        draws = torch.rand(2, n, generator=rng)
        first, second = self.start[which] + (draws * self.length[which]).long()
        return first, second

    def sources(self, index: Tensor, rng: torch.Generator) -> Tensor:
        """The pictures as an attacker gets them: unprotected, or some of them protected."""
        rgb = self.rgb[index]
        if self.share:
            drawn = torch.rand(len(index), generator=rng) < self.share
            rgb[drawn.to(rgb.device)] = self.protected[index[drawn]]
        return rgb


def anchors(landmarks: npt.NDArray[np.float32]) -> Tensor:
    """(T, 66, 2) landmarks as shares of the side to (T, 10, 2) in [-1, 1]; NaN stays NaN."""
    points = torch.from_numpy(np.asarray(landmarks, np.float32))
    return torch.stack([points[:, list(group)].mean(1) for group in ANCHORS], 1) * 2 - 1


def _shrunk(rgb: Tensor, side: int) -> Tensor:
    """(T, 3, H, W) to (T, 3, h, w), halved while a head's share of it is larger than `side` after that."""
    while rgb.shape[-1] * HEAD_SHARE / 2 >= side * 0.9:
        rgb = F.avg_pool2d(rgb.float(), 2).round().byte()
    return rgb.contiguous()


def placed(n: int, share: float, jitter: float, turn: float, rng: torch.Generator) -> Tensor:
    """(N, 2, 3): a square with about `share` of the side, scaled and shifted by up to `jitter`, turned up to `turn`."""
    r = torch.rand(n, 4, generator=rng) * 2 - 1
    scale, angle = share * (1 + jitter * r[:, 0]), turn * r[:, 1]
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    move = share * jitter * r[:, 2:]
    return torch.stack([torch.stack([cos, -sin, move[:, 0]], 1), torch.stack([sin, cos, move[:, 1]], 1)], 1)


def view(rgb: Tensor, theta: Tensor, size: int, warp: Warp | None = None) -> Tensor:
    """Pictures (N, 3, H, W) uint8 in [0, 255] seen through `theta` (N, 2, 3), after `warp`: (N, 3, size, size)."""
    grid = coordinate_grid(size, size, rgb.float()).reshape(1, -1, 2).expand(len(rgb), -1, -1)
    flow = taken_from(grid, theta, size, warp).view(-1, size, size, 2)
    return F.grid_sample(rgb.float() / 255, flow, padding_mode="reflection", align_corners=False).clamp(0, 1)


def taken_from(points: Tensor, theta: Tensor, size: int, warp: Warp | None = None) -> Tensor:
    """Where a `view` has its key points (N, P, 2) from: places of the picture, in [-1, 1] from edge to edge."""
    theta = theta.to(points.device)
    points = points if warp is None else warp.places(points)
    points = points * ((size - 1) / size)  # key points count from pixel centres, `theta` from edges
    return points @ theta[:, :, :2].transpose(1, 2) + theta[:, None, :, 2]


def seen(points: Tensor, theta: Tensor, size: int) -> Tensor:
    """Where points (N, K, 2) of the picture lie in its `view`, as key points."""
    theta = theta.to(points.device)
    inverse = torch.linalg.inv(theta[:, :, :2])
    return ((points - theta[:, None, :, 2]) @ inverse.transpose(1, 2)) * (size / (size - 1))


class Pairs:
    """Draws batches from clips and stills; either may be missing, not both. `stills` is the share of warped stills."""

    def __init__(self, clips: Pool | None, stills: Pool | None, size: int, share: float) -> None:
        self.clips, self.stills, self.size = clips, stills, size
        self.share = share if clips is not None and stills is not None else float(clips is None)

    def batch(self, n: int, rng: torch.Generator) -> Batch:
        warped = int((torch.rand(n, generator=rng) < self.share).sum())
        parts = []
        if self.clips is not None and warped < n:
            parts.append(self._moved(self.clips, n - warped, rng))
        if self.stills is not None and warped:
            parts.append(self._warped(self.stills, warped, rng))
        whole = [torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Batch)]
        return _mirrored(_recoloured(Batch(*whole), rng), rng)

    def _moved(self, pool: Pool, n: int, rng: torch.Generator) -> Batch:
        """Two frames of a clip through nearly the same square."""
        first, second = pool.pick(n, rng)
        theta = placed(n, HEAD_SHARE, 0.1, 0.08, rng)
        other = _compose(theta, placed(n, 1.0, 0.06, 0.08, rng))
        other = torch.where(torch.rand(n, 1, 1, generator=rng) < 0.5, theta, other)
        return Batch(
            view(pool.sources(first, rng), theta, self.size),
            view(pool.rgb[second], other, self.size),
            seen(pool.anchors[first], theta, self.size),
            seen(pool.anchors[second], other, self.size),
            pool.anchors.new_full((n, FLOW, FLOW, 2), torch.nan),
        )

    def _warped(self, pool: Pool, n: int, rng: torch.Generator) -> Batch:
        """A still, and the same shifted, turned, scaled and bent."""
        first, _ = pool.pick(n, rng)
        rgb, points = pool.rgb[first], pool.anchors[first]
        theta = placed(n, HEAD_SHARE, 0.1, 0.08, rng)
        warp = Warp(n, 0.05, 0.02, rng, rgb.device)
        other = _compose(theta, placed(n, 1.0, 0.12, 0.2, rng))
        source = seen(points, theta, self.size)
        grid = coordinate_grid(FLOW, FLOW, points).reshape(1, -1, 2).expand(n, -1, -1)
        flow = seen(taken_from(grid, other, self.size, warp), theta, self.size)
        return Batch(
            view(pool.sources(first, rng), theta, self.size),
            view(rgb, other, self.size, warp),
            source,
            torch.full_like(source, torch.nan),  # the warp has no inverse in closed form
            flow.view(n, FLOW, FLOW, 2),
        )


def _compose(outer: Tensor, inner: Tensor) -> Tensor:
    """The view of a view: `outer` of the places that `inner` names."""
    turn = outer[:, :, :2] @ inner[:, :, :2]
    move = outer[:, :, :2] @ inner[:, :, 2:] + outer[:, :, 2:]
    return torch.cat([turn, move], 2)


def _recoloured(batch: Batch, rng: torch.Generator) -> Batch:
    """Brightness and balance changed, both pictures of a pair alike."""
    n, device = len(batch.source), batch.source.device
    gain = 0.85 + 0.3 * torch.rand(n, 1, 1, 1, generator=rng) + 0.05 * torch.randn(n, 3, 1, 1, generator=rng)
    gain = gain.to(device)
    return replace(batch, source=(batch.source * gain).clamp(0, 1), driving=(batch.driving * gain).clamp(0, 1))


def _mirrored(batch: Batch, rng: torch.Generator) -> Batch:
    flip = torch.rand(len(batch.source), generator=rng).to(batch.source.device) < 0.5
    facing = batch.flow.new_tensor([-1.0, 1.0])

    def image(x: Tensor) -> Tensor:
        return torch.where(flip[:, None, None, None], x.flip(3), x)

    def points(p: Tensor) -> Tensor:
        return torch.where(flip[:, None, None], p[:, list(MIRRORED)] * facing, p)

    flow = torch.where(flip[:, None, None, None], batch.flow.flip(2) * facing, batch.flow)
    return Batch(
        image(batch.source), image(batch.driving), points(batch.source_points), points(batch.driving_points), flow
    )
