"""Xception (Chollet, CVPR 2017, https://arxiv.org/abs/1610.02357) as FaceForensics++ and DeepfakeBench use it.

Key names of both (github.com/ondyari/FaceForensics, MIT-style; github.com/SCLBD/DeepfakeBench, CC BY-NC 4.0), below
their prefixes `model.` and `backbone.`. Differences on purpose: a width multiplier; ReLUs are not in place. As there,
the first two convolutions are not padded and a separable convolution has no norm or bias inside.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import scaled

FFPP_SIZE, DFB_SIZE = 299, 256


class SeparableConv2d(nn.Module):
    """A 3x3 convolution a channel, then 1x1 across channels."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cin, 3, 1, 1, groups=cin, bias=False)
        self.pointwise = nn.Conv2d(cin, cout, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.conv1(x))


class Block(nn.Module):
    """`reps` separable convolutions beside a skip; `rep` counts its ReLUs and its pooling as the official one does."""

    def __init__(self, cin: int, cout: int, reps: int, stride: int = 1, first_relu: bool = True, grow: int = 0) -> None:
        """`grow` is the separable convolution in which the channels grow."""
        super().__init__()
        if cout != cin or stride != 1:
            self.skip: nn.Conv2d | None = nn.Conv2d(cin, cout, 1, stride, bias=False)
            self.skipbn = nn.BatchNorm2d(cout)
        else:
            self.skip = None
        layers: list[nn.Module] = []
        for k in range(reps):
            into, out = (cin if k <= grow else cout), (cin if k < grow else cout)
            layers += [nn.ReLU(), SeparableConv2d(into, out), nn.BatchNorm2d(out)]
        if not first_relu:
            layers = layers[1:]
        if stride != 1:
            layers.append(nn.MaxPool2d(3, stride, 1))
        self.rep = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        side = x if self.skip is None else self.skipbn(self.skip(x))
        return self.rep(x) + side


class Xception(nn.Module):
    """Image (N, 3, S, S) in [-1, 1] to scores (N, 2) of (real, fake). `width=1` is published (20.8 M parameters).

    `adjust_channel` adds the layers that DeepfakeBench stores and never uses.
    """

    def __init__(self, width: float = 1.0, adjust_channel: bool = False) -> None:
        super().__init__()
        c32, c64, c128, c256, c728, c1024, c1536, c2048 = (
            scaled(c, width) for c in (32, 64, 128, 256, 728, 1024, 1536, 2048)
        )
        self.conv1, self.bn1 = nn.Conv2d(3, c32, 3, 2, 0, bias=False), nn.BatchNorm2d(c32)
        self.conv2, self.bn2 = nn.Conv2d(c32, c64, 3, bias=False), nn.BatchNorm2d(c64)
        self.block1 = Block(c64, c128, 2, 2, first_relu=False)
        self.block2 = Block(c128, c256, 2, 2)
        self.block3 = Block(c256, c728, 2, 2)
        for k in range(4, 12):
            self.add_module(f"block{k}", Block(c728, c728, 3))
        self.block12 = Block(c728, c1024, 2, 2, grow=1)
        self.conv3, self.bn3 = SeparableConv2d(c1024, c1536), nn.BatchNorm2d(c1536)
        self.conv4, self.bn4 = SeparableConv2d(c1536, c2048), nn.BatchNorm2d(c2048)
        self.last_linear = nn.Linear(c2048, 2)
        if adjust_channel:
            half = c2048 // 4
            self.adjust_channel = nn.Sequential(nn.Conv2d(c2048, half, 1), nn.BatchNorm2d(half), nn.ReLU())

    def features(self, x: Tensor) -> Tensor:
        """The last feature map before its ReLU, (N, 2048 width, S/32, S/32)."""
        h = F.relu(self.bn1(self.conv1(x)))
        h = F.relu(self.bn2(self.conv2(h)))
        for k in range(1, 13):
            h = self.get_submodule(f"block{k}")(h)
        h = F.relu(self.bn3(self.conv3(h)))
        return self.bn4(self.conv4(h))

    def pooled(self, x: Tensor) -> Tensor:
        return F.relu(self.features(x)).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.last_linear(self.pooled(x))


def layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """One set of names for the public files: without their prefixes, with or without dropout before the head.

    The 1x1 convolutions of the old ImageNet file have two axes and get the missing two.
    """
    out = {}
    for key, value in state.items():
        name = key.removeprefix("module.").removeprefix("model.").removeprefix("backbone.")
        name = name.replace("last_linear.1.", "last_linear.")
        out[name] = value[:, :, None, None] if name.endswith("pointwise.weight") and value.ndim == 2 else value
    return out
