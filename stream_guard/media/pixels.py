"""Read a region of a picture as RGB, and write a perturbation into the picture's own planes.

Both snap a region to the picture's chroma grid (even pixels for 4:2:0), by at most a pixel, so that what is written is
where it was read. Nothing outside the region is ever converted or touched.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter

from ..types import Box
from .colour import FULL, Colour, Grid, colour_of, readable_colour
from .layouts import Component, Layout, PlaneGeometry, Samples, component_samples, find_layout, plane_groups
from .upsampling import Weights, axis_weights, strips
from .versions import EXACT_SCALING, reformat

RGB = npt.NDArray[np.uint8]

FEATHER = 0.1
"""Share of a region's side over which a perturbation fades at each border; disrupters are trained with it."""
_LARGEST_REGION = 16384
# Weights and products in float32 are exact to a few units in 1e7: keep what is a tie from rounding beyond the budget.
_INSIDE = 1 - 2e-6


@dataclass(frozen=True, slots=True)
class Region:
    """A box snapped to the chroma grid, in whole luma pixels; x1 and y1 are exclusive, all may lie outside."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0


def supports(picture: av.VideoFrame) -> bool:
    """Whether the picture's pixel format and colour system can be read and changed in place."""
    layout = find_layout(picture.format.name)
    return layout is not None and colour_of(picture, layout) is not None


def snapped(picture: av.VideoFrame, box: Box) -> Region:
    """The region that `read_rgb` reads and `add_perturbation` writes for `box`."""
    return _snap(_described(picture)[0], box)


def read_rgb(picture: av.VideoFrame, box: Box, size: int) -> RGB:
    """The region `box` as full-range RGB (size, size, 3), scaled; beyond the picture its border is repeated.

    Uses the picture's own matrix, range and depth. Raises ValueError for a format that `supports` refuses.
    """
    layout, colour = _described(picture)
    region = _snap(layout, box)
    cut = av.VideoFrame(region.width, region.height, picture.format.name)
    for index, geometry in enumerate(layout.planes):
        _copy_region(plane_groups(picture, index, geometry), plane_groups(cut, index, geometry), region, geometry)
    return _to_array(_SCALER.to(cut, size, size, "rgb24", colour, EXACT_SCALING), 3)


def small_rgb(picture: av.VideoFrame, width: int, height: int) -> RGB:
    """The whole picture as full-range RGB (height, width, 3), scaled; of any format that swscale reads."""
    colour = readable_colour(picture)
    return _to_array(_SCALER.to(picture, width, height, "rgb24", colour, Interpolation.AREA), 3)


def whole_rgb(picture: av.VideoFrame) -> RGB:
    """The whole picture as full-range RGB (height, width, 3) at its own size, as exactly as `read_rgb`."""
    colour = readable_colour(picture)
    return _to_array(_SCALER.to(picture, picture.width, picture.height, "rgb24", colour, EXACT_SCALING), 3)


def small_luma(picture: av.VideoFrame, width: int, height: int) -> npt.NDArray[np.uint8]:
    """The whole picture's brightness (height, width), scaled: far cheaper than `small_rgb`."""
    colour = readable_colour(picture)
    return _to_array(_SCALER.to(picture, width, height, "gray", colour, Interpolation.AREA), 1)[:, :, 0]


def add_perturbation(
    picture: av.VideoFrame,
    box: Box,
    delta: Grid,
    strength: float = 1.0,
    epsilon: float = 8 / 255,
    feather: float = FEATHER,
) -> bool:
    """Add `strength * delta` to the region `box`, in place, and say whether any sample changed.

    `delta` (3, G, G) changes Y, Cb, Cr in full-range units (1.0 is black to white); it is spread bilinearly over the
    region and fades to nothing towards its border over `feather` of the side. After rounding no sample has changed by
    more than round(strength * epsilon * span), the span being 219, 224 or 255 for 8 bits: larger deltas are clipped.
    The result stays in the legal range; a sample already beyond it is never pulled in, nor pushed further out.

    The picture is made writable first, so frames that a decoder or another picture still refers to keep their pixels.
    Raises ValueError for a delta of another shape or not finite, and for a format that `supports` refuses.
    """
    if delta.ndim != 3 or delta.shape[0] != 3 or delta.shape[1] != delta.shape[2]:
        raise ValueError(f"delta has the shape {delta.shape}; (3, G, G) is needed: Y, Cb, Cr on a square grid")
    if not np.isfinite(delta).all():
        raise ValueError("delta holds NaN or infinite values")
    layout, colour = _described(picture)
    region = _snap(layout, box)
    picture.make_writable()
    changed = False
    for component, samples, rows, columns in _targets(picture, layout, region, delta.shape[1], feather):
        limit = strength * epsilon * _INSIDE
        coarse = (colour.to_component(delta, component.role) * strength).clip(-limit, limit)
        coarse = coarse.astype(np.float32) * np.float32(colour.span(component))
        lowest, highest = colour.legal(component)
        for first, end, values in strips(coarse, rows, columns):
            changed |= _add(samples[first:end], values, component, lowest, highest)
    return changed


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The samples of a region as they were, to hold the budget of several perturbations together."""

    region: Region
    samples: tuple[Samples, ...]


def snapshot(picture: av.VideoFrame, box: Box) -> Snapshot:
    """Keep a copy of the region's samples, before anything is written to them."""
    layout, _ = _described(picture)
    region = _snap(layout, box)
    return Snapshot(region, tuple(view.copy() for _, view in _inside(picture, layout, region)))


def hold_budget(picture: av.VideoFrame, before: Snapshot, budget: float) -> None:
    """Pull every sample of the region back to within round(budget * span) of what it was at the snapshot."""
    layout, colour = _described(picture)
    picture.make_writable()
    for (component, view), original in zip(_inside(picture, layout, before.region), before.samples, strict=True):
        reach = round(budget * colour.span(component)) << component.shift
        old = original.astype(np.int32)
        np.copyto(view, np.clip(view.astype(np.int32), old - reach, old + reach), casting="unsafe")


def _described(picture: av.VideoFrame) -> tuple[Layout, Colour]:
    layout = find_layout(picture.format.name)
    colour = colour_of(picture, layout) if layout is not None else None
    if layout is None or colour is None:
        raise ValueError(
            f"pixel format {picture.format.name!r} (colour system {picture.colorspace}) can't be changed in place; "
            "convert the video to yuv420p first"
        )
    return layout, colour


def _snap(layout: Layout, box: Box) -> Region:
    x0, x1 = _snap_span(box.x0, box.x1, max(2, layout.step_x))
    y0, y1 = _snap_span(box.y0, box.y1, max(2, layout.step_y))
    if max(x1 - x0, y1 - y0) > _LARGEST_REGION:
        raise ValueError(f"a region of {x1 - x0}x{y1 - y0} pixels is too large; at most {_LARGEST_REGION} a side")
    return Region(x0, y0, x1, y1)


def _snap_span(low: float, high: float, step: int) -> tuple[int, int]:
    """Side first, so that a box that only moves keeps its size, and with it the cached weights."""
    side = max(step, round((high - low) / step) * step)
    start = round((low + high - side) / (2 * step)) * step
    return start, start + side


def _targets(
    picture: av.VideoFrame, layout: Layout, region: Region, grid: int, feather: float
) -> Iterator[tuple[Component, Samples, Weights, Weights]]:
    """For each component: its samples inside region and picture, and the weights of these rows and columns."""
    for component, samples in _inside(picture, layout, region):
        step_x, step_y = 1 << component.sub_x, 1 << component.sub_y
        # 4:2:0 and 4:2:2 video has chroma at the left luma sample of each pair; JPEG's kind has it between them.
        cosited = component.sub_x > 0 and layout.full_range is None
        rows = axis_weights(region.height, step_y, False, grid, feather)
        columns = axis_weights(region.width, step_x, cosited, grid, feather)
        top, left = max(0, -region.y0 // step_y), max(0, -region.x0 // step_x)
        yield component, samples, rows[top : top + samples.shape[0]], columns[left : left + samples.shape[1]]


def _inside(picture: av.VideoFrame, layout: Layout, region: Region) -> Iterator[tuple[Component, Samples]]:
    """A writable view of each component's samples that lie in both region and picture; none if there are none."""
    for component in layout.components:
        samples = component_samples(picture, component)
        x = slice(max(0, region.x0 >> component.sub_x), max(0, region.x1 >> component.sub_x))
        y = slice(max(0, region.y0 >> component.sub_y), max(0, region.y1 >> component.sub_y))
        if samples[y, x].size:
            yield component, samples[y, x]


def _add(samples: Samples, values: Weights, component: Component, lowest: int, highest: int) -> bool:
    """Round `values` and add them to the raw samples, within [lowest, highest] or where the sample already was."""
    wide = np.int32 if component.depth > 14 else np.int16
    change = np.rint(values, out=values).astype(wide)
    if not (change.max() or change.min()):
        return False
    old = samples >> component.shift if component.shift else samples
    new = np.add(change, old, out=change, casting="unsafe", dtype=wide)
    if int(old.min()) < lowest or int(old.max()) > highest:
        np.maximum(new, np.minimum(old, lowest).astype(wide), out=new)
        np.minimum(new, np.maximum(old, highest).astype(wide), out=new)
    else:
        np.maximum(new, wide(lowest), out=new)
        np.minimum(new, wide(highest), out=new)
    if component.shift:
        np.copyto(samples, new.astype(samples.dtype) << component.shift, casting="unsafe")
    else:
        np.copyto(samples, new, casting="unsafe")
    return True


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
