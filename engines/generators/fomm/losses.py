"""What the surrogate learns from: a pyramid of differences, structure and edges, and equivariance of the key points.

The published perceptual loss needs VGG-19, which cannot be had here; SSIM and gradients stand in for it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .geometry import KeyPoints, inverse_2x2
from .warps import Warp

SCALES = 4
_C1, _C2 = 0.01**2, 0.03**2


def reconstruction(got: Tensor, wanted: Tensor, weight: Tensor | None = None) -> Tensor:
    """Over `SCALES` halvings: weighted L1 of values, L1 of gradients, and 1 - SSIM but at full size, where it is dear.

    Images (N, 3, H, W) in [0, 1], weight (N, 1, H, W).
    """
    total = got.new_zeros(())
    weight = torch.ones_like(wanted[:, :1]) if weight is None else weight
    for scale in range(SCALES):
        if scale:
            if min(got.shape[2:]) < 16:
                return total / scale
            got, wanted, weight = (F.avg_pool2d(x, 2) for x in (got, wanted, weight))
            total = total + 0.2 * (1 - ssim(got, wanted))
        total = total + ((got - wanted).abs() * weight).mean() + edges(got, wanted)
    return total / SCALES


def edges(got: Tensor, wanted: Tensor) -> Tensor:
    """The mean difference of horizontal and vertical gradients."""
    d = got - wanted
    return (d[..., 1:] - d[..., :-1]).abs().mean() + (d[..., 1:, :] - d[..., :-1, :]).abs().mean()


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean SSIM with a flat window of 7 x 7."""
    mean_a, mean_b = (F.avg_pool2d(x, 7, 1) for x in (a, b))
    var_a = F.avg_pool2d(a * a, 7, 1) - mean_a**2
    var_b = F.avg_pool2d(b * b, 7, 1) - mean_b**2
    cov = F.avg_pool2d(a * b, 7, 1) - mean_a * mean_b
    top = (2 * mean_a * mean_b + _C1) * (2 * cov + _C2)
    return (top / ((mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2))).mean()


def equivariance(kp: KeyPoints, warped: KeyPoints, warp: Warp) -> tuple[Tensor, Tensor]:
    """(values, jacobians): eq. 9 and 11. `warped` are the key points of `warp.frame` of the image of `kp`."""
    value = (kp.value - warp.places(warped.value)).abs().mean()
    product = inverse_2x2(kp.jacobian) @ (warp.jacobian(warped.value) @ warped.jacobian)
    jacobian = (torch.eye(2, device=product.device) - product).abs().mean()
    return value, jacobian
