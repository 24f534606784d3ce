"""The faces of a file, followed as the runtime follows them, as a bounded number of crops each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from stream_guard.media import open_source, pixels
from stream_guard.media.orientation import orientation_of, upright
from stream_guard.stages.classifier import CROP
from stream_guard.stages.faces import FacesOptions, FacesStage
from stream_guard.types import Frame, centred_region

EVERY = 4
"""Pictures from one crop of a face to the next, at first."""
KEPT = 64
"""Crops of a face at most: of a longer one every second is dropped, and so on, so that memory stays flat."""

Rgb = npt.NDArray[np.uint8]


@dataclass
class Track:
    """The crops (size, size, 3) of one face, the times in seconds they were taken at, and the face's sides there."""

    number: int
    crops: list[Rgb] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    sides: list[float] = field(default_factory=list)
    seen: int = 0
    every: int = EVERY

    def add(self, crop: Rgb, seconds: float, side: float) -> None:
        self.crops.append(crop)
        self.times.append(seconds)
        self.sides.append(side)
        if len(self.crops) > KEPT:
            self.crops, self.times, self.sides = self.crops[::2], self.times[::2], self.sides[::2]
            self.every *= 2

    @property
    def side(self) -> float:
        """The longer side of the face in the picture, in pixels: the median."""
        return median(self.sides)

    def spread(self, count: int) -> list[int]:
        """The indices of `count` crops, evenly spaced."""
        return sorted({round(k) for k in np.linspace(0, len(self.crops) - 1, min(count, len(self.crops)))})


def collect(video: Path, size: int, wanted: Sequence[int] | None = None) -> list[Track]:
    """The faces of a file, those that are `wanted`. Raises what opening the file raises."""
    stage = FacesStage(FacesOptions())
    stage.open()
    tracks: dict[int, Track] = {}
    try:
        with open_source(str(video), threads=1) as source:
            for item in source.read():
                if isinstance(item, Frame):
                    cut(stage.process(item), size, tracks, wanted)
        cut(stage.flush(), size, tracks, wanted)
    finally:
        stage.close()
    return [track for _, track in sorted(tracks.items())]


def cut(frames: Iterable[Frame], size: int, tracks: dict[int, Track], wanted: Sequence[int] | None = None) -> None:
    """Add the crops that are due, upright."""
    for frame in frames:
        orientation = orientation_of(frame.picture)
        for face in frame.faces:
            if wanted is not None and face.track not in wanted:
                continue
            track = tracks.setdefault(face.track, Track(face.track))
            if track.seen % track.every == 0:
                region = centred_region(face.box, CROP, orientation)
                crop = upright(pixels.read_rgb(frame.picture, region, size), orientation)
                track.add(crop, frame.time_seconds, max(face.box.width, face.box.height))
            track.seen += 1
