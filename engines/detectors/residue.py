"""A ResNet-18 with a small network beside it that sees only what a blur takes from the picture, at full resolution.

Perturbations lie where pictures have little: in the high-pass residue, from which steganalysis takes its features
(Fridrich and Kodovsky, IEEE TIFS 2012). The ResNet's first layers, a stride of four, are slow to find them there.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .resnet import BasicBlock, ResNet

BESIDE = "residue"
"""The part that a ResNet-18 lacks: its parameters' names begin with this."""
MAGNIFIED = 2.0
CHANNELS = 64


class ResidueResNet(ResNet):
    """Image (N, 3, H, W), ImageNet-normalised, to class scores (N, 2): the sum of what both networks say.

    Until it has learned something it answers as the ResNet-18 of the same weights.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__(BasicBlock, (2, 2, 2, 2), width)
        self.residue = nn.Sequential(
            *_layer(3, 24, 1),
            *_layer(24, 32, 2),
            *_layer(32, CHANNELS, 2),
            *_layer(CHANNELS, CHANNELS, 2),
        )
        self.residue_fc = nn.Linear(CHANNELS, 2)
        nn.init.zeros_(self.residue_fc.weight)
        nn.init.zeros_(self.residue_fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        blurred = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return super().forward(x) + self.residue_fc(self.residue(MAGNIFIED * (x - blurred)).mean((2, 3)))


def _layer(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()
