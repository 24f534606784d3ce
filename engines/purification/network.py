"""The U-Net of Deep Image Prior (Ulyanov, Vedaldi, Lempitsky, CVPR 2018, https://arxiv.org/abs/1711.10925), many at
once.

An hourglass of strided convolutions, batch norm, leaky ReLU and bilinear upsampling with narrow skips, as fooling
detectors uses it: channels 8 to 128, skips of 4 at the two deepest levels, a sigmoid at the end. Every image has a
network of its own. B of them are one network here: image b owns channels b C to (b + 1) C, convolutions have B groups,
and batch norm over one picture is what the published code has with a batch of one. So a batch gives what B runs give.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DEPTH = 32
"""Channels of the fixed noise that the network draws from; FAST_DEPTH saves a third of the time at 64 px."""
FAST_DEPTH = 8
PAPER_CHANNELS = (8, 16, 32, 64, 128)
PAPER_SKIPS = (0, 0, 0, 4, 4)
FAST_CHANNELS = (8, 16, 32)
FAST_SKIPS = (0, 4, 4)


def _conv(images: int, cin: int, cout: int, kernel: int, stride: int = 1) -> nn.Module:
    return nn.Conv2d(images * cin, images * cout, kernel, stride, kernel // 2, padding_mode="reflect", groups=images)


def _block(images: int, cin: int, cout: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(_conv(images, cin, cout, kernel, stride), nn.BatchNorm2d(images * cout), nn.LeakyReLU(0.2))


class _Level(nn.Module):
    """Down, what is deeper, up again; beside it the skip. Input and output belong to this level's resolution."""

    def __init__(self, images: int, cin: int, channels: tuple[int, ...], skips: tuple[int, ...]) -> None:
        super().__init__()
        here, skip = channels[0], skips[0]
        self.images = images
        self.skip = _block(images, cin, skip, 1) if skip else None
        self.down = nn.Sequential(_block(images, cin, here, 3, 2), _block(images, here, here, 3))
        self.deeper = _Level(images, here, channels[1:], skips[1:]) if channels[1:] else None
        below = channels[1] if channels[1:] else here
        self.norm = nn.BatchNorm2d(images * (skip + below))
        self.up = nn.Sequential(_block(images, skip + below, here, 3), _block(images, here, here, 1))

    def forward(self, x: Tensor) -> Tensor:
        deep = self.down(x)
        if self.deeper is not None:
            deep = self.deeper(deep)
        deep = F.interpolate(deep, size=x.shape[-2:], mode="bilinear", align_corners=False)
        if self.skip is not None:
            deep = _beside(self.skip(x), deep, self.images)
        return self.up(self.norm(deep))


def _beside(a: Tensor, b: Tensor, images: int) -> Tensor:
    """Concatenate channels image by image."""
    parts = (t.unflatten(1, (images, -1)) for t in (a, b))
    return torch.cat(list(parts), 2).flatten(1, 2)


class PriorNetwork(nn.Module):
    """f(theta, z) of eq. 11 for `images` pictures: noise (1, images * depth, S, S) to (images, 3, S, S) in [0, 1]."""

    def __init__(
        self,
        images: int,
        channels: tuple[int, ...] = PAPER_CHANNELS,
        skips: tuple[int, ...] = PAPER_SKIPS,
        depth: int = DEPTH,
    ) -> None:
        super().__init__()
        if images < 1 or len(channels) != len(skips) or not channels:
            raise ValueError(f"one or more images and as many skips as channels, got {images}, {channels}, {skips}")
        self.images = images
        self.body = _Level(images, depth, channels, skips)
        self.last = _conv(images, channels[0], 3, 1)

    def forward(self, noise: Tensor) -> Tensor:
        out = torch.sigmoid(self.last(self.body(noise)))
        return out.unflatten(1, (self.images, 3)).squeeze(0)


def noise(images: int, size: int, rng: torch.Generator, depth: int = DEPTH) -> Tensor:
    """(1, images * depth, size, size), uniform up to 1/10, as in the published code."""
    return torch.rand(1, images * depth, size, size, generator=rng) / 10
