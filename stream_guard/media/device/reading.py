"""Faces as a network takes them, and small copies of a picture, computed where the picture lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...torch_gate import Tensor, load_torch
from ...types import Box
from ..layouts import Component
from ..regions import Region, snap
from .planes import Planes, numbers

RGB = npt.NDArray[np.uint8]


def read_faces(planes: Planes, boxes: Sequence[Box], size: int) -> Tensor:
    """The regions of `boxes` as RGB (N, 3, size, size), float32 from 0 to 1 in whole levels of 255, as by `read_rgb`.

    On the planes' device; beyond the picture its border is repeated. The number of steps does not depend on N.
    """
    regions = [snap(planes.layout, box) for box in boxes]
    return _levels(planes, regions, size) / 255


def small_rgb(planes: Planes, width: int, height: int) -> RGB:
    """The whole picture as RGB (height, width, 3), averaged over areas; the only part of it that is downloaded."""
    small = [_area(samples, height, width) for samples in _values(planes)]
    rgb = _round(_to_rgb(planes, small).permute(1, 2, 0))
    made: RGB = rgb.to(load_torch().uint8).cpu().numpy()
    return made


def small_luma(planes: Planes, width: int, height: int) -> npt.NDArray[np.uint8]:
    """The whole picture's brightness (height, width), full range, averaged over areas."""
    luma = _area(_values(planes, 1)[0], height, width)
    made: npt.NDArray[np.uint8] = _round(luma * 255).to(load_torch().uint8).cpu().numpy()
    return made


def _levels(planes: Planes, regions: Sequence[Region], size: int) -> Tensor:
    """RGB levels (N, 3, size, size), whole numbers from 0 to 255."""
    scaled = []
    for component, samples in zip(planes.layout.components, planes.samples, strict=True):
        raw = _crops(component, samples, regions, size)
        scaled.append(_meaning(planes, component, raw))
    return _round(_to_rgb(planes, scaled)).movedim(0, 1)


def _crops(component: Component, samples: Tensor, regions: Sequence[Region], size: int) -> Tensor:
    """One component of each region, (N, size, size): gathered with its border repeated, then two products."""
    bounds = load_torch().tensor([[r.y0, r.y1, r.x0, r.x1] for r in regions], device=samples.device)
    upright, level = bounds[:, :2] >> component.sub_y, bounds[:, 2:] >> component.sub_x
    longest = max(max(r.height >> component.sub_y, r.width >> component.sub_x) for r in regions)
    rows, down = _axis(upright[:, 0], upright[:, 1], samples.shape[0], size, longest)
    columns, across = _axis(level[:, 0], level[:, 1], samples.shape[1], size, longest)
    patch = _unshifted(samples[rows[:, :, None], columns[:, None, :]], component)
    return down @ patch @ across.transpose(1, 2)


def _axis(low: Tensor, high: Tensor, extent: int, size: int, longest: int) -> tuple[Tensor, Tensor]:
    """Along one axis, for each region: the samples that are read (N, P) and their weights (N, size, P).

    Triangles as wide as a cell, or as two samples where cells are smaller: swscale's bilinear, with the region's own
    border repeated, and the picture's where the region goes beyond it.
    """
    torch = load_torch()
    side = (high - low).to(torch.float32)
    margin = longest // size + 2
    at = torch.arange(-margin, longest + margin, device=low.device, dtype=torch.float32)
    cell = side / size
    middle = (torch.arange(size, device=low.device) + 0.5)[None, :] * cell[:, None] - 0.5
    reach = cell.clamp(min=1.0)[:, None, None]
    weights = (1 - (at[None, None, :] - middle[:, :, None]).abs() / reach).clamp(min=0)
    weights = weights / weights.sum(2, keepdim=True)
    inside = at.long()[None, :].clamp(min=0).minimum((high - low - 1)[:, None])
    return (inside + low[:, None]).clamp(0, extent - 1), weights


def _values(planes: Planes, count: int = 3) -> list[Tensor]:
    """The first components of the whole picture as numbers: Y from 0 to 1, Cb and Cr from -0.5 to 0.5."""
    pairs = list(zip(planes.layout.components, planes.samples, strict=True))[:count]
    return [_meaning(planes, component, _unshifted(samples, component)) for component, samples in pairs]


def _meaning(planes: Planes, component: Component, raw: Tensor) -> Tensor:
    """Raw samples as numbers: Y from 0 to 1, Cb and Cr around 0."""
    zero = 1 << (component.depth - 1) if component.role != "Y" else planes.colour.legal(component)[0]
    return (raw - zero) / planes.colour.span(component)


def _unshifted(samples: Tensor, component: Component) -> Tensor:
    """Samples as float32."""
    made: Tensor = numbers(samples, component).to(load_torch().float32)
    return made


def _to_rgb(planes: Planes, values: Sequence[Tensor]) -> Tensor:
    """(3, ...) levels from 0 to 255, not yet whole."""
    kr, kb = planes.colour.kr_kb
    y, cb, cr = values
    green = y - (2 * kb * (1 - kb) * cb + 2 * kr * (1 - kr) * cr) / (1 - kr - kb)
    return load_torch().stack([y + 2 * (1 - kr) * cr, green, y + 2 * (1 - kb) * cb]) * 255


def _round(levels: Tensor) -> Tensor:
    return levels.round().clamp(0, 255)


def _area(values: Tensor, height: int, width: int) -> Tensor:
    pool = load_torch().nn.functional.interpolate
    made: Tensor = pool(values[None, None], size=(height, width), mode="area")
    return made[0, 0]
