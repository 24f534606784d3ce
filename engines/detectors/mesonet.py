"""MesoNet: Meso4 and MesoInception4 (Afchar et al., WIFS 2018, https://arxiv.org/abs/1809.00888).

The official Keras network (github.com/DariusAf/MesoNet, Apache-2.0) in torch. As there: convolution with bias, ReLU,
then batch norm (eps 1e-3), then pooling; LeakyReLU(0.1) between the dense layers; one logit, of REAL. Differences on
purpose: the flattening is over (channel, height, width), so that `keras.py` permutes fc1; `size` sets the input, 256
px when published.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-3
SLOPE = 0.1
SIZE = 256


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPS, momentum=0.01)


class _Head(nn.Module, ABC):
    """What both networks end in: 5x5 convolutions 3 and 4, and two dense layers."""

    def __init__(self, cin: int, size: int, width: int) -> None:
        super().__init__()
        self.conv3, self.bn3 = nn.Conv2d(cin, 16 * width, 5, padding=2), _norm(16 * width)
        self.conv4, self.bn4 = nn.Conv2d(16 * width, 16 * width, 5, padding=2), _norm(16 * width)
        self.fc1 = nn.Linear(16 * width * (size // 32) ** 2, 16)
        self.fc2 = nn.Linear(16, 1)
        self.dropout = nn.Dropout(0.5)

    @abstractmethod
    def early(self, x: Tensor) -> list[Tensor]:
        """The outputs of the first two pooled layers."""

    def pools(self, x: Tensor) -> list[Tensor]:
        """The four pooled feature maps, each (N, C, H, W)."""
        maps = self.early(x)
        maps.append(F.max_pool2d(self.bn3(F.relu(self.conv3(maps[-1]))), 2))
        maps.append(F.max_pool2d(self.bn4(F.relu(self.conv4(maps[-1]))), 4))
        return maps

    def dense(self, x: Tensor) -> Tensor:
        """(N, 16): the first dense layer before its LeakyReLU."""
        return self.fc1(self.dropout(self.pools(x)[-1].flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """Image (N, 3, S, S) in [0, 1] to scores (N, 2) of (fake, real); their softmax is the official sigmoid."""
        real = self.fc2(self.dropout(F.leaky_relu(self.dense(x), SLOPE)))
        return torch.cat([torch.zeros_like(real), real], 1)


class Meso4(_Head):
    """28 thousand parameters at `width` 1, the published one."""

    def __init__(self, size: int = SIZE, width: int = 1) -> None:
        super().__init__(8 * width, size, width)
        self.conv1, self.bn1 = nn.Conv2d(3, 8 * width, 3, padding=1), _norm(8 * width)
        self.conv2, self.bn2 = nn.Conv2d(8 * width, 8 * width, 5, padding=2), _norm(8 * width)

    def early(self, x: Tensor) -> list[Tensor]:
        first = F.max_pool2d(self.bn1(F.relu(self.conv1(x))), 2)
        return [first, F.max_pool2d(self.bn2(F.relu(self.conv2(first))), 2)]


class Inception(nn.Module):
    """Four branches beside each other: 1x1, and 3x3 at dilation 1, 2, 3 after a 1x1; a ReLU after each convolution."""

    def __init__(self, cin: int, a: int, b: int, c: int, d: int) -> None:
        super().__init__()
        self.b1 = nn.Conv2d(cin, a, 1)
        for k, width in ((2, b), (3, c), (4, d)):
            self.add_module(f"b{k}a", nn.Conv2d(cin, width, 1))
            self.add_module(f"b{k}b", nn.Conv2d(width, width, 3, padding=k - 1, dilation=k - 1))

    def forward(self, x: Tensor) -> Tensor:
        out = [F.relu(self.b1(x))]
        for k in (2, 3, 4):
            inner = F.relu(self.get_submodule(f"b{k}a")(x))
            out.append(F.relu(self.get_submodule(f"b{k}b")(inner)))
        return torch.cat(out, 1)


class MesoInception4(_Head):
    """28.6 thousand parameters at `width` 1, the published one."""

    def __init__(self, size: int = SIZE, width: int = 1) -> None:
        super().__init__(12 * width, size, width)
        self.inc1, self.bn1 = Inception(3, *(c * width for c in (1, 4, 4, 2))), _norm(11 * width)
        self.inc2, self.bn2 = Inception(11 * width, *(c * width for c in (2, 4, 4, 2))), _norm(12 * width)

    def early(self, x: Tensor) -> list[Tensor]:
        first = F.max_pool2d(self.bn1(self.inc1(x)), 2)
        return [first, F.max_pool2d(self.bn2(self.inc2(first)), 2)]
