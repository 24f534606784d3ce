"""A photograph as a printed comic: the other domain of the CycleGAN surrogate.

CycleGAN needs two domains and no pairs. The pack holds photographs only, so that the second domain is made from the
photographs of other people: surfaces flattened, lightness in a few steps, colours pushed to a print's cream, coral and
teal, dark lines where lightness falls off. Images are (N, 3, H, W) RGB in [0, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = 4
PRINT = ((0.07, 0.08, 0.22), (0.16, 0.38, 0.50), (0.93, 0.56, 0.42), (1.0, 0.82, 0.60), (1.0, 0.96, 0.84))
"""Colours of a print from dark to light, between which a grey picture would be coloured."""
INK = (0.05, 0.04, 0.12)


def comic(rgb: Tensor) -> Tensor:
    """The picture as a print; the radii are those of a head about 128 px wide."""
    flat = flatten(rgb, 3, 0.01)
    luma = _luma(flat)
    low, high = (torch.quantile(luma.flatten(1), q, 1)[:, None, None, None] for q in (0.02, 0.98))
    light = stepped(((luma - low) / (high - low).clamp(min=0.15)).clamp(0, 1))
    colour = 0.65 * ramp(light) + 0.35 * (light + 1.6 * (flat - luma)).clamp(0, 1)
    ink = lines(rgb)
    return (colour * (1 - ink) + colour.new_tensor(INK)[None, :, None, None] * ink).clamp(0, 1)


def flatten(image: Tensor, radius: int, epsilon: float) -> Tensor:
    """The guided filter (He et al. 2010) of an image by its own luma: smooth surfaces, edges kept."""
    guide = _luma(image)
    mean, guide_mean = _box(image, radius), _box(guide, radius)
    slope = (_box(image * guide, radius) - mean * guide_mean) / (_box(guide * guide, radius) - guide_mean**2 + epsilon)
    return _box(slope, radius) * guide + _box(mean - slope * guide_mean, radius)


def stepped(light: Tensor) -> Tensor:
    """STEPS levels with soft risers."""
    scaled = light * STEPS
    floor = scaled.floor()
    return (floor + torch.sigmoid((scaled - floor - 0.5) * 12)) / STEPS


def ramp(light: Tensor) -> Tensor:
    """(N, 1, H, W) in [0, 1] to (N, 3, H, W) along PRINT."""
    table = light.new_tensor(PRINT)
    at = light[:, 0] * (len(table) - 1)
    k = at.floor().clamp(max=len(table) - 2).long()
    share = (at - k)[..., None]
    return (table[k] * (1 - share) + table[k + 1] * share).permute(0, 3, 1, 2)


def lines(rgb: Tensor) -> Tensor:
    """(N, 1, H, W) in [0, 1]: ink where a point is darker than its surroundings."""
    luma = _luma(rgb)
    return torch.sigmoid((_box(luma, 4) - _box(luma, 1) - 0.06) * 60)


def _luma(rgb: Tensor) -> Tensor:
    return (rgb * rgb.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]).sum(1, keepdim=True)


def _box(image: Tensor, radius: int) -> Tensor:
    return F.avg_pool2d(image, 2 * radius + 1, 1, radius, count_include_pad=False)
