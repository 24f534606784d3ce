"""Meso4 and MesoInception4 as DeepfakeBench has them (github.com/SCLBD/DeepfakeBench, CC BY-NC 4.0): other networks.

No convolution has a bias, batch norm has torch's eps, norms are shared between layers, the branches of the inception
blocks have no activation, and two logits (real, fake) come out. The keys, spelling included, are theirs below the
prefix `backbone.`. Input (N, 3, 256, 256) in [-1, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZE = 256


def _conv(cin: int, cout: int, kernel: int, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=False)


class DfbMeso4(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(3, 8, 3), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = _conv(8, 8, 5), nn.BatchNorm2d(16)
        self.conv3, self.conv4 = _conv(8, 16, 5), _conv(16, 16, 5)
        self.fc1, self.fc2 = nn.Linear(16 * 8 * 8, 16), nn.Linear(16, 2)
        self.dropout = nn.Dropout(0.5)

    def features(self, x: Tensor) -> Tensor:
        """(N, 1024)."""
        h = F.max_pool2d(self.bn1(F.relu(self.conv1(x))), 2)
        h = F.max_pool2d(self.bn1(F.relu(self.conv2(h))), 2)
        h = F.max_pool2d(self.bn2(F.relu(self.conv3(h))), 2)
        return F.max_pool2d(self.bn2(F.relu(self.conv4(h))), 4).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.dropout(F.leaky_relu(self.fc1(self.dropout(self.features(x))), 0.1)))


class DfbMesoInception4(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for k, (cin, widths) in enumerate(((3, (1, 4, 4, 2)), (11, (2, 4, 4, 2))), 1):
            self.add_module(f"Incption{k}_conv1", _conv(cin, widths[0], 1))
            for branch, width in enumerate(widths[1:], 2):
                self.add_module(f"Incption{k}_conv{branch}_1", _conv(cin, width, 1))
                self.add_module(f"Incption{k}_conv{branch}_2", _conv(width, width, 3, branch - 1))
            self.add_module(f"Incption{k}_bn", nn.BatchNorm2d(sum(widths)))
        self.conv1, self.bn1 = _conv(12, 16, 5), nn.BatchNorm2d(16)
        self.conv2 = _conv(16, 16, 5)
        self.fc1, self.fc2 = nn.Linear(16 * 8 * 8, 16), nn.Linear(16, 2)
        self.dropout = nn.Dropout(0.5)

    def _inception(self, k: int, x: Tensor) -> Tensor:
        out = [self.get_submodule(f"Incption{k}_conv1")(x)]
        for branch in (2, 3, 4):
            inner = self.get_submodule(f"Incption{k}_conv{branch}_1")(x)
            out.append(self.get_submodule(f"Incption{k}_conv{branch}_2")(inner))
        return F.max_pool2d(self.get_submodule(f"Incption{k}_bn")(torch.cat(out, 1)), 2)

    def features(self, x: Tensor) -> Tensor:
        """(N, 1024)."""
        h = self._inception(2, self._inception(1, x))
        h = F.max_pool2d(self.bn1(F.relu(self.conv1(h))), 2)
        return F.max_pool2d(self.bn1(F.relu(self.conv2(h))), 4).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.dropout(F.leaky_relu(self.fc1(self.dropout(self.features(x))), 0.1)))


def layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix("module.").removeprefix("backbone."): value for key, value in state.items()}
