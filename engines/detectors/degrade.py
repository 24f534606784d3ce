"""What happens to a picture between its making and a detector, to reals and fakes alike; no label depends on it.

Surrogates' fakes are softer than photographs: a detector that calls everything soft a fake would look right and be
useless. So each picture, of either class, is softened or sharpened at random, rescaled, and encoded, before it is seen.
That alone is not enough, since a softened fake is softer still: `as_soft_as` takes the difference away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.heads import crop, crop_theta
from ..disrupter.delivery import Channel

SIGMA = 0.8, 2.4
"""Least and greatest Gaussian, in pixels of a head of 128, that softens: as soft as the softest surrogate's fakes."""

DARKEST, DIM = 0.1, 0.7
"""Least and greatest share of its brightness that a dimmed picture keeps."""
GRAIN = 0.012
"""The most noise of a dimmed or grainy picture, a standard deviation on [0, 1]: three of 255 levels."""

SOFTENING = (0.0, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0)
"""Gaussians in pixels that are tried, least first, to make one picture as soft as another."""


@dataclass(frozen=True)
class Path:
    """One way for a batch: its side in pixels on the way, and the codec there."""

    side: int
    codec: str = "none"
    quality: int = 0

    def __call__(self, rgb: Tensor) -> Tensor:
        """(N, 3, S, S) in [0, 1] to (N, 3, side, side), 8 bits, after the codec."""
        rgb = resize(rgb, self.side).clamp(0, 1)
        return Channel(self.codec, self.quality, self.side)((rgb * 255).round() / 255)


def random_path(rng: torch.Generator) -> Path:
    """56 to 256 px; H.264 at crf 18 to 34 in half of all, JPEG 40 to 95 in a quarter."""
    u, q, s = torch.rand(3, generator=rng).tolist()
    side = 2 * round(28 + 100 * s)
    if u < 0.5:
        return Path(side, "h264", 18 + int(q * 17))
    if u < 0.75:
        return Path(side, "jpeg", 40 + int(q * 56))
    return Path(side)


def degrade(rgb: Tensor, size: int, rng: torch.Generator) -> Tensor:
    """(N, 3, S, S) in [0, 1] to (N, 3, size, size) in [-1, 1]: every random change, one path for the whole batch."""
    rgb = random_path(rng)(gains(sharpness(rgb, rng), rng))
    theta = crop_theta(len(rgb), 0.94, 0.06, rng, flip=True)
    return crop(rgb, theta, size).clamp(0, 1) * 2 - 1


def sharpness(rgb: Tensor, rng: torch.Generator) -> Tensor:
    """Each picture for itself: a third blurred, a third sharpened, by a random share of one random Gaussian."""
    u, share = torch.rand(2, len(rgb), generator=rng).to(rgb.device)
    sigma = SIGMA[0] + (SIGMA[1] - SIGMA[0]) * float(torch.rand(1, generator=rng))
    amount = torch.where(u < 1 / 3, share.sqrt(), torch.where(u < 2 / 3, -share, torch.zeros_like(share)))
    return (rgb + amount[:, None, None, None] * (blur(rgb, sigma) - rgb)).clamp(0, 1)


def as_soft_as(rgb: Tensor, other: Tensor) -> Tensor:
    """Each picture of (N, 3, S, S) blurred until it has no more detail than its counterpart in `other`."""
    wanted = detail(other)
    result, open_ = rgb, torch.ones_like(wanted, dtype=torch.bool)
    for sigma in SOFTENING:
        blurred = rgb if sigma == 0 else blur(rgb, sigma)
        result = torch.where(open_[:, None, None, None], blurred, result)
        open_ = open_ & (detail(blurred) > wanted)
    return result


def detail(rgb: Tensor) -> Tensor:
    """(N,): the mean magnitude of the Laplacian of the mean of the planes."""
    plane = rgb.mean(1)
    around = plane[:, :-2, 1:-1] + plane[:, 2:, 1:-1] + plane[:, 1:-1, :-2] + plane[:, 1:-1, 2:]
    return (around / 4 - plane[:, 1:-1, 1:-1]).abs().mean((1, 2))


def gains(rgb: Tensor, rng: torch.Generator) -> Tensor:
    """Each picture's brightness, contrast and colour balance, by up to a fifth."""
    r = (torch.rand(len(rgb), 5, generator=rng) * 2 - 1).to(rgb.device)[:, :, None, None]
    gain = 1 + 0.2 * r[:, 3:4] + 0.06 * r[:, :3]
    return ((rgb - 0.5) * gain + 0.5 + 0.1 * r[:, 4:5]).clamp(0, 1)


def dimmed(rgb: Tensor, rng: torch.Generator) -> Tensor:
    """Each picture of (N, 3, S, S) in [0, 1] as in too little light: darker by its own share, and with grain."""
    share = torch.rand(len(rgb), 1, 1, 1, generator=rng).to(rgb)
    return grainy(DARKEST * (DIM / DARKEST) ** share * rgb, rng)


def grainy(rgb: Tensor, rng: torch.Generator) -> Tensor:
    """Each picture of (N, 3, S, S) in [0, 1] with its own amount of a sensor's noise."""
    amount = torch.rand(len(rgb), 1, 1, 1, generator=rng).to(rgb)
    return (rgb + GRAIN * amount * torch.randn(rgb.shape, generator=rng).to(rgb)).clamp(0, 1)


def blur(rgb: Tensor, sigma: float) -> Tensor:
    """A Gaussian of `sigma` pixels, borders repeated."""
    reach = math.ceil(2.5 * sigma)
    at = torch.arange(-reach, reach + 1, device=rgb.device, dtype=rgb.dtype)
    kernel = torch.exp(-0.5 * (at / sigma).square())
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    h = F.conv2d(F.pad(rgb, (reach, reach, 0, 0), mode="replicate"), kernel, groups=3)
    return F.conv2d(F.pad(h, (0, 0, reach, reach), mode="replicate"), kernel.transpose(2, 3), groups=3)


def resize(rgb: Tensor, side: int) -> Tensor:
    """Square, without aliasing."""
    if rgb.shape[-1] == side:
        return rgb
    return F.interpolate(rgb, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
