"""Collects the pictures of a report: a few moments of the clip, spread evenly however long it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..types import Face, Frame, Orientation
from .pictures import GAIN, Picture, amplified, picture, to_rgb
from .probes import Probe
from .quality import Rgb

FACE_SIDE = 256
FRAME_WIDTH = 800
SHOWN_CONDITIONS = 2
"""The first conditions of the card are shown, whatever they give: nothing is picked by its result."""


ShownReader = Callable[[Frame, Orientation], Rgb]
"""The whole picture as it is shown, as full-range RGB."""
CropReader = Callable[[Frame, Face, Orientation, int], Rgb]
"""The head region of a face, upright, as full-range RGB with the given side."""


@dataclass
class Edits:
    """What one generator makes of one face: for each shown condition, original and protected."""

    title: str
    l2: float
    pictures: list[Picture]


@dataclass
class Moment:
    """One face at one time."""

    time_seconds: float
    track: int
    pictures: list[Picture]
    edits: list[Edits] = field(default_factory=list)


class Gallery:
    """Keeps at most `2 * limit` moments: when there are more, every second one goes. `limit` 0 keeps none."""

    def __init__(self, limit: int, read: ShownReader, crop: CropReader) -> None:
        self.limit, self.read, self.crop = limit, read, crop
        self.frame_pictures: list[Picture] = []
        self._stride, self._offered = 1, 0
        self._kept: list[Moment] = []

    def offer(self, original: Frame, protected: Frame, face: Face, orientation: Orientation) -> bool:
        """Counts one more moment; True when its pictures were taken and `add_edits` is to follow."""
        self._offered += 1
        if not self.limit or (self._offered - 1) % self._stride:
            return False
        if not self.frame_pictures:
            versions = (("original", original), ("protected", protected))
            self.frame_pictures = [
                picture(name, self.read(frame, orientation), FRAME_WIDTH) for name, frame in versions
            ]
        before, after = (self.crop(frame, face, orientation, FACE_SIDE) for frame in (original, protected))
        pictures = [
            picture("original", before),
            picture("protected", after),
            picture(f"difference, {GAIN} times", amplified(before, after)),
        ]
        if len(self._kept) >= 2 * self.limit:
            self._kept, self._stride = self._kept[::2], self._stride * 2
        self._kept.append(Moment(original.time_seconds, face.track, pictures))
        return True

    def add_edits(
        self, probe: Probe, original: npt.NDArray[np.float32], protected: npt.NDArray[np.float32], l2: float
    ) -> None:
        """The generator's results (C, 3, S, S) in [-1, 1] for the last moment taken."""
        pictures = []
        for i, name in enumerate(probe.conditions[:SHOWN_CONDITIONS]):
            pictures.append(picture(f"“{name}” of the original", to_rgb(original[i])))
            pictures.append(picture(f"“{name}” of the protected", to_rgb(protected[i])))
        self._kept[-1].edits.append(Edits(probe.heading, l2, pictures))

    def chosen(self) -> list[Moment]:
        """At most `limit` moments in order, the first and the last of the kept ones among them."""
        if len(self._kept) <= self.limit:
            return self._kept
        places = np.linspace(0, len(self._kept) - 1, self.limit).round().astype(int)
        return [self._kept[i] for i in places]
