"""Distances of two pictures in numpy: Lp, MSE, PSNR, SSIM and cosine, as scikit-image and the papers define them.

Pictures are float arrays (..., H, W) or (..., C, H, W) of the same shape; `span` is the distance of black and white.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..errors import UsageError

Floats = npt.NDArray[np.floating]

SIGMA, RADIUS = 1.5, 5
K1, K2 = 0.01, 0.03
LUMA = (0.299, 0.587, 0.114)


def lp(a: Floats, b: Floats, p: float) -> float:
    """The p-norm of the difference over all values; `math.inf` is the largest one. Raises UsageError for p below 1."""
    if p < 1:
        raise UsageError(f"p is {p:g}; a norm needs 1 or more")
    difference = np.abs(_paired(a, b))
    if math.isinf(p):
        return float(difference.max(initial=0.0))
    return float((difference**p).sum() ** (1 / p))


def mse(a: Floats, b: Floats) -> float:
    return float(np.square(_paired(a, b)).mean())


def psnr_db(a: Floats, b: Floats, span: float) -> float:
    """In dB; infinite for equal pictures."""
    error = mse(a, b)
    return math.inf if error == 0 else 10 * math.log10(span**2 / error)


def cosine(a: Floats, b: Floats) -> float:
    """The cosine of the angle between two arrays as vectors; 1 where both are zero, 0 where one is."""
    x, y = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    _paired(x, y)
    norms = math.sqrt(float(x @ x) * float(y @ y))
    if norms == 0:
        return float(not x.any() and not y.any())
    return float(x @ y) / norms


def ssim(a: Floats, b: Floats, span: float) -> float:
    """The mean of `ssim_map` without its border of RADIUS pixels, as scikit-image has it.

    Raises UsageError below 11 pixels a side.
    """
    inner = ssim_map(a, b, span)[..., RADIUS:-RADIUS, RADIUS:-RADIUS]
    return float(inner.mean())


def ssim_map(a: Floats, b: Floats, span: float) -> Floats:
    """SSIM at each pixel (..., H, W) with an 11x11 Gaussian window of sigma 1.5, its borders mirrored."""
    _paired(a, b)
    if min(a.shape[-2:]) < 2 * RADIUS + 1:
        raise UsageError(f"SSIM needs {2 * RADIUS + 1} pixels a side, got {a.shape[-2:]}")
    mean_a, mean_b, square_a, square_b, product = blur(np.stack([a, b, a * a, b * b, a * b]))
    c1, c2 = (K1 * span) ** 2, (K2 * span) ** 2
    var_a, var_b = square_a - mean_a**2, square_b - mean_b**2
    above = (2 * mean_a * mean_b + c1) * (2 * (product - mean_a * mean_b) + c2)
    result: Floats = above / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return result


def luma(rgb: Floats) -> Floats:
    """(..., 3, H, W) to (..., H, W), BT.601."""
    weights = np.array(LUMA, rgb.dtype)
    result: Floats = np.einsum("...chw,c->...hw", rgb, weights)
    return result


def blur(image: Floats) -> Floats:
    """(..., H, W) under a Gaussian of sigma 1.5, mirrored at the border with its edge repeated."""
    return _along(_along(image, -1), -2)


def _along(image: Floats, axis: int) -> Floats:
    taps = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2)
    taps = (taps / taps.sum()).astype(image.dtype)
    widths = [(0, 0)] * image.ndim
    widths[axis] = (RADIUS, RADIUS)
    padded = np.moveaxis(np.pad(image, widths, mode="symmetric"), axis, -1)
    length = image.shape[axis]
    total = taps[0] * padded[..., :length]
    for k in range(1, len(taps)):
        total = total + taps[k] * padded[..., k : k + length]
    return np.moveaxis(total, -1, axis)


def _paired(a: Floats, b: Floats) -> Floats:
    if a.shape != b.shape:
        raise UsageError(f"two arrays are compared that differ in shape: {a.shape} and {b.shape}")
    difference: Floats = np.subtract(a, b, dtype=np.result_type(a, b, np.float32))
    return difference
