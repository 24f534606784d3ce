"""The dense motion network: from sparse key-point motion to a flow for every pixel, and what it can't show."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import AntiAliasInterpolation2d, Hourglass
from .geometry import KeyPoints, coordinate_grid, inverse_2x2, kp2gaussian


class DenseMotion(NamedTuple):
    """`deformation` (N, h, w, 2) in [-1, 1] says where each pixel comes from; `occlusion_map` (N, 1, h, w) in (0, 1)
    how far the source shows it. `mask` (N, K + 1, h, w) chooses between background and key points, `sparse_deformed`
    (N, K + 1, 3, h, w) is the source moved by each alone.
    """

    sparse_deformed: Tensor
    mask: Tensor
    deformation: Tensor
    occlusion_map: Tensor


class DenseMotionNetwork(nn.Module):
    def __init__(
        self,
        block_expansion: int = 64,
        num_kp: int = 10,
        max_features: int = 1024,
        num_blocks: int = 5,
        scale_factor: float = 0.25,
        kp_variance: float = 0.01,
        num_channels: int = 3,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        inputs = (num_kp + 1) * (num_channels + 1)
        self.hourglass = Hourglass(block_expansion, inputs, num_blocks, max_features)
        self.mask = nn.Conv2d(self.hourglass.out_filters, num_kp + 1, 7, padding=3)
        self.occlusion = nn.Conv2d(self.hourglass.out_filters, 1, 7, padding=3)
        self.num_kp, self.kp_variance, self.align_corners = num_kp, kp_variance, align_corners
        self.down = AntiAliasInterpolation2d(num_channels, scale_factor) if scale_factor != 1 else nn.Identity()

    def heatmaps(self, source: KeyPoints, driving: KeyPoints, height: int, width: int) -> Tensor:
        """(N, K + 1, H, W): driving minus source Gaussians; the background's channel, the first, is zero."""
        heat = kp2gaussian(driving.value, height, width, self.kp_variance)
        heat = heat - kp2gaussian(source.value, height, width, self.kp_variance)
        return F.pad(heat, (0, 0, 0, 0, 1, 0))

    def sparse_motions(self, source: KeyPoints, driving: KeyPoints, height: int, width: int) -> Tensor:
        """(N, K + 1, H, W, 2): eq. 4 of the paper around each key point; the identity first, for the background."""
        identity = coordinate_grid(height, width, source.value)
        offset = identity - driving.value[:, :, None, None, :]
        turn = source.jacobian @ inverse_2x2(driving.jacobian)
        moved = (turn[:, :, None, None] * offset[..., None, :]).sum(-1) + source.value[:, :, None, None, :]
        background = identity + torch.zeros_like(moved[:, :1])  # not `expand`: an exported graph would fix the batch
        return torch.cat([background, moved], 1)

    def deformed_sources(self, image: Tensor, motions: Tensor) -> Tensor:
        """(N, K + 1, 3, H, W): the image warped by each of the motions (N, K + 1, H, W, 2)."""
        n, k, height, width, _ = motions.shape
        repeated = image[:, None].expand(-1, k, -1, -1, -1).reshape(n * k, -1, height, width)
        flow = motions.reshape(n * k, height, width, 2)
        return F.grid_sample(repeated, flow, align_corners=self.align_corners).view(n, k, -1, height, width)

    def forward(self, image: Tensor, source: KeyPoints, driving: KeyPoints) -> DenseMotion:
        image = self.down(image)
        height, width = image.shape[2:]
        heat = self.heatmaps(source, driving, height, width)
        motions = self.sparse_motions(source, driving, height, width)
        deformed = self.deformed_sources(image, motions)
        features = self.hourglass(torch.cat([heat[:, :, None], deformed], 2).flatten(1, 2))
        mask = torch.softmax(self.mask(features), 1)
        deformation = (motions * mask[..., None]).sum(1)
        return DenseMotion(deformed, mask, deformation, torch.sigmoid(self.occlusion(features)))
