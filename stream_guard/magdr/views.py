"""What is compared: pictures with the features that the face parser makes of them, region by region (set D).

Every distance is a map over the picture, so that a soft mask can weigh it: eq. 4 of MagDR, the mean over a region.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import metrics
from .regions import Masks

Floats = npt.NDArray[np.float32]

METRICS = ("l1", "l2", "psnr", "ssim", "low", "deep", "last")
"""The set D. l1 and l2 (root mean square) on [-1, 1]; psnr as (60 - dB) / 60; ssim as 1 - SSIM on luma; low and deep:
squared distance of unit feature vectors of the parser's layers; last: 1 - cosine at its layer before the last."""

PEAK_DB = 60.0
_FLOOR = 4 * 10 ** (-PEAK_DB / 10)
"""The squared error on [-1, 1] below which PSNR counts as PEAK_DB."""


@dataclass(frozen=True)
class Views:
    """P pictures (P, 3, S, S) in [-1, 1] and the parser's features of them (P, C, S', S'), by layer."""

    images: Floats
    features: dict[str, Floats]

    def __len__(self) -> int:
        return len(self.images)


def region_distances(a: Views, b: Views, masks: Masks) -> npt.NDArray[np.float64]:
    """(P, N, len(METRICS)): how far `b` is from `a` within each of N soft masks (N, S, S) or (P, N, S, S)."""
    if masks.ndim == 3:
        masks = np.broadcast_to(masks, (len(a), *masks.shape))
    columns = [_of_pixels(a.images, b.images, masks)]
    for layer in ("low", "deep", "last"):
        apart = _apart(a.features[layer], b.features[layer])
        columns.append(_weighed(apart, _pooled(masks, apart.shape[-1]))[..., None])
    return np.concatenate(columns, -1)


def _of_pixels(a: Floats, b: Floats, masks: Masks) -> npt.NDArray[np.float64]:
    difference = a - b
    squared = _weighed(np.square(difference).mean(1), masks)
    similarity = metrics.ssim_map(metrics.luma(a), metrics.luma(b), 2.0)
    psnr = 10 * np.log10(4 / np.maximum(squared, _FLOOR))
    return np.stack(
        [
            _weighed(np.abs(difference).mean(1), masks),
            np.sqrt(squared),
            (PEAK_DB - psnr) / PEAK_DB,
            _weighed(1 - similarity, masks),
        ],
        -1,
    )


def _apart(a: Floats, b: Floats) -> Floats:
    """Half the squared distance of the unit vectors at each place, which is 1 - cosine: (P, S', S')."""
    norms = np.sqrt(np.square(a).sum(1) * np.square(b).sum(1))
    result: Floats = 1 - (a * b).sum(1) / np.maximum(norms, 1e-8)
    return result


def _weighed(maps: npt.NDArray[np.floating], masks: Masks) -> npt.NDArray[np.float64]:
    """The mean of each map (P, S, S) within each mask (P, N, S, S): (P, N); 0 for a mask that is empty."""
    sums = np.einsum("phw,pnhw->pn", maps, masks, dtype=np.float64)
    sizes = masks.sum((2, 3), dtype=np.float64)
    means: npt.NDArray[np.float64] = np.divide(sums, sizes, out=np.zeros_like(sums), where=sizes > 1e-3)
    return means


def _pooled(masks: Masks, side: int) -> Masks:
    factor = masks.shape[-1] // side
    pooled: Masks = masks.reshape(*masks.shape[:2], side, factor, side, factor).mean((3, 5))
    return pooled
