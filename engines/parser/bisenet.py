"""BiSeNet (Yu et al., ECCV 2018) as zllrunning/face-parsing.PyTorch builds it (MIT): the parser that MagDR uses.

Key names and shapes are those of its `79999_iter.pth`. There is no spatial path: ResNet-18's features at an eighth take
its place. Differences on purpose: the constructor downloads nothing, ReLUs are not in place. Input: RGB in [0, 1], less
the ImageNet mean, over its standard deviation, officially at 512 px. Its order of classes is not CelebAMask-HQ's: see
`stream_guard.magdr.regions.FROM_BISENET`.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stream_guard.magdr.regions import FROM_BISENET

from ..generators.checkpoint import LoadReport, load_into, read_state_dict

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE = 512


class ConvBNReLU(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if inputs != outputs or stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu((x if self.downsample is None else self.downsample(x)) + residual)


class ResNet18(nn.Module):
    """(N, 3, H, W) to features at an eighth (128 channels), a sixteenth (256) and a thirty-second (512)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _layer(64, 64, 1)
        self.layer2 = _layer(64, 128, 2)
        self.layer3 = _layer(128, 256, 2)
        self.layer4 = _layer(256, 512, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.layer1(self.maxpool(F.relu(self.bn1(self.conv1(x)))))
        eighth = self.layer2(x)
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


def _layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs))


class AttentionRefinement(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(inputs, outputs)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        features = self.conv(x)
        return features * torch.sigmoid(self.bn_atten(self.conv_atten(_pooled(features))))


class ContextPath(nn.Module):
    """Features at an eighth of the image: ResNet's own, the context's, and the context's at a sixteenth."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResNet18()
        self.arm16 = AttentionRefinement(256, 128)
        self.arm32 = AttentionRefinement(512, 128)
        self.conv_head32 = ConvBNReLU(128, 128)
        self.conv_head16 = ConvBNReLU(128, 128)
        self.conv_avg = ConvBNReLU(512, 128, 1, 1, 0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        eighth, sixteenth, last = self.resnet(x)
        deep = self.arm32(last) + self.conv_avg(_pooled(last))
        deep = self.conv_head32(_nearest(deep, sixteenth))
        middle = self.conv_head16(_nearest(self.arm16(sixteenth) + deep, eighth))
        return eighth, middle, deep


class FeatureFusion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convblk = ConvBNReLU(256, 256, 1, 1, 0)
        self.conv1 = nn.Conv2d(256, 64, 1, bias=False)
        self.conv2 = nn.Conv2d(64, 256, 1, bias=False)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        features = self.convblk(torch.cat([detail, context], 1))
        attention = torch.sigmoid(self.conv2(F.relu(self.conv1(_pooled(features)))))
        return features * attention + features


class Output(nn.Module):
    def __init__(self, inputs: int, middle: int, classes: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(inputs, middle)
        self.conv_out = nn.Conv2d(middle, classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.conv(x))


class BiSeNet(nn.Module):
    """Image (N, 3, H, W) to three maps of scores (N, classes, H, W): the result and two that only training uses.

    Scores are in the order of the checkpoint, `regions.BISENET_CLASSES`; `parse` gives them in our own.
    """

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        self.cp = ContextPath()
        self.ffm = FeatureFusion()
        self.conv_out = Output(256, 256, classes)
        self.conv_out16 = Output(128, 64, classes)
        self.conv_out32 = Output(128, 64, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        detail, middle, deep = self.cp(x)
        scores = self.conv_out(self.ffm(detail, middle)), self.conv_out16(middle), self.conv_out32(deep)
        a, b, c = (F.interpolate(s, x.shape[2:], mode="bilinear", align_corners=True) for s in scores)
        return a, b, c

    def parse(self, rgb: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) RGB in [0, 1] to class probabilities (N, 19, H, W) in the order of CelebAMask-HQ."""
        mean, std = (rgb.new_tensor(v)[:, None, None] for v in (MEAN, STD))
        return self.forward((rgb - mean) / std)[0][:, FROM_BISENET].softmax(1)


def _pooled(x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


def _nearest(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="nearest")


def load_bisenet(network: BiSeNet, path: str | Path) -> LoadReport:
    """Load the public `79999_iter.pth` (a bare state_dict), with or without `module.` before its keys.

    Raises EngineError naming what is missing, extra or of another shape.
    """
    state = read_state_dict(path)
    return load_into(network, {key.removeprefix("module."): value for key, value in state.items()})
