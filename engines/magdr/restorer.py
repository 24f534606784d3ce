"""The network that takes a perturbation back out of a head crop, as far as a generator would notice."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REACH = 0.5
"""The largest change of a value on [-1, 1]."""


def _conv(cin: int, cout: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(cin, cout, 3, stride, 1), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(channels, channels), nn.Conv2d(channels, channels, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class Restorer(nn.Module):
    """Image (N, 3, S, S) RGB in [-1, 1] to the same, restored; S is a multiple of 16. A residual U-Net."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        w1, w2, w3 = width, 2 * width, 3 * width
        self.stem = _conv(12, w1)
        self.down1 = nn.Sequential(_conv(w1, w2, 2), Residual(w2))
        self.down2 = nn.Sequential(_conv(w2, w3, 2), Residual(w3))
        self.down3 = nn.Sequential(_conv(w3, w3, 2), Residual(w3), Residual(w3))
        self.up2 = nn.Sequential(_conv(2 * w3, w3), Residual(w3))
        self.up1 = nn.Sequential(_conv(w3 + w2, w2), Residual(w2))
        self.up0 = nn.Sequential(_conv(w2 + w1, w1), Residual(w1))
        self.head = nn.Conv2d(w1, 12, 3, 1, 1)
        nn.init.zeros_(self.head.weight)  # begins by changing nothing
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        a = self.stem(F.pixel_unshuffle(image, 2))
        b = self.down1(a)
        c = self.down2(b)
        d = self.down3(c)
        c = self.up2(torch.cat([_doubled(d), c], 1))
        b = self.up1(torch.cat([_doubled(c), b], 1))
        a = self.up0(torch.cat([_doubled(b), a], 1))
        change = F.pixel_shuffle(self.head(a), 2)
        return (image + REACH * torch.tanh(change)).clamp(-1, 1)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
