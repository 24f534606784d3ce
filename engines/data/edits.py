"""Edits painted through the parsing masks: the supervised targets of the StarGAN surrogate.

There are no attribute labels for the parsing set, so that each attribute becomes an edit that a person can see:
Black, Blond, Brown_Hair recolour the hair; Male 1 paints a beard shadow and darker brows, 0 paints the lips; Young 0
greys the hair and deepens the lines of the skin, 1 smooths and lightens it. 0.5 leaves Male or Young as they are.
Images are (N, 3, H, W) RGB in [0, 1], masks (N, H, W) of CelebAMask-HQ class indices.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SKIN, NOSE, BROWS, MOUTH, LIPS, HAIR = 1, 2, (6, 7), 10, (11, 12), 13

# Target luma, contrast kept, Cb and Cr of each hair colour.
HAIR_COLOURS = ((0.09, 0.45, 0.0, 0.0), (0.66, 0.9, -0.10, 0.045), (0.28, 0.8, -0.055, 0.055))
GREY_HAIR = (0.66, 0.8, 0.01, -0.005)
UNCHANGED = 0.5


def edit(rgb: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
    """Paint `condition` (N, 5) in the order of `stargan.ATTRIBUTES` on each image."""
    out = rgb
    hair = soft(mask, (HAIR,))
    for k, colour in enumerate(HAIR_COLOURS):
        out = _blend(out, recolour(rgb, hair, colour), hair * _on(condition[:, k]))
    no_colour = 1 - condition[:, :3].amax(1)
    male, young = condition[:, 3], condition[:, 4]
    out = _blend(out, recolour(rgb, hair, GREY_HAIR), 0.9 * hair * _on((young == 0) * no_colour))
    skin = soft(mask, (SKIN, NOSE))
    out = _blend(out, _lines(out), skin * _on(young == 0))
    out = _blend(out, _smooth(out), skin * _on(young == 1))
    beard = soft(mask, (SKIN,)) * beard_zone(mask)
    out = _blend(out, 0.30 * out + 0.05, 0.75 * beard * _on(male == 1))
    out = _blend(out, 0.35 * out, soft(mask, BROWS) * _on(male == 1))
    red = out.mean(1, keepdim=True) * out.new_tensor([1.5, 0.35, 0.5])[None, :, None, None]
    return _blend(out, red, 0.85 * soft(mask, LIPS) * _on(male == 0)).clamp(0, 1)


def recolour(rgb: Tensor, hair: Tensor, colour: tuple[float, float, float, float]) -> Tensor:
    """The image with the luma mean of the masked hair moved to the colour's, and its chroma replaced."""
    luma = _luma(rgb)
    mean = (luma * hair).sum((2, 3), keepdim=True) / hair.sum((2, 3), keepdim=True).clamp(min=1.0)
    y = (colour[0] + colour[1] * (luma - mean)).clamp(0.0, 1.0)
    cb, cr = colour[2] * (0.5 + y), colour[3] * (0.5 + y)
    return torch.cat([y + 1.402 * cr, y - 0.344 * cb - 0.714 * cr, y + 1.772 * cb], 1).clamp(0, 1)


def soft(mask: Tensor, classes: tuple[int, ...]) -> Tensor:
    """(N, 1, H, W) in [0, 1]: the given classes with a border three pixels soft."""
    hard = torch.zeros_like(mask, dtype=torch.float32)
    for k in classes:
        hard = hard + (mask == k)
    return F.avg_pool2d(hard[:, None], 3, 1, 1, count_include_pad=False)


def beard_zone(mask: Tensor) -> Tensor:
    """(N, 1, H, W): 1 below the middle of the lips and around them, fading in from the tip of the nose."""
    rows = torch.arange(mask.shape[1], device=mask.device, dtype=torch.float32)[None, :, None]
    top = _row_of(mask, (NOSE,), rows, 0.95)
    lips = _row_of(mask, (*LIPS, MOUTH), rows, 0.5)
    return ((rows - top) / (lips - top).clamp(min=2.0)).clamp(0, 1)[:, None].expand(-1, 1, -1, mask.shape[2])


def _row_of(mask: Tensor, classes: tuple[int, ...], rows: Tensor, share: float) -> Tensor:
    """(N, 1, 1): between the top (0) and the bottom (1) row of the classes; the last row where there is none."""
    there = torch.stack([mask == k for k in classes]).any(0)
    big = float(mask.shape[1])
    low = torch.where(there, rows, big).amin((1, 2), keepdim=True)
    high = torch.where(there, rows, -1.0).amax((1, 2), keepdim=True)
    return torch.where(high < 0, big, low + share * (high - low))


def _luma(rgb: Tensor) -> Tensor:
    return (rgb * rgb.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]).sum(1, keepdim=True)


def _on(flag: Tensor) -> Tensor:
    return flag.to(torch.float32)[:, None, None, None]


def _blend(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    return a + weight * (b - a)


def _lines(rgb: Tensor) -> Tensor:
    grey = rgb.mean(1, keepdim=True)
    base = 0.7 * rgb + 0.3 * grey
    return (0.92 * base + 1.4 * (grey - F.avg_pool2d(grey, 9, 1, 4, count_include_pad=False))).clamp(0, 1)


def _smooth(rgb: Tensor) -> Tensor:
    return 0.9 * F.avg_pool2d(rgb, 5, 1, 2, count_include_pad=False) + 0.11
