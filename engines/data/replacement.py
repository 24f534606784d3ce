"""Replaced faces: everyone with one donor's face, the other domain of the CycleGAN surrogate.

The classical face swap: the donor's still is bent by a thin-plate spline so that its landmarks lie where the picture's
do, takes the colours of the face that it covers, and is blended in along the jaw and over the brows. Head, hair and
background stay. Images are (N, 3, S, S) RGB in [0, 1]; landmarks (N, 66, 2) lie in [-1, 1], x first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from stream_guard.errors import UsageError

from .action_units import frame_of
from .expressions import pixel_grid, spline
from .heads import Heads

OUTLINE = (*range(17), 26, 25, 24, 19, 18, 17)
"""The landmarks around a face: along the jaw, and back over the brows."""
FOREHEAD = 0.12
"""How far above the brows the face is taken, in eye distances."""
FEATHER = 0.025
"""The blur of the outline, as a share of the picture's side."""
FEATURES = (*range(0, 17, 2), *range(17, 28), *range(31, 36), *range(36, 48), *range(48, 59), 62)
"""The landmarks that are brought together: not those that fall on each other when a head turns or a mouth is shut."""
STIFFNESS = 0.02
LEAST_CONTRAST, MOST_CONTRAST = 0.6, 1.6
"""How far the donor's contrast may be changed to fit in."""


@dataclass(frozen=True)
class Donor:
    """`rgb` (1, 3, S, S), `points` (1, 66, 2), and `alpha` (1, 1, S, S): 1 where its face is."""

    rgb: Tensor
    points: Tensor
    alpha: Tensor


def donor_of(heads: Heads, name: str = "") -> Donor:
    """The head called `name`, or of those with a parsing mask the most ordinary face: frontal, at rest.

    All heads must have landmarks. Raises UsageError for a name that no head has.
    """
    if name and name not in heads.names:
        raise UsageError(f"no head of the pack's train split with landmarks is called {name!r}")
    at = heads.names.index(name) if name else most_ordinary(heads)
    points = heads.landmarks[at : at + 1] * 2 - 1
    rgb = heads.rgb[at : at + 1].float() / 255
    return Donor(rgb, points, outline(points[0], rgb.shape[-1]).to(rgb))


def most_ordinary(heads: Heads) -> int:
    """The head whose levelled landmarks are nearest to everyone's median; photographs with a mask before others."""
    level = frame_of(heads.landmarks).level(heads.landmarks)
    far = (level - level.median(0).values).square().sum((1, 2))
    masked = heads.mask.flatten(1).amax(1) > 0
    if bool(masked.any()):
        far = far.masked_fill(~masked, float("inf"))
    return int(far.argmin())


def outline(points: Tensor, size: int) -> Tensor:
    """(1, 1, size, size): 1 inside the face of landmarks (66, 2), with a soft edge inside of it."""
    raised = frame_of(points[None]).level(points[None])
    raised[:, 17:27, 1] -= FOREHEAD
    pixels = (frame_of(points[None]).restore(raised)[0, OUTLINE, :] + 1) / 2 * size
    mask = Image.new("L", (size, size))
    ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in pixels], fill=255)
    radius = FEATHER * size
    # Shrunk before it is blurred: the donor's background must not show at the edge.
    mask = mask.filter(ImageFilter.MinFilter(2 * round(radius) + 1)).filter(ImageFilter.GaussianBlur(radius))
    return torch.from_numpy(np.asarray(mask, np.float32) / 255)[None, None]


def replaced(rgb: Tensor, points: Tensor, donor: Donor) -> Tensor:
    """`rgb` with the donor's face in place of its own."""
    n, size = len(rgb), rgb.shape[-1]
    moved = F.grid_sample(
        torch.cat([donor.rgb, donor.alpha], 1).expand(n, -1, -1, -1),
        flow(points, donor.points.expand(n, -1, -1), size),
        padding_mode="border",
        align_corners=False,
    )
    face, alpha = moved[:, :3], moved[:, 3:]
    return (rgb + alpha * (tinted(face, rgb, alpha) - rgb)).clamp(0, 1)


def flow(points: Tensor, source: Tensor, size: int) -> Tensor:
    """(N, size, size, 2): where in the donor's picture (landmarks `source`) each pixel comes from."""
    here, there = frame_of(points), frame_of(source)
    level = here.level(points)
    pixels = here.level(pixel_grid(size // 2, points).flatten(1, 2))  # half the size: the field is smooth
    shift = there.level(source) - level
    bent = pixels + spline(level[:, FEATURES], shift[:, FEATURES], pixels, STIFFNESS)
    coarse = there.restore(bent).reshape(-1, size // 2, size // 2, 2).permute(0, 3, 1, 2)
    return F.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)


def tinted(face: Tensor, rgb: Tensor, alpha: Tensor) -> Tensor:
    """`face` with the mean and the contrast, by channel, that `rgb` has where `alpha` is."""
    weight = alpha / alpha.sum((2, 3), keepdim=True).clamp(min=1e-6)
    mean, goal = ((x * weight).sum((2, 3), keepdim=True) for x in (face, rgb))
    spread, wanted = (
        ((x - m).square() * weight).sum((2, 3), keepdim=True).sqrt() for x, m in ((face, mean), (rgb, goal))
    )
    gain = (wanted / spread.clamp(min=1e-3)).clamp(LEAST_CONTRAST, MOST_CONTRAST)
    return (face - mean) * gain + goal
