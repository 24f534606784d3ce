"""ResNet-18 and ResNet-50 (He et al., CVPR 2016, https://arxiv.org/abs/1512.03385; key names of torchvision, BSD-3).

The stride of a bottleneck is in its 3x3 convolution, as in torchvision ("v1.5"), not in the first 1x1 as in the paper.
A width multiplier is added; the head has two classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import scaled


def _norm_conv(cin: int, cout: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (ResNet-18)."""

    expansion = 1

    def __init__(self, cin: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _norm_conv(cin, planes, 3, stride), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = _norm_conv(planes, planes, 3), nn.BatchNorm2d(planes)
        if stride != 1 or cin != planes:
            self.downsample = nn.Sequential(_norm_conv(cin, planes, 1, stride), nn.BatchNorm2d(planes))
        else:
            self.downsample = nn.Sequential()
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.bn1(self.conv1(x)))
        return self.act(self.bn2(self.conv2(h)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions, four times as wide at the end (ResNet-50)."""

    expansion = 4

    def __init__(self, cin: int, planes: int, stride: int) -> None:
        super().__init__()
        cout = planes * self.expansion
        self.conv1, self.bn1 = _norm_conv(cin, planes, 1), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = _norm_conv(planes, planes, 3, stride), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = _norm_conv(planes, cout, 1), nn.BatchNorm2d(cout)
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(_norm_conv(cin, cout, 1, stride), nn.BatchNorm2d(cout))
        else:
            self.downsample = nn.Sequential()
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.bn1(self.conv1(x)))
        h = self.act(self.bn2(self.conv2(h)))
        return self.act(self.bn3(self.conv3(h)) + self.downsample(x))


class ResNet(nn.Module):
    """Image (N, 3, H, W), ImageNet-normalised, to class scores (N, classes). `width=1` is the published size."""

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], layers: tuple[int, ...], width: float = 1.0, classes: int = 2
    ) -> None:
        super().__init__()
        cin = scaled(64, width)
        self.conv1, self.bn1 = nn.Conv2d(3, cin, 7, 2, 3, bias=False), nn.BatchNorm2d(cin)
        self.act = nn.ReLU()
        self.stages: list[str] = []
        for k, count in enumerate(layers):
            planes = scaled(64 * 2**k, width)
            stride = 1 if k == 0 else 2
            blocks = [block(cin, planes, stride)]
            cin = planes * block.expansion
            blocks += [block(cin, planes, 1) for _ in range(1, count)]
            self.stages.append(f"layer{k + 1}")
            self.add_module(self.stages[-1], nn.Sequential(*blocks))
        self.fc = nn.Linear(cin, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> Tensor:
        """The last feature map, (N, C, H/32, W/32)."""
        h = F.max_pool2d(self.act(self.bn1(self.conv1(x))), 3, 2, 1)
        for name in self.stages:
            h = self.get_submodule(name)(h)
        return h

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean((2, 3)))


def resnet18(width: float = 1.0) -> ResNet:
    return ResNet(BasicBlock, (2, 2, 2, 2), width)


def resnet50(width: float = 1.0) -> ResNet:
    return ResNet(Bottleneck, (3, 4, 6, 3), width)


def layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same keys for torchvision's files and for FaceForensics++'s TransferModel (`model.`, `fc.1` with dropout)."""
    named = {key.removeprefix("module.").removeprefix("model."): value for key, value in state.items()}
    return {key.replace("fc.1.", "fc."): value for key, value in named.items()}
