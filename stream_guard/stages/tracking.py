"""Following faces between detections on a small gray copy: template matching, association, scene cuts. numpy only."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..types import Box

Luma = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complexfloating]

TEMPLATE = 16
"""A face is compared at 16 to 32 samples a side, whatever its size."""
REACH = 0.4
"""How far a face is searched in the next picture, in sides of its box."""
SURE = 0.6
"""From this likeness (normalised correlation, 1 is the same) on a face counts as followed."""
SMALLEST = 5
"""A face with fewer samples of the small copy a side can't be followed, only found anew."""
STILL = 0.15
"""Movements below this many samples are noise of the matching."""


class Copies:
    """One small gray copy (rows, columns) and, made when asked for, its halves, quarters and so on."""

    def __init__(self, luma: Luma) -> None:
        self.luma = luma
        self._levels: list[Floats] = [luma.astype(np.float32)]

    def level(self, index: int) -> Floats:
        """The copy halved `index` times, each sample the mean of the four it stands for."""
        while len(self._levels) <= index:
            finer = self._levels[-1]
            rows, columns = finer.shape[0] // 2 * 2, finer.shape[1] // 2 * 2
            pairs = finer[0:rows:2, :columns] + finer[1:rows:2, :columns]
            self._levels.append((pairs[:, 0::2] + pairs[:, 1::2]) * np.float32(0.25))
        return self._levels[index]


@dataclass(frozen=True, slots=True)
class Template:
    """What a face looked like: its samples at one level of the copy, with zero mean and length 1.

    `offset` is from the middle of the pattern to the middle of the face's box, in samples of the copy.
    """

    pattern: Floats
    level: int
    offset: tuple[float, float]
    spectra: dict[tuple[int, ...], Spectrum] = field(default_factory=dict, compare=False, repr=False)
    """The conjugate spectrum of the pattern by the shape it was padded to: it is searched in picture after picture."""

    def spectrum(self, shape: tuple[int, int]) -> Spectrum:
        if shape not in self.spectra:
            self.spectra[shape] = np.conj(np.fft.rfft2(self.pattern, shape))
        return self.spectra[shape]


@dataclass(frozen=True, slots=True)
class Match:
    """Where the template was found: the shift in samples of the small copy, and the likeness there, -1 to 1."""

    dx: float
    dy: float
    likeness: float


def cut_template(copies: Copies, box: Box) -> Template | None:
    """The part of the face at `box` (in samples of the copy) that is in the picture; None where it is tiny or flat."""
    seen = inside(box, copies.luma.shape)
    if seen is None:
        return None
    side, level = max(seen.width, seen.height), 0
    while side >= 2 * TEMPLATE:
        side, level = side / 2, level + 1
    image, scale = copies.level(level), 1 << level
    columns, rows = round(seen.width / scale), round(seen.height / scale)
    if min(columns, rows) < SMALLEST:
        return None
    x0, y0 = (round(low / scale) for low in (seen.x0, seen.y0))
    patch = image[y0 : y0 + rows, x0 : x0 + columns]
    patch = patch - patch.mean()
    length = float(np.sqrt((patch * patch).sum()))
    cx, cy = box.center
    offset = cx - (x0 + patch.shape[1] / 2) * scale, cy - (y0 + patch.shape[0] / 2) * scale
    return Template(patch / length, level, offset) if length > 2.0 * patch.size**0.5 else None


def find_template(template: Template, copies: Copies, box: Box) -> Match:
    """Search the template around where it was (`box`), by normalised correlation, to a fraction of a sample."""
    rows, columns = template.pattern.shape
    reach_x, reach_y = (max(3, round(REACH * side)) for side in (columns, rows))
    scale = 1 << template.level
    middle = [(c - offset) / scale for c, offset in zip(box.center, template.offset, strict=True)]
    x0, y0 = round(middle[0] - columns / 2), round(middle[1] - rows / 2)
    image = copies.level(template.level)
    window = _window(image, x0 - reach_x, y0 - reach_y, columns + 2 * reach_x, rows + 2 * reach_y)
    scores = _correlate(window, template)
    # Of two places that look alike the nearer is likelier: a face seldom jumps.
    down, across = (np.linspace(-1, 1, 2 * reach + 1, dtype=np.float32) ** 2 for reach in (reach_y, reach_x))
    best = int(np.argmax(scores - 0.08 * (down[:, None] + across[None, :])))
    y, x = _climb(scores, *divmod(best, scores.shape[1]))
    dx = x0 - reach_x + x + _peak(scores[y, :], x) + columns / 2 - middle[0]
    dy = y0 - reach_y + y + _peak(scores[:, x], y) + rows / 2 - middle[1]
    return Match(_settled(dx) * scale, _settled(dy) * scale, float(scores[y, x]))


def inside(box: Box, shape: tuple[int, ...]) -> Box | None:
    """The part of the box within (rows, columns); None if there is none."""
    x0, y0, x1, y1 = max(box.x0, 0.0), max(box.y0, 0.0), min(box.x1, shape[1]), min(box.y1, shape[0])
    return Box(x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def is_cut(before: Luma, after: Luma) -> bool:
    """Whether the scene changed at once between two small gray copies: other places and another mix of brightness."""
    if before.shape != after.shape:
        return True
    step = max(1, before.shape[1] // 64)
    old, new = before[::step, ::step].astype(np.int16), after[::step, ::step].astype(np.int16)
    moved = float(np.abs(new - old).mean())
    if moved < 10:
        return False
    counts = [np.bincount((part >> 3).ravel(), minlength=32) for part in (old, new)]
    remixed = float(np.abs(counts[0] - counts[1]).sum()) / (2 * old.size)
    return remixed > 0.15 or moved > 35


def _window(image: Floats, x0: int, y0: int, columns: int, rows: int) -> Floats:
    """A part of the image, its border repeated beyond it."""
    ys = (np.arange(rows) + y0).clip(0, image.shape[0] - 1)
    xs = (np.arange(columns) + x0).clip(0, image.shape[1] - 1)
    part: Floats = image[ys[:, None], xs[None, :]]
    return part


def _correlate(window: Floats, template: Template) -> Floats:
    """Normalised correlation of a zero-mean, unit-length pattern at every place in the window, by FFT."""
    pattern = template.pattern
    centred = window - window.mean()
    rows, columns = (w - p + 1 for w, p in zip(window.shape, pattern.shape, strict=True))
    padded = _quick(window.shape[0]), _quick(window.shape[1])
    spectrum = np.fft.rfft2(centred, padded) * template.spectrum(padded)
    product = np.fft.irfft2(spectrum, padded)[:rows, :columns]
    mean, square = (_sums(values, pattern.shape) / pattern.size for values in (centred, centred * centred))
    energy = pattern.size * (square - mean * mean)
    likeness: Floats = (product / np.sqrt(np.maximum(energy, pattern.size))).astype(np.float32)
    return likeness


@lru_cache(maxsize=256)
def _quick(length: int) -> int:
    """The next length whose only prime factors are 2, 3 and 5: transforms of others take up to twice as long."""
    rest = length
    for factor in (2, 3, 5):
        while rest % factor == 0:
            rest //= factor
    return length if rest == 1 else _quick(length + 1)


def _sums(values: Floats, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """The sum of every rectangle of `shape` that lies in `values`."""
    total = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    total[1:, 1:] = values.cumsum(0, dtype=np.float64).cumsum(1)
    rows, columns = shape
    sums: npt.NDArray[np.float64] = (
        total[rows:, columns:] - total[:-rows, columns:] - total[rows:, :-columns] + total[:-rows, :-columns]
    )
    return sums


def _climb(scores: Floats, y: int, x: int) -> tuple[int, int]:
    """Up to the top of the hill that (y, x) is on: the nearer place was preferred, but not a nearer slope."""
    while True:
        top, left = max(0, y - 1), max(0, x - 1)
        near = scores[top : y + 2, left : x + 2]
        row, column = divmod(int(np.argmax(near)), near.shape[1])
        if near[row, column] <= scores[y, x]:
            return y, x
        y, x = top + row, left + column


def _peak(line: Floats, at: int) -> float:
    """Where the parabola through the highest value and its two neighbours peaks, from `at`, in -0.5 to 0.5."""
    if not 0 < at < len(line) - 1:
        return 0.0
    left, top, right = (float(v) for v in line[at - 1 : at + 2])
    bend = left - 2 * top + right
    return min(0.5, max(-0.5, 0.5 * (left - right) / bend)) if bend < -1e-9 else 0.0


def _settled(shift: float) -> float:
    return 0.0 if abs(shift) < STILL else float(shift)
