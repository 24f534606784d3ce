"""P: the disrupter's network (DeepFake Disrupter, section 3.2), a small U-Net.

The paper's architecture is in a missing appendix; this one is ours. It sees the guard region at 128 px, works at 64
px inside (pixel unshuffle), and answers on a 64 x 64 grid, because what is finer than that the codec throws away.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .budget import head_rms, rms_of_psnr

SIZE = 128
GRID = 64


FLAT_SHARE = (0.35, 0.1, 0.1)
"""How much of the budget a flat area gets in Y, Cb and Cr: a tint shows more than a shade."""
TEXTURED = 0.08
"""The local standard deviation of luma, on [0, 1], from which an area hides the whole budget."""


def visibility_mask(face: Tensor, colour: float = 1.0) -> Tensor:
    """(N, 3, S/2, S/2) in [0, 1] for a face (N, 3, S, S) in [0, 1]: how much of the budget each place hides.

    Texture masks: the local standard deviation of luma over 5 x 5 pixels, as just-noticeable-difference models use it.
    `colour` is the share that Cb and Cr get in textured areas.
    """
    luma = 0.299 * face[:, 0:1] + 0.587 * face[:, 1:2] + 0.114 * face[:, 2:3]
    mean = F.avg_pool2d(luma, 5, 1, 2, count_include_pad=False)
    spread = (F.avg_pool2d(luma * luma, 5, 1, 2, count_include_pad=False) - mean * mean).clamp(min=0.0).sqrt()
    texture = (F.avg_pool2d(spread, 2) / TEXTURED).clamp(max=1.0)
    shares = zip(FLAT_SHARE, (1.0, colour, colour), strict=True)
    return torch.cat([flat + (textured - flat) * texture for flat, textured in shares], 1)


HEAD_OVAL = (0.6, 0.85)
"""Radii, in half sides of the guard region, between which the budget falls from all to nothing."""
OVAL_ASPECT = 0.9
"""The oval's width over its height."""


def oval(size: int) -> Tensor:
    """(size, size): 1 over the head, falling to 0 around it.

    A perturbation moves with its face. What of it lies on a background that stands still costs bits in every picture
    and disrupts little: on a clip of that kind the oval took the bit rate from 1.21 to 1.07 times the plain one's.
    """
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    radius = ((axis[None, :] / OVAL_ASPECT).square() + axis[:, None].square()).sqrt()
    inner, outer = HEAD_OVAL
    return ((outer - radius) / (outer - inner)).clamp(0, 1)


def shrink(rgb: Tensor, size: int) -> Tensor:
    """A square picture at `size` px, anti-aliased: as the runtime's swscale hands it to P."""
    return F.interpolate(rgb, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


def _conv(cin: int, cout: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(cin, cout, 3, stride, 1), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1), nn.ReLU(), nn.Conv2d(channels, channels, 3, 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class Disrupter(nn.Module):
    """P(x): face (N, 3, 128, 128) RGB in [0, 1] to delta (N, 3, 64, 64), YCbCr levels / 255, |delta| <= epsilon.

    In flat areas and around the head the bound is lower: `visibility_mask`, `oval`. No face's PSNR (`head_rms`) is
    under `psnr_db`: what P draws beyond that is scaled down, face by face.
    """

    def __init__(self, epsilon: float = 16 / 255, width: int = 32, psnr_db: float = 36.5, colour: float = 1.0) -> None:
        super().__init__()
        w1, w2, w3 = width, width * 2, width * 3
        self.epsilon, self.psnr_db, self.colour = epsilon, psnr_db, colour
        self.stem = nn.Sequential(_conv(12, w1), _conv(w1, w1))
        self.down1 = nn.Sequential(_conv(w1, w2, 2), Residual(w2))
        self.down2 = nn.Sequential(_conv(w2, w3, 2), Residual(w3), Residual(w3))
        self.context = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(w3, w3, 1), nn.ReLU(), nn.Conv2d(w3, w3, 1))
        self.up2 = _conv(w3 + w2, w2)
        self.up1 = _conv(w2 + w1, w1)
        self.head = nn.Conv2d(w1, 3, 3, 1, 1)

    def forward(self, face: Tensor) -> Tensor:
        return self.hold(self.draw(face))

    def hold(self, drawn: Tensor) -> Tensor:
        """`drawn` as a delta within `psnr_db`. The rms is taken in units of epsilon: half precision can square them."""
        limit = drawn.new_tensor(rms_of_psnr(self.psnr_db) / self.epsilon)
        share = limit / (limit + F.relu(head_rms(drawn) - limit))
        return self.epsilon * drawn * share.reshape(-1, 1, 1, 1)

    def draw(self, face: Tensor) -> Tensor:
        """(N, 3, 64, 64) in [-1, 1]: the delta in units of epsilon, before it is held to `psnr_db`."""
        a = self.stem(F.pixel_unshuffle(face * 2 - 1, 2))
        b = self.down1(a)
        c = self.down2(b)
        c = c + self.context(c)
        b = self.up2(torch.cat([F.interpolate(c, scale_factor=2.0, mode="nearest"), b], 1))
        a = self.up1(torch.cat([F.interpolate(b, scale_factor=2.0, mode="nearest"), a], 1))
        where = oval(int(a.shape[-1])).to(a)
        return where * visibility_mask(face, self.colour) * torch.tanh(self.head(a))
