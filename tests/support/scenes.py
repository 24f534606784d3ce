"""Short scenes with a real face, from the astronaut portrait that scikit-image carries (public domain)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np

from stream_guard.types import Box, Frame

TIME_BASE = Fraction(1, 25)
# The astronaut's face in the head cut-out below, in pixels of that cut-out.
HEAD = (130, 0, 330, 200)
FACE_IN_HEAD = Box(54, 64, 137, 177)


@lru_cache(maxsize=1)
def head() -> np.ndarray:
    """The portrait's head (200, 200, 3); the face's box in it is about FACE_IN_HEAD."""
    from skimage import data

    x0, y0, x1, y1 = HEAD
    return np.ascontiguousarray(data.astronaut()[y0:y1, x0:x1])


@lru_cache(maxsize=8)
def backdrop(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A soft pattern without faces (height, width, 3); another seed is another place."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 230, (height // 40 + 2, width // 40 + 2, 3)).astype(np.float32)
    y, x = (np.arange(n) / 40 for n in (height, width))
    (i, v), (j, u) = ((a.astype(int), a % 1) for a in (y, x))
    v, u = v[:, None, None], u[None, :, None]
    rows = coarse[i] * (1 - v) + coarse[i + 1] * v
    return (rows[:, j] * (1 - u) + rows[:, j + 1] * u).astype(np.uint8)


def with_heads(background: np.ndarray, corners: Iterable[tuple[float, float]]) -> np.ndarray:
    """The background with a head at each corner (x, y), which may lie partly or wholly outside."""
    rgb = background.copy()
    for x, y in corners:
        x, y = round(x), round(y)
        part = head()[max(0, -y) : max(0, rgb.shape[0] - y), max(0, -x) : max(0, rgb.shape[1] - x)]
        if part.size:
            rgb[max(0, y) : max(0, y) + part.shape[0], max(0, x) : max(0, x) + part.shape[1]] = part
    return rgb


def frames(
    count: int,
    corners: Callable[[int], Iterable[tuple[float, float]]],
    *,
    size: tuple[int, int] = (640, 360),
    place: Callable[[int], int] = lambda index: 0,
    format: str = "yuv420p",
    turned: int = 0,
) -> Iterator[Frame]:
    """Frames with heads at `corners(index)` before the backdrop `place(index)`, turned by `turned` quarters."""
    for index in range(count):
        rgb = with_heads(backdrop(*size, place(index)), corners(index))
        yield as_frame(np.rot90(rgb, turned), index, format)


def as_frame(rgb: np.ndarray, index: int = 0, format: str = "yuv420p") -> Frame:
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(format=format)
    picture.pts, picture.time_base = index, TIME_BASE
    return Frame(picture, pts=index, time_base=TIME_BASE, index=index)


def sleeve(path: Path, *, face: bool) -> Path:
    """A still in the codec of its name, with a head or without."""
    rgb = with_heads(backdrop(320, 256), [(60, 30)] if face else [])
    codec, format = {".jpg": ("mjpeg", "yuvj420p"), ".png": ("png", "rgb24"), ".bmp": ("bmp", "bgr24")}[path.suffix]
    with av.open(str(path), "w", format="image2") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 256, format
        out.mux(stream.encode(as_frame(rgb, format=format).picture))
        out.mux(stream.encode(None))
    return path


def face_at(corner: tuple[float, float]) -> Box:
    """Where the face is when its head's corner is there."""
    return FACE_IN_HEAD.moved(*corner)
