"""Where a box lies on a picture's sample grid, and writable views of what is inside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import av

from ..types import Box
from .colour import Colour, colour_of
from .layouts import Component, Layout, Samples, component_samples, find_layout

_LARGEST_REGION = 16384


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


def described(picture: av.VideoFrame) -> tuple[Layout, Colour]:
    """The picture's layout and colour; raises ValueError for a format that `supports` refuses."""
    layout = find_layout(picture.format.name)
    colour = colour_of(picture, layout) if layout is not None else None
    if layout is None or colour is None:
        raise ValueError(
            f"pixel format {picture.format.name!r} (colour system {picture.colorspace}) can't be changed in place; "
            "convert the video to yuv420p first"
        )
    return layout, colour


def snap(layout: Layout, box: Box) -> Region:
    """The region for `box`, moved by at most a pixel, so that what is written is where it was read."""
    x0, x1 = _snap_span(box.x0, box.x1, max(2, layout.step_x))
    y0, y1 = _snap_span(box.y0, box.y1, max(2, layout.step_y))
    if max(x1 - x0, y1 - y0) > _LARGEST_REGION:
        raise ValueError(f"a region of {x1 - x0}x{y1 - y0} pixels is too large; at most {_LARGEST_REGION} a side")
    return Region(x0, y0, x1, y1)


def _snap_span(low: float, high: float, step: int) -> tuple[int, int]:
    """Side first, so that a box that only moves keeps its size, and with it what was computed for that size."""
    side = max(step, round((high - low) / step) * step)
    start = round((low + high - side) / (2 * step)) * step
    return start, start + side


def inside(picture: av.VideoFrame, layout: Layout, region: Region) -> Iterator[tuple[Component, Samples]]:
    """A writable view of each component's samples that lie in both region and picture; none if there are none."""
    for component in layout.components:
        samples = component_samples(picture, component)
        x = slice(max(0, region.x0 >> component.sub_x), max(0, region.x1 >> component.sub_x))
        y = slice(max(0, region.y0 >> component.sub_y), max(0, region.y1 >> component.sub_y))
        if samples[y, x].size:
            yield component, samples[y, x]
