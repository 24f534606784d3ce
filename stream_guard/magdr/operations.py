"""Image operations on 8-bit RGB (H, W, 3): what the consistency detector asks, and what the reconstructor tries.

They come from Pillow and scikit-image. All are deterministic; the one with noise draws it from the seed it is given.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter
from skimage import restoration

from ..errors import UnknownNameError

Rgb = npt.NDArray[np.uint8]


def none(rgb: Rgb, strength: float) -> Rgb:
    """As it is."""
    return rgb


def jpeg(rgb: Rgb, quality: float) -> Rgb:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=int(quality))
    return np.asarray(Image.open(buffer))


def gaussian(rgb: Rgb, sigma: float) -> Rgb:
    return _filtered(rgb, ImageFilter.GaussianBlur(sigma))


def median(rgb: Rgb, side: float) -> Rgb:
    return _filtered(rgb, ImageFilter.MedianFilter(int(side)))


def resize(rgb: Rgb, share: float) -> Rgb:
    """Down to a share of the sides and back up."""
    return _resampled(rgb, share, Image.Resampling.BILINEAR)


def depth(rgb: Rgb, bits: float) -> Rgb:
    """Fewer levels a colour, each in the middle of those that it stands for."""
    step = 256 >> int(bits)
    levels = rgb.astype(np.int16) // step * step + step // 2
    return levels.clip(0, 255).astype(np.uint8)


def noise(rgb: Rgb, levels: float, seed: int = 0) -> Rgb:
    """Gaussian noise with this standard deviation in 8-bit levels, the same for every picture of a size."""
    drawn = np.random.default_rng(seed).normal(0, levels, rgb.shape)
    return np.rint(rgb + drawn).clip(0, 255).astype(np.uint8)


def total_variation(rgb: Rgb, weight: float) -> Rgb:
    smooth = restoration.denoise_tv_chambolle(  # type: ignore[no-untyped-call]
        _unit(rgb), weight=weight, channel_axis=-1, max_num_iter=40
    )
    return _levels(smooth)


def bilateral(rgb: Rgb, sigma: float) -> Rgb:
    return _levels(restoration.denoise_bilateral(_unit(rgb), 5, sigma_color=sigma, sigma_spatial=1.5, channel_axis=-1))


def nl_means(rgb: Rgb, share: float) -> Rgb:
    """Non-local means; `share` is its cut-off h in units of the range."""
    return _levels(restoration.denoise_nl_means(_unit(rgb), 5, 5, h=share, fast_mode=True, channel_axis=-1))


def super_resolution(rgb: Rgb, share: float) -> Rgb:
    """Reduced by averaging, enlarged with Lanczos and sharpened: a resize in place of a network."""
    small = Image.fromarray(rgb).resize(_size(rgb, share), Image.Resampling.BOX)
    large = small.resize((rgb.shape[1], rgb.shape[0]), Image.Resampling.LANCZOS)
    return np.asarray(large.filter(ImageFilter.UnsharpMask(radius=1.5, percent=60, threshold=0)))


def sharpen(rgb: Rgb, percent: float) -> Rgb:
    return _filtered(rgb, ImageFilter.UnsharpMask(radius=1.5, percent=int(percent), threshold=0))


@dataclass(frozen=True)
class Category:
    """One kind of operation and the parameters P that are tried of it (Algorithm 1)."""

    name: str
    apply: Callable[..., Rgb]
    parameters: tuple[float, ...]


@dataclass(frozen=True)
class Method:
    """A category with one parameter: `method(rgb)`."""

    category: str
    parameter: float

    def __call__(self, rgb: Rgb) -> Rgb:
        return category(self.category).apply(rgb, self.parameter)

    def __str__(self) -> str:
        return self.category if self.category == "none" else f"{self.category} {self.parameter:g}"


CATEGORIES = (
    Category("none", none, (0.0,)),
    Category("median", median, (3, 5)),
    Category("gaussian", gaussian, (0.6, 1.0, 1.6)),
    Category("bilateral", bilateral, (0.05, 0.1, 0.2)),
    Category("total_variation", total_variation, (0.03, 0.08, 0.15)),
    Category("nl_means", nl_means, (0.03, 0.06, 0.1)),
    Category("jpeg", jpeg, (75, 50, 25)),
    Category("depth", depth, (5, 4, 3)),
    Category("resize", resize, (0.75, 0.5, 0.33)),
    Category("super_resolution", super_resolution, (0.75, 0.5)),
    Category("sharpen", sharpen, (30, 80)),
)

LAYERS: tuple[tuple[str, ...], ...] = (
    ("none", "median", "gaussian", "bilateral", "total_variation", "nl_means"),
    ("none", "jpeg", "depth", "resize"),
    ("none", "super_resolution", "sharpen"),
)
"""The layers B of Rec-Net in the order in which they run: smooth, quantise, restore what was lost."""


def category(name: str) -> Category:
    """Raises UnknownNameError listing those there are."""
    for one in CATEGORIES:
        if one.name == name:
            return one
    raise UnknownNameError("image operation", name, [c.name for c in CATEGORIES])


def consistency(rgb: Rgb, count: int, seed: int) -> list[Rgb]:
    """The first `count` (at most 8) of the pictures f_k(x) that eq. 7 asks for; the same for the same seed."""
    makers: tuple[Callable[[], Rgb], ...] = (
        lambda: gaussian(rgb, 1.0),
        lambda: jpeg(rgb, 35),
        lambda: median(rgb, 3),
        lambda: resize(rgb, 0.5),
        lambda: depth(rgb, 4),
        lambda: noise(rgb, 6, seed),
        lambda: jpeg(rgb, 70),
        lambda: gaussian(rgb, 0.6),
    )
    return [make() for make in makers[:count]]


def _filtered(rgb: Rgb, filter_: Any) -> Rgb:
    return np.asarray(Image.fromarray(rgb).filter(filter_))


def _resampled(rgb: Rgb, share: float, how: Image.Resampling) -> Rgb:
    return np.asarray(Image.fromarray(rgb).resize(_size(rgb, share), how).resize((rgb.shape[1], rgb.shape[0]), how))


def _size(rgb: Rgb, share: float) -> tuple[int, int]:
    return max(1, round(rgb.shape[1] * share)), max(1, round(rgb.shape[0] * share))


def _unit(rgb: Rgb) -> npt.NDArray[np.float32]:
    scaled: npt.NDArray[np.float32] = rgb.astype(np.float32) / np.float32(255)
    return scaled


def _levels(unit: npt.NDArray[np.floating]) -> Rgb:
    levels: Rgb = np.rint(unit * 255).clip(0, 255).astype(np.uint8)
    return levels
