"""What is read from and written to pictures' samples: RGB of a region or of a small copy; see also `perturbation`.

A region is snapped to the picture's chroma grid (even pixels for 4:2:0) as for `perturbation`, by at most a pixel, so
that what is written is where it was read. Nothing outside the region is converted.
"""

from __future__ import annotations

import threading

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter

from ..types import Box
from . import device
from .colour import FULL, Colour, readable_colour
from .layouts import PlaneGeometry, plane_groups
from .perturbation import FEATHER, Perturbation, add_perturbation, hold_budget, snapshot
from .regions import Region, described, snap, supports
from .versions import EXACT_SCALING, reformat

__all__ = [
    "FEATHER",
    "RGB",
    "Perturbation",
    "add_perturbation",
    "hold_budget",
    "read_rgb",
    "small_luma",
    "small_rgb",
    "snapped",
    "snapshot",
    "supports",
    "whole_rgb",
]

RGB = npt.NDArray[np.uint8]


def snapped(picture: av.VideoFrame, box: Box) -> Region:
    """The region that `read_rgb` reads and a perturbation is written to for `box`."""
    return snap(described(picture)[0], box)


def read_rgb(picture: av.VideoFrame, box: Box, size: int) -> RGB:
    """The region `box` as full-range RGB (size, size, 3), scaled; beyond the picture its border is repeated.

    Uses the picture's own matrix, range and depth. Raises ValueError for a format that `supports` refuses.
    """
    layout, colour = described(picture)
    region = snap(layout, box)
    cut = av.VideoFrame(region.width, region.height, picture.format.name)
    for index, geometry in enumerate(layout.planes):
        _copy_region(plane_groups(picture, index, geometry), plane_groups(cut, index, geometry), region, geometry)
    return _to_array(_SCALER.to(cut, size, size, "rgb24", colour, EXACT_SCALING), 3)


def small_rgb(picture: av.VideoFrame, width: int, height: int) -> RGB:
    """The whole picture as full-range RGB (height, width, 3), scaled; of any format that swscale reads.

    Of a picture on a device only the small copy is downloaded, where its format allows.
    """
    there = device.planes_of(picture) if device.lies_on_device(picture) else None
    if there is not None:
        return device.small_rgb(there, width, height)
    colour = readable_colour(picture)
    return _to_array(_SCALER.to(picture, width, height, "rgb24", colour, Interpolation.AREA), 3)


def whole_rgb(picture: av.VideoFrame) -> RGB:
    """The whole picture as full-range RGB (height, width, 3) at its own size, as exactly as `read_rgb`."""
    colour = readable_colour(picture)
    return _to_array(_SCALER.to(picture, picture.width, picture.height, "rgb24", colour, EXACT_SCALING), 3)


def small_luma(picture: av.VideoFrame, width: int, height: int) -> npt.NDArray[np.uint8]:
    """The whole picture's brightness (height, width), scaled: far cheaper than `small_rgb`. Devices as there."""
    there = device.planes_of(picture) if device.lies_on_device(picture) else None
    if there is not None:
        return device.small_luma(there, width, height)
    colour = readable_colour(picture)
    return _to_array(_SCALER.to(picture, width, height, "gray", colour, Interpolation.AREA), 1)[:, :, 0]


def _copy_region(source: RGB, target: RGB, region: Region, geometry: PlaneGeometry) -> None:
    """Fill `target` (rows, groups, bytes) from the region of `source`, repeating the border beyond the plane."""
    y0, x0 = region.y0 >> geometry.sub_y, region.x0 // geometry.pixels
    rows, columns = source.shape[:2]
    height, width = target.shape[:2]
    top, left = min(max(-y0, 0), height - 1), min(max(-x0, 0), width - 1)
    bottom, right = max(top + 1, min(height, rows - y0)), max(left + 1, min(width, columns - x0))
    ys, xs = min(max(y0, 0), rows - 1), min(max(x0, 0), columns - 1)
    target[top:bottom, left:right] = source[ys : ys + bottom - top, xs : xs + right - left]
    target[top:bottom, :left] = target[top:bottom, left : left + 1]
    target[top:bottom, right:] = target[top:bottom, right - 1 : right]
    target[:top] = target[top]
    target[bottom:] = target[bottom - 1]


class _Scaler(threading.local):
    """One swscale context for each size asked for, kept: each thread has its own, and each works on one thread."""

    def __init__(self) -> None:
        self.contexts: dict[tuple[int, int, str], VideoReformatter] = {}

    def to(
        self, picture: av.VideoFrame, width: int, height: int, format: str, colour: Colour, how: int
    ) -> av.VideoFrame:
        if len(self.contexts) > 16:
            self.contexts.clear()
        context = self.contexts.setdefault((width, height, format), VideoReformatter())
        ranges = (colour.sws_range, FULL)
        return reformat(context, picture, width, height, format, matrix=colour.sws_colorspace, ranges=ranges, how=how)


_SCALER = _Scaler()


def _to_array(picture: av.VideoFrame, channels: int) -> RGB:
    plane = picture.planes[0]
    lines = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)  # type: ignore[call-overload]
    cut: RGB = lines[: picture.height, : picture.width * channels].reshape(picture.height, picture.width, channels)
    copy: RGB = cut.copy()
    return copy  # where nothing had to be converted, the plane is the picture's own
