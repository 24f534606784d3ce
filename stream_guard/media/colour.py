"""Range, matrix and scale of a picture's samples: what its numbers mean."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt

from .layouts import Component, Layout, find_layout

Grid = npt.NDArray[np.float32]

LIMITED, FULL = 1, 2  # AVColorRange

_KR_KB = {"bt709": (0.2126, 0.0722), "bt601": (0.299, 0.114), "bt2020": (0.2627, 0.0593)}
_KR_KB |= {"fcc": (0.30, 0.11), "smpte240m": (0.212, 0.087)}
# AVColorSpace to the matrix's name. BT.2020 constant luminance is read as non-constant: close, and what players do.
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
_UNMATCHED = {8, 11, 12, 13, 14, 15, 16, 17}  # YCgCo, YDzDx, chroma-derived, ICtCp, IPT: no Y Cb Cr
# swscale's own numbers for the matrices (SWS_CS_*).
_SWS = {"bt709": 1, "fcc": 4, "bt601": 5, "smpte240m": 7, "bt2020": 9}


@dataclass(frozen=True, slots=True)
class Colour:
    """What the samples of one picture mean: its matrix and whether luma 0 is black (full) or 16 is (limited)."""

    matrix: str
    full_range: bool

    @property
    def kr_kb(self) -> tuple[float, float]:
        """The shares of red and blue in luma."""
        return _KR_KB[self.matrix]

    @property
    def sws_colorspace(self) -> int:
        return _SWS[self.matrix]

    @property
    def sws_range(self) -> int:
        return FULL if self.full_range else LIMITED

    def span(self, component: Component) -> int:
        """Raw sample steps that a change of 1.0 makes: 219 or 224 for 8-bit limited, 255 for full."""
        if self.full_range:
            return (1 << component.depth) - 1
        return (224 if component.role in ("Cb", "Cr") else 219) << (component.depth - 8)

    def legal(self, component: Component) -> tuple[int, int]:
        """The lowest and highest sample that the range allows."""
        if self.full_range:
            return 0, (1 << component.depth) - 1
        scale = component.depth - 8
        return 16 << scale, (240 if component.role in ("Cb", "Cr") else 235) << scale

    def to_component(self, delta: Grid, role: str) -> Grid:
        """The change of one component, from a change (3, G, G) of full-range Y, Cb, Cr."""
        if role in ("Y", "Cb", "Cr"):
            plane: Grid = delta[("Y", "Cb", "Cr").index(role)]
            return plane
        kr, kb = self.kr_kb
        if role == "R":
            return np.asarray(delta[0] + 2 * (1 - kr) * delta[2], np.float32)
        if role == "B":
            return np.asarray(delta[0] + 2 * (1 - kb) * delta[1], np.float32)
        green = delta[0] - (2 * kb * (1 - kb) * delta[1] + 2 * kr * (1 - kr) * delta[2]) / (1 - kr - kb)
        return np.asarray(green, np.float32)

    def from_rgb(self, change: Grid) -> Grid:
        """The way back: a change (H, W, 3) of R, G, B as one (3, H, W) of full-range Y, Cb, Cr."""
        kr, kb = self.kr_kb
        red, green, blue = np.moveaxis(change, -1, 0)
        luma = kr * red + (1 - kr - kb) * green + kb * blue
        return np.stack([luma, (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))]).astype(np.float32)


def colour_of(picture: av.VideoFrame, layout: Layout) -> Colour | None:
    """How to read the picture's samples; None for a colour system that is not Y Cb Cr or RGB, such as YCgCo.

    An untagged matrix is taken as players take it: BT.709 from 720 lines on, else BT.601. An untagged range is limited,
    but full for RGB, for gray and for FFmpeg's yuvj formats.
    """
    if not layout.rgb and picture.colorspace in _UNMATCHED:
        return None
    untagged = _untagged_matrix(picture)
    matrix = untagged if layout.rgb else _MATRICES.get(picture.colorspace, untagged)
    if layout.full_range is not None or layout.rgb:
        return Colour(matrix, full_range=True)
    gray = len(layout.components) == 1
    return Colour(matrix, picture.color_range == FULL or (gray and picture.color_range != LIMITED))


def readable_colour(picture: av.VideoFrame) -> Colour:
    """As `colour_of`, with a guess for formats that can only be read: right in brightness, near in hue."""
    layout = find_layout(picture.format.name)
    known = colour_of(picture, layout) if layout is not None else None
    return known or Colour(_untagged_matrix(picture), picture.color_range == FULL or picture.format.is_rgb)


def untagged_code(height: int) -> int:
    """AVColorSpace of a picture without a tag, as players take it."""
    return 1 if height >= 720 else 5


def _untagged_matrix(picture: av.VideoFrame) -> str:
    return _MATRICES[untagged_code(picture.height)]
