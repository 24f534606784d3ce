"""How much of a perturbation is seen: S-CIELAB (Zhang and Wandell, 1997) over the head, as one differentiable number.

A PSNR counts a tint of the lips like grain in the hair. S-CIELAB blurs a picture as the eye does, luma little and
colour much, before it takes the difference in CIELAB. The difference is CIE94's, and a face's is the 4-norm over its
head, so that the worst places count most: the mean over a head hides a lip that has turned green.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..data.heads import HEAD_SHARE
from .delivery import apply_unrounded, blurred, resize

SIZE = 128
"""The guard region is looked at at this many pixels: twice what the delta's grid can hold."""
DEGREES = 7.8
"""What the guard region of a face 256 px high subtends on a 1080p screen three picture heights away (441 px); of one
256 px wide it is some 600, and S-CIELAB would say about a fifteenth more."""
NORM = 4.0

_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_WHITE = (0.95047, 1.0, 1.08883)
_OPPONENT = ((0.2787, 0.7218, -0.1066), (-0.4488, 0.2898, 0.0772), (0.0860, -0.5900, 0.5011))
"""From XYZ to luma, red-green and blue-yellow (Poirson and Wandell)."""
_EYE = (
    ((0.921, 0.0283), (0.105, 0.133), (-0.108, 4.336)),
    ((0.531, 0.0392), (0.330, 0.494)),
    ((0.488, 0.0536), (0.371, 0.386)),
)
"""For each of these a sum of Gaussians exp(-(r / spread)^2): (weight, spread in degrees). P was trained while the
spread was taken for the standard deviation, which blurs more: its `seen=2.9` is 3.1 as it is read now."""
_WIDEST = 12
"""Sigma in pixels of SIZE: a wider blur is cut to that for its cost. On ten heads under P the mean then is 1 % less
than with the whole 50 pixels, and one was 9 % less."""


def seen(rgb: Tensor, delta: Tensor) -> Tensor:
    """(N,): difference between guard regions (N, 3, S, S) in [0, 1] and themselves under deltas (N, 3, G, G).

    In units of CIE94: about 1 is just seen side by side on a plain patch.
    """
    base = resize(rgb, SIZE)
    return (difference(base, apply_unrounded(base, delta)) ** NORM).mean((1, 2)) ** (1 / NORM)


def difference(base: Tensor, other: Tensor) -> Tensor:
    """(N, H, W): S-CIELAB with CIE94 over the heads of two sets of guard regions (N, 3, SIZE, SIZE) in [0, 1].

    The base is CIE94's standard, whose own colour says how much a change of it shows; it gets no gradient. Chroma's
    part of a change is taken along that colour, not as a difference of lengths: up to 2 % less on P's.
    """
    with torch.no_grad():
        standard = s_cielab(base)
    step = s_cielab(other) - standard
    chroma = standard[:, 1:].square().sum(1).sqrt()
    lightness = step[:, 0].square()
    change = (step[:, 1:].square().sum(1) + 1e-12).sqrt()
    along = (step[:, 1:] * standard[:, 1:]).sum(1) / (chroma + 1e-6)
    across = (change.square() - along.square()).clamp(min=0)
    total = lightness + (along / (1 + 0.045 * chroma)).square() + across / (1 + 0.015 * chroma).square()
    margin = round(SIZE * (1 - HEAD_SHARE) / 2)
    return (total + 1e-6).sqrt()[:, margin : SIZE - margin, margin : SIZE - margin]


def s_cielab(rgb: Tensor) -> Tensor:
    """sRGB (N, 3, SIZE, SIZE) in [0, 1] to CIELAB (D65) as the eye resolves it at DEGREES."""
    opponent = _matrix(rgb, _OPPONENT, _matrix(rgb, _XYZ, linear(rgb)))
    planes = [_eye(opponent[:, k : k + 1], parts) for k, parts in enumerate(_EYE)]
    back = torch.linalg.inv(rgb.new_tensor(_OPPONENT))
    return cielab(torch.einsum("ij,njhw->nihw", back, torch.cat(planes, 1)))


def _eye(plane: Tensor, parts: tuple[tuple[float, float], ...]) -> Tensor:
    scale = SIZE / DEGREES
    sigmas = [(weight, spread * scale / math.sqrt(2)) for weight, spread in parts]
    total = torch.stack([weight * blurred(plane, min(sigma, _WIDEST)) for weight, sigma in sigmas]).sum(0)
    return total / sum(weight for weight, _ in parts)


def linear(rgb: Tensor) -> Tensor:
    """sRGB's transfer function undone (IEC 61966-2-1)."""
    return torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def cielab(xyz: Tensor) -> Tensor:
    """XYZ (N, 3, H, W), white Y = 1, to L*, a*, b* (CIE 15)."""
    share = xyz / xyz.new_tensor(_WHITE).reshape(1, 3, 1, 1)
    f = torch.where(share > 0.008856, share.clamp(min=0.008856) ** (1 / 3), 7.787 * share + 16 / 116)
    return torch.cat([116 * f[:, 1:2] - 16, 500 * (f[:, 0:1] - f[:, 1:2]), 200 * (f[:, 1:2] - f[:, 2:3])], 1)


def _matrix(like: Tensor, rows: tuple[tuple[float, ...], ...], planes: Tensor) -> Tensor:
    return torch.einsum("ij,njhw->nihw", like.new_tensor(rows), planes)
