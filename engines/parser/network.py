"""The small face parser: a residual U-Net over a head crop of 128 px, for 19 classes in the order of CelebAMask-HQ.

Beside the masks it gives the features that MagDR's distances are taken of, so that one run serves both.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stream_guard.magdr.regions import CLASSES

SIZE = 128
OUTPUTS = ("masks", "low", "deep", "last")


class Residual(nn.Module):
    """Two 3x3 convolutions; the first may halve the size."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip = nn.Identity() if (inputs, stride) == (outputs, 1) else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.main(x) + self.skip(x))


class FaceParser(nn.Module):
    """RGB (N, 3, S, S) in [-1, 1] to class scores (N, 19, S, S); S is a multiple of 16. See `Parsing` for export."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        w = width
        self.stem = nn.Sequential(nn.Conv2d(3, w, 5, 2, 2, bias=False), nn.BatchNorm2d(w), nn.ReLU())
        self.down2 = Residual(w, w)
        self.down4 = Residual(w, 2 * w, 2)
        self.down8 = Residual(2 * w, 4 * w, 2)
        self.down16 = nn.Sequential(Residual(4 * w, 6 * w, 2), Residual(6 * w, 6 * w))
        self.context = nn.Linear(6 * w, 6 * w)
        self.up8 = Residual(6 * w + 4 * w, 4 * w)
        self.up4 = Residual(4 * w + 2 * w, 2 * w)
        self.up2 = Residual(2 * w + w, 3 * w // 2)
        self.scores = nn.Conv2d(3 * w // 2, len(CLASSES), 1)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(at a quarter, at a sixteenth, the layer before the last at a half)."""
        half = self.down2(self.stem(x))
        quarter = self.down4(half)
        eighth = self.down8(quarter)
        deep = self.down16(eighth)
        deep = deep + self.context(deep.mean((2, 3)))[:, :, None, None]
        up = self.up8(torch.cat([_doubled(deep), eighth], 1))
        up = self.up4(torch.cat([_doubled(up), quarter], 1))
        return quarter, deep, self.up2(torch.cat([_doubled(up), half], 1))

    def forward(self, x: Tensor) -> Tensor:
        return _doubled(self.scores(self.features(x)[2]))


class Parsing(nn.Module):
    """The parser as it is exported: masks (N, 19, S, S) that sum to 1, and three maps of features; see OUTPUTS."""

    def __init__(self, parser: FaceParser) -> None:
        super().__init__()
        self.parser = parser

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        low, deep, last = self.parser.features(x)
        return _doubled(self.parser.scores(last)).softmax(1), low, deep, last


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
