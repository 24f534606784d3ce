"""Fakes without a generator: a face blended with a changed copy of itself.

After self-blended images (Shiohara and Yamasaki, CVPR 2022, https://arxiv.org/abs/2204.08376). A face swap pastes a
face into a picture; what betrays it is the seam and the difference in colour and sharpness, and that can be had from
one picture. Differences on purpose: an ellipse around the face's place in a head crop for the mask, since not every
pack has landmarks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .degrade import blur, gains, sharpness

FAINTEST = 0.4
"""Least share of the difference between a fake and its original that `faint` leaves."""


def self_blended(rgb: Tensor, rng: torch.Generator) -> Tensor:
    """(N, 3, S, S) in [0, 1], head crops, to the same with the inner face replaced by a moved, recoloured copy."""
    copy = gains(sharpness(rgb, rng), rng)
    n = len(rgb)
    r = (torch.rand(n, 4, generator=rng) * 2 - 1).to(rgb.device)
    theta = torch.zeros(n, 2, 3, device=rgb.device)
    theta[:, 0, 0], theta[:, 1, 1] = 1 + 0.04 * r[:, 0], 1 + 0.04 * r[:, 1]
    theta[:, :, 2] = 0.03 * r[:, 2:]
    grid = F.affine_grid(theta, list(rgb.shape), align_corners=False)
    copy = F.grid_sample(copy, grid, padding_mode="reflection", align_corners=False)
    mask = _ellipses(n, rgb.shape[-1], rng).to(rgb.device)
    return ((rgb + mask * (copy - rgb)).clamp(0, 1) * 255).round() / 255


def faint(real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    """Fakes (N, 3, S, S) of which only a part is left, the rest real: FAINTEST to all of the difference, everywhere or
    in an ellipse about the face. Generators that were not learned from change less, or elsewhere."""
    n = len(real)
    share, u = torch.rand(2, n, generator=rng)[:, :, None, None, None].to(real.device)
    mask = torch.where(u < 0.5, torch.ones_like(u), _ellipses(n, real.shape[-1], rng).to(real.device))
    return ((real + (FAINTEST + (1 - FAINTEST) * share) * mask * (fake - real)).clamp(0, 1) * 255).round() / 255


def _ellipses(n: int, size: int, rng: torch.Generator) -> Tensor:
    """(n, 1, size, size) in [0, 1]: soft ellipses about where the face is, of random place, size, edge and strength."""
    r = torch.rand(n, 6, generator=rng)[:, :, None, None]
    at = (torch.arange(size) + 0.5) / size
    x, y = at[None, None, :], at[None, :, None]
    wide, high = 0.16 + 0.14 * r[:, 0], 0.2 + 0.16 * r[:, 1]
    away = ((x - 0.46 - 0.08 * r[:, 2]) / wide).square() + ((y - 0.5 - 0.1 * r[:, 3]) / high).square()
    mask = torch.sigmoid((1 - away.sqrt()) * (6 + 34 * r[:, 4]))[:, None]
    return blur(mask.expand(-1, 3, -1, -1), 1.5)[:, :1] * (0.5 + 0.5 * r[:, 5:])
