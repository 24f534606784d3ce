"""What several detectors share: widths, and a pooling that exports."""

from __future__ import annotations

import torch
from torch import Tensor


def scaled(channels: int, width: float, step: int = 4) -> int:
    """`channels` at a width multiplier, a multiple of `step` and at least one; unchanged at the published width 1."""
    if width == 1.0:
        return channels
    return max(step, round(channels * width / step) * step)


def adaptive_pool(x: Tensor, rows: int, columns: int) -> Tensor:
    """(N, C, H, W) to (N, C, rows, columns): `adaptive_avg_pool2d` as two matrix products.

    ONNX has no adaptive pooling to a size that does not divide the input's.
    """
    return _shares(x.shape[-2], rows, x) @ x @ _shares(x.shape[-1], columns, x).T


def _shares(size: int, bins: int, like: Tensor) -> Tensor:
    """(bins, size): row k averages the samples from floor(k size / bins) to ceil((k + 1) size / bins)."""
    matrix = torch.zeros(bins, size)
    for k in range(bins):
        start, stop = k * size // bins, -(-(k + 1) * size // bins)
        matrix[k, start:stop] = 1 / (stop - start)
    return matrix.to(like)
