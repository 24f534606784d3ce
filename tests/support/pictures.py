"""Pictures painted on the spot: smooth colours put into any pixel format by arithmetic, without swscale."""

from __future__ import annotations

from collections.abc import Callable

import av
import numpy as np

from stream_guard.media.colour import Colour, colour_of
from stream_guard.media.layouts import component_samples, find_layout

COLORSPACE = {"bt709": 1, "bt601": 6, "bt2020": 9, None: 2}
RANGE = {None: 0, False: 1, True: 2}


def soft_colours(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """RGB in [0, 1] (..., 3) at luma positions x, y: waves of 60 to 100 pixels, never near 0 or 1."""
    red = 0.5 + 0.25 * np.sin(x / 12 + y / 31)
    green = 0.5 + 0.2 * np.sin(y / 14 - x / 45 + 1)
    blue = 0.45 + 0.2 * np.cos((x + y) / 16)
    return np.stack([red, green, blue], axis=-1)


def paint(
    format: str,
    width: int,
    height: int,
    *,
    matrix: str | None = None,
    full: bool | None = None,
    colours: Callable[[np.ndarray, np.ndarray], np.ndarray] = soft_colours,
) -> av.VideoFrame:
    """A picture of `colours`, every sample computed at its own place (chroma at the left, as video has it)."""
    picture = av.VideoFrame(width, height, format)
    picture.colorspace = COLORSPACE[matrix]
    picture.color_range = RANGE[full]
    for plane in picture.planes:
        np.frombuffer(plane, np.uint8)[:] = 0
    layout = find_layout(format)
    assert layout is not None
    colour = colour_of(picture, layout)
    assert colour is not None
    for component in layout.components:
        view = component_samples(picture, component)
        step_x, step_y = 1 << component.sub_x, 1 << component.sub_y
        cosited = component.sub_x and layout.full_range is None
        x = np.arange(view.shape[1]) * step_x + (0.5 if cosited else step_x / 2)
        y = np.arange(view.shape[0]) * step_y + step_y / 2
        values = _component(colours(*np.meshgrid(x, y)), component.role, colour)
        low, _ = colour.legal(component)
        middle = 1 << (component.depth - 1)
        base = middle if component.role in ("Cb", "Cr") else low
        view[...] = np.rint(base + values * colour.span(component)).astype(int) << component.shift
    return picture


def noise(format: str, width: int, height: int, seed: int = 0) -> av.VideoFrame:
    """Every sample random over all that its depth can hold, legal or not."""
    picture = paint(format, width, height)
    layout = find_layout(format)
    assert layout is not None
    rng = np.random.default_rng(seed)
    for component in layout.components:
        view = component_samples(picture, component)
        view[...] = rng.integers(0, 1 << component.depth, view.shape) << component.shift
    return picture


def raw_samples(picture: av.VideoFrame) -> dict[str, np.ndarray]:
    """A copy of every component's samples, unshifted, by role."""
    layout = find_layout(picture.format.name)
    assert layout is not None
    return {c.role: component_samples(picture, c).astype(np.int64) >> c.shift for c in layout.components}


def _component(rgb: np.ndarray, role: str, colour: Colour) -> np.ndarray:
    if role in "RGB":
        return rgb[..., "RGB".index(role)]
    kr, kb = {"bt709": (0.2126, 0.0722), "bt601": (0.299, 0.114), "bt2020": (0.2627, 0.0593)}[colour.matrix]
    luma = kr * rgb[..., 0] + (1 - kr - kb) * rgb[..., 1] + kb * rgb[..., 2]
    if role == "Y":
        return luma
    return (rgb[..., 2] - luma) / (2 * (1 - kb)) if role == "Cb" else (rgb[..., 0] - luma) / (2 * (1 - kr))
