"""The occlusion-aware generator: encodes the source, warps its features by the dense motion, paints what is hidden."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import DownBlock2d, ResBlock2d, SameBlock2d, UpBlock2d
from .geometry import KeyPoints
from .motion import DenseMotion, DenseMotionNetwork


class Animated(NamedTuple):
    """`prediction` (N, 3, H, W) in (0, 1), `deformed` the source merely warped, and the motion behind both."""

    prediction: Tensor
    deformed: Tensor
    motion: DenseMotion


class OcclusionAwareGenerator(nn.Module):
    """Source (N, 3, H, W) in [0, 1] with its and the driving key points to `Animated`. Defaults: vox-256, 45.58 M."""

    def __init__(
        self,
        block_expansion: int = 64,
        num_kp: int = 10,
        max_features: int = 512,
        num_down_blocks: int = 2,
        num_bottleneck_blocks: int = 6,
        motion_block_expansion: int = 64,
        motion_max_features: int = 1024,
        motion_num_blocks: int = 5,
        motion_scale_factor: float = 0.25,
        kp_variance: float = 0.01,
        num_channels: int = 3,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.dense_motion_network = DenseMotionNetwork(
            motion_block_expansion,
            num_kp,
            motion_max_features,
            motion_num_blocks,
            motion_scale_factor,
            kp_variance,
            num_channels,
            align_corners,
        )
        widths = [min(max_features, block_expansion * 2**i) for i in range(num_down_blocks + 1)]
        self.first = SameBlock2d(num_channels, block_expansion, 7)
        self.down_blocks = nn.ModuleList(DownBlock2d(a, b) for a, b in pairwise(widths))
        up = widths[::-1]
        self.up_blocks = nn.ModuleList(UpBlock2d(a, b) for a, b in pairwise(up))
        self.bottleneck = nn.Sequential()
        for i in range(num_bottleneck_blocks):
            self.bottleneck.add_module(f"r{i}", ResBlock2d(widths[-1]))
        self.final = nn.Conv2d(block_expansion, num_channels, 7, padding=3)
        self.align_corners = align_corners

    def deform(self, x: Tensor, deformation: Tensor) -> Tensor:
        """`x` (N, C, H, W) sampled at the deformation (N, h, w, 2), which is scaled to H, W where it is smaller."""
        if deformation.shape[1:3] != x.shape[2:]:
            flow = F.interpolate(deformation.permute(0, 3, 1, 2), size=x.shape[2:], mode="bilinear")
            deformation = flow.permute(0, 2, 3, 1)
        return F.grid_sample(x, deformation, align_corners=self.align_corners)

    def forward(self, image: Tensor, source: KeyPoints, driving: KeyPoints) -> Animated:
        h = self.first(image)
        for block in self.down_blocks:
            h = block(h)
        motion = self.dense_motion_network(image, source, driving)
        h = self.deform(h, motion.deformation)
        shown = motion.occlusion_map
        if shown.shape[2:] != h.shape[2:]:
            shown = F.interpolate(shown, size=h.shape[2:], mode="bilinear")
        h = self.bottleneck(h * shown)
        for block in self.up_blocks:
            h = block(h)
        return Animated(torch.sigmoid(self.final(h)), self.deform(image, motion.deformation), motion)
