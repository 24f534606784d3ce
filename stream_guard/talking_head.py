"""A talking head drawn from one portrait: for the demo and the benchmark, where nobody has to be filmed.

The portrait is NASA's picture of the astronaut Eileen Collins, public domain, as scikit-image carries it. It is warped:
the head sways and nods, the jaw drops, the lids close, the camera drifts. Nobody would take it for real; a face finder
does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from .errors import StreamGuardError

Rgb = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float64]

# All places are in pixels of the 512 x 512 portrait; the upper 512 x 288 make a 16:9 picture.
VIEW = (512.0, 288.0)
HEAD = (224.0, 100.0)
HEAD_REACH = (105.0, 120.0)
NECK = (222.0, 190.0)
JAW = (223.0, 163.0)
EYES = ((203.0, 99.0), (247.0, 102.0))
MARGIN = 64
CELLS = (64, 36)
NOISE_LEVELS = 1.2


def portrait() -> Image.Image:
    """The astronaut, 512 x 512, from the installed scikit-image; nothing is downloaded."""
    spec = find_spec("skimage")
    path = Path(spec.origin).parent / "data" / "astronaut.png" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise StreamGuardError(
            "the installed scikit-image lacks data/astronaut.png; reinstall it: pip install scikit-image"
        )
    with Image.open(path) as stored:
        image: Image.Image = stored.convert("RGB")
    return image


def talking_head(width: int, height: int, seconds: float, rate: int) -> Iterator[Rgb]:
    """`seconds * rate` pictures (height, width, 3), always the same ones."""
    source = _enlarged(portrait(), width, height)
    grain = _Grain(width, height)
    for index in range(round(seconds * rate)):
        yield grain.over(_picture(source, width, height, index / rate), index)


def _enlarged(image: Image.Image, width: int, height: int) -> Image.Image:
    """With a margin, and at the scale of the view, so that warping moves pixels but need not invent them."""
    padded = Image.fromarray(np.pad(np.asarray(image), ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="reflect"))
    size = (round(padded.width * width / VIEW[0]), round(padded.height * height / VIEW[1]))
    return padded.resize(size, Image.Resampling.LANCZOS)


def speech(time: float) -> float:
    """How far the mouth is open, 0 to 1: syllables of a fifth of a second, in phrases."""
    phrase = math.sqrt(max(0.0, math.sin(2 * math.pi * time / 2.6 + 0.4)))
    return phrase * (0.5 - 0.5 * math.cos(2 * math.pi * time / 0.21))


def _blink(time: float) -> float:
    """How far the lids are closed, 0 to 1: for a fifth of a second every 2.3 seconds."""
    return math.exp(-((((time - 1.1) % 2.3) - 1.15) ** 2) / (2 * 0.05**2))


def _picture(source: Image.Image, width: int, height: int, time: float) -> Rgb:
    columns, rows = CELLS
    xs = [round(i * width / columns) for i in range(columns + 1)]
    ys = [round(i * height / rows) for i in range(rows + 1)]
    x, y = np.meshgrid(np.array(xs) * (VIEW[0] / width), np.array(ys) * (VIEW[1] / height))
    x, y = _warp(x, y, time)
    corners = (np.stack([x, y], axis=-1) + MARGIN) * (width / VIEW[0], height / VIEW[1])
    quads = np.concatenate([corners[:-1, :-1], corners[1:, :-1], corners[1:, 1:], corners[:-1, 1:]], axis=-1)
    mesh = [
        ((xs[i], ys[j], xs[i + 1], ys[j + 1]), tuple(quads[j, i].tolist())) for j in range(rows) for i in range(columns)
    ]
    image = source.transform((width, height), Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)
    return np.asarray(image)


def _warp(x: Plane, y: Plane, time: float) -> tuple[Plane, Plane]:
    """Where in the portrait each place of the view comes from."""
    zoom = 1.03 + 0.02 * math.sin(2 * math.pi * time / 9)
    x = VIEW[0] / 2 + (x - VIEW[0] / 2) / zoom + 2 * math.sin(2 * math.pi * time / 7)
    y = VIEW[1] / 2 + (y - VIEW[1] / 2) / zoom + 1
    x, y = _sway(x, y, time)
    y = y - 5.0 * speech(time) * _bump(x, y, JAW, 26, 14)
    for eye in EYES:
        y = y - 6.0 * _blink(time) * _bump(x, y, eye, 13, 6)
    return x, y


def _sway(x: Plane, y: Plane, time: float) -> tuple[Plane, Plane]:
    """Turns the head about the neck and moves it, fading out towards shoulders and background."""
    angle = math.radians(4.0) * math.sin(2 * math.pi * time / 3.7)
    dx = 7 * math.sin(2 * math.pi * time / 5.3 + 0.5)
    dy = 4 * math.sin(2 * math.pi * time / 2.9)
    reach = np.hypot((x - HEAD[0]) / HEAD_REACH[0], (y - HEAD[1]) / HEAD_REACH[1])
    weight = 0.5 + 0.5 * np.cos(math.pi * np.clip((reach - 0.55) / 0.75, 0, 1))
    cx, cy = x - NECK[0], y - NECK[1]
    turned_x = cx * math.cos(angle) - cy * math.sin(angle) - cx + dx
    turned_y = cx * math.sin(angle) + cy * math.cos(angle) - cy + dy
    return x + weight * turned_x, y + weight * turned_y


def _bump(x: Plane, y: Plane, centre: tuple[float, float], reach_x: float, reach_y: float) -> Plane:
    bump: Plane = np.exp(-(((x - centre[0]) / reach_x) ** 2) - ((y - centre[1]) / reach_y) ** 2)
    return bump


class _Grain:
    """Camera noise, so that the background is no easier to encode than a real one. Windows of one large sheet."""

    def __init__(self, width: int, height: int) -> None:
        self.random = np.random.default_rng(0)
        self.spare = 64
        sheet = self.random.normal(0, NOISE_LEVELS, (height + self.spare, width + self.spare, 1))
        self.sheet = np.rint(sheet).astype(np.int16)

    def over(self, picture: Rgb, index: int) -> Rgb:
        height, width = picture.shape[:2]
        x, y = (index * 29) % self.spare, (index * 43) % self.spare
        return (picture + self.sheet[y : y + height, x : x + width]).clip(0, 255).astype(np.uint8)
