"""Multi-attentional deepfake detection (Zhao et al., CVPR 2021, https://arxiv.org/abs/2103.02406).

Key names of github.com/SCLBD/DeepfakeBench (CC BY-NC 4.0). EfficientNet-B4, four attention maps from stage 5, texture
features of stage 2 pooled under them, and the final features pooled under their sum. The official detector answers
with the backbone alone for its first 35,910 calls, because it counts them; here `backbone_only` says so. Differences
on purpose: no attention-guided augmentation and no regional independence loss in training.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import adaptive_pool, scaled
from .efficientnet import EfficientNet

SIZE = 256
FEATURE_STAGE, ATTENTION_STAGE = 2, 5


class AttentionMap(nn.Module):
    """(N, C, H, W) to attention maps (N, maps, H, W) >= 0, zero at the border."""

    mask: Tensor

    def __init__(self, channels: int, maps: int) -> None:
        super().__init__()
        mask = torch.zeros(1, 1, 24, 24)
        mask[:, :, 2:-2, 2:-2] = 1
        self.register_buffer("mask", mask)
        self.conv_extract, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, maps, 1, bias=False), nn.BatchNorm2d(maps)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv_extract(x)))
        h = F.elu(self.bn2(self.conv2(h))) + 1
        return h * F.interpolate(self.mask, h.shape[-2:], mode="nearest")


class TextureEnhance(nn.Module):
    """What pooling removes from shallow features, through a small dense block: (N, C, H, W) to (N, 4 C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(channels, channels, 1)
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels * 2, channels, 3, padding=1), nn.BatchNorm2d(channels * 2)
        self.conv3, self.bn3 = nn.Conv2d(channels * 3, channels, 3, padding=1), nn.BatchNorm2d(channels * 3)
        self.conv_last, self.bn4 = nn.Conv2d(channels * 4, channels * 4, 1), nn.BatchNorm2d(channels * 4)
        self.bn_last = nn.BatchNorm2d(channels * 4)

    def forward(self, x: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """(enhanced features, the pooled ones that were taken off)."""
        pooled = adaptive_pool(x, rows, columns)
        if x.shape[-2] > rows:
            x = x - F.interpolate(pooled, x.shape[-2:], mode="nearest")
        h = self.conv0(x)
        h = torch.cat([h, self.conv1(F.relu(self.bn1(h)))], 1)
        h = torch.cat([h, self.conv2(F.relu(self.bn2(h)))], 1)
        h = torch.cat([h, self.conv3(F.relu(self.bn3(h)))], 1)
        return self.bn_last(self.conv_last(F.relu(self.bn4(h)))), pooled


def under(features: Tensor, attention: Tensor) -> Tensor:
    """(N, M, C): features (N, C, H, W) summed under each attention map (N, M, h, w)."""
    if features.shape[-2:] != attention.shape[-2:]:
        attention = F.interpolate(attention, features.shape[-2:], mode="bilinear", align_corners=True)
    return attention.flatten(2) @ features.flatten(2).transpose(1, 2)


class MultiAttention(nn.Module):
    """Image (N, 3, S, S) in [-1, 1] to scores (N, 2) of (real, fake). `width=depth=1`, 256 px is published."""

    def __init__(self, width: float = 1.0, depth: float = 1.0, maps: int = 4, backbone_only: bool = False) -> None:
        super().__init__()
        self.backbone_only = backbone_only
        self.backbone = EfficientNet(width, depth)
        layers, mid = self.backbone.efficientnet, scaled(256, width)
        texture = layers.widths[FEATURE_STAGE - 1]
        self.attention_generation = AttentionMap(layers.widths[ATTENTION_STAGE - 1], maps)
        self.texture_enhance = TextureEnhance(texture)
        self.projection_local = nn.Sequential(
            nn.Linear(maps * texture * 4, mid), nn.Hardswish(), nn.Linear(mid, mid), nn.Hardswish()
        )
        self.projection_final = nn.Sequential(nn.Linear(layers.final, mid), nn.Hardswish())
        self.ensemble_classifier_fc = nn.Sequential(nn.Linear(mid * 2, mid), nn.Hardswish(), nn.Linear(mid, 2))
        self.dropout = nn.Dropout(0.25)

    def branches(self, x: Tensor) -> dict[str, Tensor]:
        """`stages` of the backbone that matter (b2, b5, final), `attention` maps and what texture pooling took off."""
        stages = self.backbone.stages(x, swish=False)
        attention = self.attention_generation(stages[ATTENTION_STAGE - 1])
        b2 = stages[FEATURE_STAGE - 1]
        texture, pooled = self.texture_enhance(b2, attention.shape[-2], attention.shape[-1])
        return {
            "b2": b2,
            "b5": stages[ATTENTION_STAGE - 1],
            "final": stages[-1],
            "attention": attention,
            "texture": texture,
            "pooled": pooled,
        }

    def forward(self, x: Tensor) -> Tensor:
        if self.backbone_only:
            return self.backbone.classify(self.backbone.stages(x, swish=False)[-1])
        return self.ensemble(self.branches(x))

    def ensemble(self, maps: dict[str, Tensor]) -> Tensor:
        """(N, 2) from the texture under each attention map and the final features under all of them."""
        attention = maps["attention"]
        local = F.normalize(under(maps["texture"], attention), dim=-1)
        local = self.projection_local(self.dropout(local).flatten(1))
        every = attention.sum(1, keepdim=True)
        # The official pooling divides by the attention summed at its own, interpolated size.
        weight = F.interpolate(every, maps["final"].shape[-2:], mode="bilinear", align_corners=True)
        whole = under(maps["final"], every).squeeze(1) / weight.sum((2, 3)).clamp(min=1e-6)
        whole = F.hardswish(self.projection_final(whole))
        return self.ensemble_classifier_fc(torch.cat([local, whole], 1))


def depth_of(width: float) -> float:
    """Slim versions are shallower too: B4's 32 blocks at the published width, B0's 16 from a quarter down."""
    return 1 / 1.8 + (1 - 1 / 1.8) * min(max((width - 0.25) / 0.75, 0.0), 1.0)


def layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix("module."): value for key, value in state.items()}
