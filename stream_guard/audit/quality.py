"""How much the protected picture differs: PSNR over the whole clip, SSIM on luma, both on 8-bit full-range RGB."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from skimage.metrics import structural_similarity

from ..types import Box

Rgb = npt.NDArray[np.uint8]
"""(H, W, 3), full range."""
Difference = npt.NDArray[np.int16]
"""(H, W, 3), other minus original, in 8-bit levels."""

PEAK = 255.0
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
SSIM_SIGMA = 1.5
SSIM_WINDOW = 11


def difference(other: Rgb, original: Rgb) -> Difference:
    """`other - original` in 8-bit levels; both (H, W, 3) of the same size."""
    return np.subtract(other, original, dtype=np.int16)


def luma(rgb: npt.NDArray[np.uint8] | npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    """BT.601 luma (H, W) of full-range RGB, not rounded. Linear, so it may be taken of a difference as well."""
    return rgb @ LUMA


def pixels_of(box: Box, width: int, height: int) -> tuple[slice, slice] | None:
    """The rows and columns of a picture that lie in `box`, or None where the box misses the picture."""
    x0, x1 = max(0, math.floor(box.x0)), min(width, math.ceil(box.x1))
    y0, y1 = max(0, math.floor(box.y0)), min(height, math.ceil(box.y1))
    return (slice(y0, y1), slice(x0, x1)) if x1 > x0 and y1 > y0 else None


def ssim(original: Rgb, other: Rgb) -> float | None:
    """SSIM on luma as scikit-image computes it with an 11x11 Gaussian window; None below 11 pixels a side."""
    if min(original.shape[:2]) < SSIM_WINDOW:
        return None
    value = structural_similarity(  # type: ignore[no-untyped-call]
        luma(original),
        luma(other),
        data_range=PEAK,
        gaussian_weights=True,
        sigma=SSIM_SIGMA,
        use_sample_covariance=False,
    )
    return float(value)


def psnr_db(mse: float | None) -> float | None:
    """PSNR in dB of a mean squared error in 8-bit levels; None where there was nothing to measure or no difference."""
    return 10 * math.log10(PEAK**2 / mse) if mse else None


@dataclass
class SquaredError:
    """One mean squared error over all that is added, in RGB and in luma: the clip is one picture, not a mean of dBs."""

    rgb_sum: int = 0
    luma_sum: float = 0.0
    pixels: int = 0

    def add(self, difference: Difference) -> None:
        self.rgb_sum += int(np.square(difference, dtype=np.int32).sum(dtype=np.int64))
        self.luma_sum += float(np.square(luma(difference)).sum(dtype=np.float64))
        self.pixels += difference.shape[0] * difference.shape[1]

    @property
    def mse(self) -> float | None:
        return self.rgb_sum / (3 * self.pixels) if self.pixels else None

    @property
    def luma_mse(self) -> float | None:
        return self.luma_sum / self.pixels if self.pixels else None


@dataclass
class Mean:
    """A running mean that leaves out what could not be measured."""

    total: float = 0.0
    count: int = 0

    def add(self, value: float | None) -> None:
        if value is not None:
            self.total += value
            self.count += 1

    @property
    def value(self) -> float | None:
        return self.total / self.count if self.count else None


class Quality:
    """PSNR and SSIM of one kind of region over a clip."""

    def __init__(self) -> None:
        self.error = SquaredError()
        self.similarity = Mean()

    def summary(self, plain: Quality | None = None) -> dict[str, float | None]:
        """The figures to print; with a plain transcode, also the PSNR without that transcode's own loss."""
        figures = {
            "psnr_db": psnr_db(self.error.mse),
            "ssim": self.similarity.value,
            "luma_psnr_db": psnr_db(self.error.luma_mse),
        }
        if plain is not None:
            figures["net_psnr_db"] = psnr_db(_excess(self.error.mse, plain.error.mse))
            figures["reference_psnr_db"] = psnr_db(plain.error.mse)
        return figures


def _excess(mse: float | None, plain: float | None) -> float | None:
    return None if mse is None or plain is None or mse <= plain else mse - plain
