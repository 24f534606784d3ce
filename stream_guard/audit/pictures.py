"""Pictures as a report carries them (JPEG inside a `data:` address) and as a generator takes them."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from .quality import Rgb

GAIN = 8
"""How much a shown difference is amplified."""
JPEG_QUALITY = 88


@dataclass(frozen=True)
class Picture:
    """One picture with its caption, as a `data:` address."""

    caption: str
    address: str
    width: int
    height: int


def picture(caption: str, rgb: Rgb, widest: int | None = None) -> Picture:
    """`rgb` (H, W, 3) as a JPEG, scaled down to at most `widest` pixels across."""
    image = Image.fromarray(rgb)
    if widest is not None and image.width > widest:
        image = image.resize((widest, max(1, round(image.height * widest / image.width))), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    address = "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")
    return Picture(caption, address, image.width, image.height)


def amplified(original: Rgb, other: Rgb) -> Rgb:
    """Other minus original, times `GAIN`, around mid-grey."""
    change = np.subtract(other, original, dtype=np.int16) * GAIN + 128
    return change.clip(0, 255).astype(np.uint8)


def to_rgb(image: npt.NDArray[np.float32]) -> Rgb:
    """(3, S, S) in [-1, 1] to (S, S, 3) in 8 bits."""
    levels: Rgb = np.rint((image.transpose(1, 2, 0).clip(-1, 1) + 1) * 127.5).astype(np.uint8)
    return levels


def from_rgb(rgb: Rgb) -> npt.NDArray[np.float32]:
    """(S, S, 3) in 8 bits to (3, S, S) in [-1, 1]."""
    planes: npt.NDArray[np.float32] = np.ascontiguousarray(rgb.transpose(2, 0, 1), dtype=np.float32)
    planes /= np.float32(127.5)
    planes -= np.float32(1)
    return planes
