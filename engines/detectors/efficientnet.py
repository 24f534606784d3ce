"""EfficientNet-B4 (Tan and Le, ICML 2019, https://arxiv.org/abs/1905.11946) as DeepfakeBench's backbone has it.

Key names of efficientnet_pytorch 0.7.1 (Apache-2.0) below `efficientnet.`, and DeepfakeBench's changes: a plain,
unpadded stem convolution and the head `last_layer`. Padding is TensorFlow's "same", fixed for the nominal 380 px
whatever the input's size. Blocks run without drop-connect. Width and depth multipliers are relative to B4.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

NOMINAL = 380
EPS, MOMENTUM = 1e-3, 0.01
WIDTH, DEPTH = 1.4, 1.8
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""B0's stages: repeats, kernel, stride, expansion, channels."""


def channels(base: int, width: float) -> int:
    """B0's channels at a width coefficient: a multiple of 8, not below nine tenths of the exact value."""
    exact = base * width
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's padding before and after `size` samples."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class MBConv(nn.Module):
    """Expand, depthwise convolution, squeeze and excitation, project; a skip where the shape stays."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int, expand: int, nominal: int) -> None:
        super().__init__()
        wide, squeezed = cin * expand, max(1, cin // 4)
        if expand != 1:
            self._expand_conv = nn.Conv2d(cin, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, EPS, MOMENTUM)
        before, after = same_padding(nominal, kernel, stride)
        self.padding = (before, after, before, after)
        self._depthwise_conv = nn.Conv2d(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, EPS, MOMENTUM)
        self._se_reduce, self._se_expand = nn.Conv2d(wide, squeezed, 1), nn.Conv2d(squeezed, wide, 1)
        self._project_conv = nn.Conv2d(wide, cout, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(cout, EPS, MOMENTUM)
        self.expands, self.skips = expand != 1, stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        h = F.silu(self._bn0(self._expand_conv(x))) if self.expands else x
        h = F.silu(self._bn1(self._depthwise_conv(F.pad(h, self.padding))))
        gate = self._se_expand(F.silu(self._se_reduce(h.mean((2, 3), keepdim=True))))
        h = self._bn2(self._project_conv(gate.sigmoid() * h))
        return h + x if self.skips else h


class _Layers(nn.Module):
    """The parameters of the network under their public names; `EfficientNet` runs them."""

    def __init__(self, width: float, depth: float) -> None:
        super().__init__()
        cin, nominal = channels(32, width), NOMINAL // 2
        self._conv_stem = nn.Conv2d(3, cin, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(cin, EPS, MOMENTUM)
        self._blocks = nn.ModuleList()
        self.ends: list[int] = []
        self.widths: list[int] = []
        for repeats, kernel, stride, expand, base in STAGES:
            cout = channels(base, width)
            for k in range(math.ceil(round(repeats * depth, 6))):
                step = stride if k == 0 else 1
                self._blocks.append(MBConv(cin, cout, kernel, step, expand, nominal))
                cin, nominal = cout, -(-nominal // step)
            self.ends.append(len(self._blocks) - 1)
            self.widths.append(cout)
        self.final = channels(1280, width)
        self._conv_head = nn.Conv2d(cin, self.final, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(self.final, EPS, MOMENTUM)


class EfficientNet(nn.Module):
    """Image (N, 3, S, S) in [-1, 1] to scores (N, 2) of (real, fake). `width=depth=1` is B4."""

    def __init__(self, width: float = 1.0, depth: float = 1.0) -> None:
        super().__init__()
        self.efficientnet = _Layers(WIDTH * width, DEPTH * depth)
        self.last_layer = nn.Linear(self.efficientnet.final, 2)

    def stages(self, x: Tensor, swish: bool) -> list[Tensor]:
        """The feature maps after each of the seven stages, then the final one.

        `swish` applies the activation after the stem's and the head's norm, as EfficientNet does; DeepfakeBench's
        multi-attentional detector walks the children one by one and leaves both out.
        """
        net, out = self.efficientnet, []
        h = net._bn0(net._conv_stem(x))
        h = F.silu(h) if swish else h
        for k, block in enumerate(net._blocks):
            h = block(h)
            if k in net.ends:
                out.append(h)
        h = net._bn1(net._conv_head(h))
        out.append(F.silu(h) if swish else h)
        return out

    def classify(self, features: Tensor) -> Tensor:
        """(N, 2) from the final feature map."""
        return self.last_layer(features.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.stages(x, swish=True)[-1])
