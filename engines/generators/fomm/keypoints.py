"""The key-point detector: where ten learned points lie, and how the plane turns and stretches around each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import AntiAliasInterpolation2d, Hourglass
from .geometry import KeyPoints, coordinate_grid


class KPDetector(nn.Module):
    """Image (N, 3, H, W) in [0, 1] to `KeyPoints`. The defaults are vox-256: 14.22 M parameters."""

    def __init__(
        self,
        block_expansion: int = 32,
        num_kp: int = 10,
        max_features: int = 1024,
        num_blocks: int = 5,
        temperature: float = 0.1,
        scale_factor: float = 0.25,
        num_channels: int = 3,
        pad: int = 0,
    ) -> None:
        super().__init__()
        self.predictor = Hourglass(block_expansion, num_channels, num_blocks, max_features)
        self.kp = nn.Conv2d(self.predictor.out_filters, num_kp, 7, padding=pad)
        self.jacobian = nn.Conv2d(self.predictor.out_filters, 4 * num_kp, 7, padding=pad)
        nn.init.zeros_(self.jacobian.weight)
        self.jacobian.bias = nn.Parameter(torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(num_kp))
        self.num_kp, self.temperature = num_kp, temperature
        self.down = AntiAliasInterpolation2d(num_channels, scale_factor) if scale_factor != 1 else nn.Identity()

    def heatmaps(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(features (N, C, h, w), heat maps (N, K, h', w') that sum to 1 each); h' = h - 6 without padding."""
        features = self.predictor(self.down(image))
        logits = self.kp(features)
        heat = torch.softmax(logits.flatten(2) / self.temperature, 2)
        return features, heat.view_as(logits)

    def forward(self, image: Tensor) -> KeyPoints:
        features, heat = self.heatmaps(image)
        grid = coordinate_grid(heat.shape[2], heat.shape[3], heat)
        value = (heat[..., None] * grid).sum((2, 3))
        maps = self.jacobian(features).view(-1, self.num_kp, 4, heat.shape[2], heat.shape[3])
        jacobian = (heat[:, :, None] * maps).sum((3, 4)).view(-1, self.num_kp, 2, 2)
        return KeyPoints(value, jacobian)
