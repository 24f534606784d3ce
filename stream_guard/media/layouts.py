"""Where each colour component of a pixel format lies in memory. Names are FFmpeg's (`libavutil/pixdesc.c`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import av
import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.unsignedinteger]


@dataclass(frozen=True, slots=True)
class Component:
    """One of Y, Cb, Cr, R, G, B: sample `i` of a row is `row[offset + i * step] >> shift`, of `depth` bits.

    `sub_x` and `sub_y` are log2 of the subsampling: 1 halves.
    """

    role: str
    plane: int
    offset: int
    step: int
    depth: int
    shift: int
    sub_x: int
    sub_y: int
    dtype: str

    @property
    def itemsize(self) -> int:
        return np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class PlaneGeometry:
    """The smallest group of a plane that can be cut out: `pixels` columns in `nbytes` bytes, 1 << `sub_y` high."""

    pixels: int
    nbytes: int
    sub_y: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The components of a pixel format that carry colour; alpha is carried by its plane but never touched."""

    name: str
    components: tuple[Component, ...]
    planes: tuple[PlaneGeometry, ...]
    rgb: bool
    full_range: bool | None
    """True or False where the format's name decides, None where the picture's own tag does."""

    @property
    def step_x(self) -> int:
        return 1 << max(c.sub_x for c in self.components)

    @property
    def step_y(self) -> int:
        return 1 << max(c.sub_y for c in self.components)


_SUBSAMPLING = {"444": (0, 0), "440": (0, 1), "422": (1, 0), "420": (1, 1), "411": (2, 0), "410": (2, 2)}
_PACKED_RGB = re.compile(r"(?P<order>rgb|bgr|[rgb0ax]{4})(?P<bits>24|32|48|64)?(?P<end>le|be)?")
_PLANAR_YUV = re.compile(r"yuv(?P<j>j)?(?P<a>a)?(?P<sub>4\d\d)p(?P<bits>\d+)?(?P<end>le|be)?")
_PLANAR_RGB = re.compile(r"gbr(?P<a>a)?p(?P<bits>\d+)?(?P<end>le|be)?")
_GRAY = re.compile(r"(?P<kind>gray|ya)(?P<bits>\d+)?(?P<end>le|be)?")
_SEMI_PLANAR_DEEP = re.compile(r"p(?P<sub>[024])(?P<bits>1[026])(?P<end>le|be)")
_SEMI_PLANAR = {"nv12": "420", "nv21": "420", "nv16": "422", "nv24": "444", "nv42": "444"}
_PACKED_YUV = {"yuyv422": (0, 1, 3), "yvyu422": (0, 3, 1), "uyvy422": (1, 0, 2)}


@lru_cache(maxsize=256)
def find_layout(name: str) -> Layout | None:
    """The layout of the pixel format `name`, or None where its samples can't be changed in place."""
    for build in (_planar_yuv, _semi_planar, _gray, _planar_rgb, _packed_rgb, _packed_yuv):
        layout = build(name)
        if layout is not None:
            return layout
    return None


def component_samples(picture: av.VideoFrame, component: Component) -> Samples:
    """A writable view (rows, columns) of one component on the picture's own memory, in raw (unshifted) samples.

    The view must be dropped before `picture.make_writable()` is called again: that may free the memory under it.
    """
    plane = picture.planes[component.plane]
    rows, columns = -(-picture.height >> component.sub_y), -(-picture.width >> component.sub_x)
    samples: Samples = np.frombuffer(plane, component.dtype).reshape(plane.height, -1)  # type: ignore[call-overload]
    if plane.line_size < 0:
        samples = samples[::-1]
    return samples[:rows, component.offset : component.offset + component.step * (columns - 1) + 1 : component.step]


def plane_groups(picture: av.VideoFrame, index: int, geometry: PlaneGeometry) -> npt.NDArray[np.uint8]:
    """A writable view (rows, groups, bytes) of a plane: the unit in which a region is cut out of it."""
    plane = picture.planes[index]
    rows, groups = -(-picture.height // (1 << geometry.sub_y)), -(-picture.width // geometry.pixels)
    lines = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)  # type: ignore[call-overload]
    if plane.line_size < 0:
        lines = lines[::-1]
    cut: npt.NDArray[np.uint8] = lines[:rows, : groups * geometry.nbytes].reshape(rows, groups, geometry.nbytes)
    return cut


def _dtype(bits: int, end: str | None) -> str:
    return "u1" if bits <= 8 else (">u2" if end == "be" else "<u2")


def _size(bits: int) -> int:
    return 1 if bits <= 8 else 2


def _layout(
    name: str, components: list[Component], planes: Iterator[PlaneGeometry] | list[PlaneGeometry], full: bool | None
) -> Layout:
    return Layout(name, tuple(components), tuple(planes), components[0].role in "RGB", full)


def _planar_yuv(name: str) -> Layout | None:
    match = _PLANAR_YUV.fullmatch(name)
    if match is None or match["sub"] not in _SUBSAMPLING:
        return None
    bits = int(match["bits"] or 8)
    if not 8 <= bits <= 16:
        return None
    dtype, size = _dtype(bits, match["end"]), _size(bits)
    sx, sy = _SUBSAMPLING[match["sub"]]
    components = [Component("Y", 0, 0, 1, bits, 0, 0, 0, dtype)]
    components += [Component(role, i, 0, 1, bits, 0, sx, sy, dtype) for i, role in ((1, "Cb"), (2, "Cr"))]
    planes = [PlaneGeometry(1, size, 0), PlaneGeometry(1 << sx, size, sy), PlaneGeometry(1 << sx, size, sy)]
    if match["a"]:
        planes.append(PlaneGeometry(1, size, 0))
    return _layout(name, components, planes, True if match["j"] else None)


def _semi_planar(name: str) -> Layout | None:
    deep = _SEMI_PLANAR_DEEP.fullmatch(name)
    if deep is None and name not in _SEMI_PLANAR:
        return None
    sub = {"0": "420", "2": "422", "4": "444"}[deep["sub"]] if deep else _SEMI_PLANAR[name]
    bits, end = (int(deep["bits"]), deep["end"]) if deep else (8, None)
    dtype, size, shift = _dtype(bits, end), _size(bits), 16 - bits if deep else 0
    sx, sy = _SUBSAMPLING[sub]
    swapped = name in ("nv21", "nv42")
    components = [
        Component("Y", 0, 0, 1, bits, shift, 0, 0, dtype),
        Component("Cb", 1, int(swapped), 2, bits, shift, sx, sy, dtype),
        Component("Cr", 1, int(not swapped), 2, bits, shift, sx, sy, dtype),
    ]
    return _layout(name, components, [PlaneGeometry(1, size, 0), PlaneGeometry(1 << sx, 2 * size, sy)], None)


def _gray(name: str) -> Layout | None:
    match = _GRAY.fullmatch(name)
    if match is None:
        return None
    bits = int(match["bits"] or 8)
    if not 8 <= bits <= 16:
        return None
    step = 2 if match["kind"] == "ya" else 1
    components = [Component("Y", 0, 0, step, bits, 0, 0, 0, _dtype(bits, match["end"]))]
    return _layout(name, components, [PlaneGeometry(1, step * _size(bits), 0)], None)


def _planar_rgb(name: str) -> Layout | None:
    match = _PLANAR_RGB.fullmatch(name)
    if match is None:
        return None
    bits = int(match["bits"] or 8)
    if not 8 <= bits <= 16:
        return None
    dtype = _dtype(bits, match["end"])
    components = [Component(role, i, 0, 1, bits, 0, 0, 0, dtype) for i, role in enumerate("GBR")]
    return _layout(name, components, [PlaneGeometry(1, _size(bits), 0)] * (4 if match["a"] else 3), None)


def _packed_rgb(name: str) -> Layout | None:
    match = _PACKED_RGB.fullmatch(name)
    if match is None or not set("rgb") <= set(match["order"]):
        return None
    order = match["order"]
    bits = int(match["bits"] or 8 * len(order)) // len(order)
    if bits not in (8, 16):
        return None
    dtype, step = _dtype(bits, match["end"]), len(order)
    components = [Component(role, 0, order.index(role.lower()), step, bits, 0, 0, 0, dtype) for role in "RGB"]
    return _layout(name, components, [PlaneGeometry(1, step * _size(bits), 0)], None)


def _packed_yuv(name: str) -> Layout | None:
    if name not in _PACKED_YUV:
        return None
    y, cb, cr = _PACKED_YUV[name]
    components = [Component("Y", 0, y, 2, 8, 0, 0, 0, "u1")]
    components += [Component(role, 0, at, 4, 8, 0, 1, 0, "u1") for role, at in (("Cb", cb), ("Cr", cr))]
    return _layout(name, components, [PlaneGeometry(2, 4, 0)], None)
