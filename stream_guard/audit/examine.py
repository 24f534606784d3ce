"""The audit itself: decodes both videos, pairs their frames, and asks each generator what it makes of the faces."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field

from ..media.orientation import orientation_of
from ..stages.base import Stage
from ..types import Box, Face, Frame, Orientation, head_region
from .disruption import DisruptionTally, l2
from .flicker import Flicker
from .gallery import CropReader, Gallery
from .probes import Probe
from .quality import Difference, Quality, Rgb, difference, pixels_of, ssim

Reader = Callable[[Frame], Rgb]
"""The whole picture as full-range RGB."""
Purify = Callable[[Rgb, str, int], Rgb]
"""A protected head crop, the generator's name and the face's track to the crop that an attacker would edit."""


@dataclass
class Version:
    """What is measured of one delivered version against the original."""

    frame: Quality = field(default_factory=Quality)
    face: Quality = field(default_factory=Quality)
    flicker: Flicker = field(default_factory=Flicker)
    disruption: dict[str, DisruptionTally] = field(default_factory=dict)

    def add_pixels(
        self, index: int, original: Rgb, other: Rgb, faces: Sequence[Face], orientation: Orientation, sampled: bool
    ) -> None:
        """One pair of frames; SSIM, which is slow, is taken of sampled frames only."""
        change = difference(other, original)
        self.frame.error.add(change)
        if sampled:
            self.frame.similarity.add(ssim(original, other))
        for face in faces:
            self._add_face(index, original, other, change, face.track, head_region(face.box, orientation), sampled)

    def _add_face(
        self, index: int, original: Rgb, other: Rgb, change: Difference, track: int, region: Box, sampled: bool
    ) -> None:
        where = pixels_of(region, change.shape[1], change.shape[0])
        if where is None:
            return
        self.face.error.add(change[where])
        self.flicker.add(index, track, region, change)
        if sampled:
            self.face.similarity.add(ssim(original[where], other[where]))


@dataclass
class Examination:
    """Everything measured of a clip: feed pairs in order, then read it."""

    probes: Sequence[Probe]
    every: int
    read: Reader
    crop: CropReader
    gallery: Gallery
    protected: Version = field(default_factory=Version)
    reference: Version | None = None
    frames: int = 0
    resized: int = 0
    """Moments that were left out, because their pictures are not of one size."""
    sampled: int = 0
    faces: int = 0
    tracks: set[int] = field(default_factory=set)
    region_widths: list[float] = field(default_factory=list)
    purify: Purify | None = None
    """What an attacker does to a protected head before the generator sees it; its outcome is counted in `purified`."""
    purified: dict[str, DisruptionTally] = field(default_factory=dict)

    def add(self, original: Frame, protected: Frame, reference: Frame | None = None) -> None:
        """`original` carries the faces; the others are the same moment of the other versions.

        Where the original changes its size in mid-stream the others do not, and nothing there can be compared.
        """
        before = self.read(original)
        pairs = ((self.protected, protected), (self.reference, reference))
        others = [(version, self.read(frame)) for version, frame in pairs if version is not None and frame is not None]
        if any(other.shape != before.shape for _, other in others):
            self.resized += 1
            return
        sampled, orientation = self.frames % self.every == 0, orientation_of(original.picture)
        for version, other in others:
            # Where a picture was passed over, as at another frame rate, the next shows no flicker but what moved since.
            version.add_pixels(protected.index, before, other, original.faces, orientation, sampled)
        self.frames += 1
        self.faces += len(original.faces)
        self.tracks.update(face.track for face in original.faces)
        self.region_widths += [head_region(face.box).width for face in original.faces]
        if sampled:
            self.sampled += 1
            self._ask(original, protected, reference)

    def _ask(self, original: Frame, protected: Frame, reference: Frame | None) -> None:
        """Lets every generator edit every face of one moment, in all versions."""
        orientation = orientation_of(original.picture)  # of all: they are compared as they are stored
        largest = max(original.faces, key=lambda face: face.box.area, default=None)
        for face in original.faces:
            shown = face is largest and self.gallery.offer(original, protected, face, orientation)
            for probe in self.probes:
                frames = [f for f in (original, protected, reference) if f is not None]
                crops = [self.crop(frame, face, orientation, probe.size) for frame in frames]
                if self.purify is not None:
                    crops.append(self.purify(crops[1], probe.name, face.track))
                edits = probe.edit(crops)
                values = l2(edits[1], edits[0])
                self._tally(self.protected, probe).add(face.track, original.time_seconds, values)
                if self.reference is not None:
                    control = l2(edits[2], edits[0])
                    self._tally(self.reference, probe).add(face.track, original.time_seconds, control)
                if self.purify is not None:
                    left = l2(edits[-1], edits[0])
                    tally = self.purified.setdefault(probe.name, DisruptionTally())
                    tally.add(face.track, original.time_seconds, left)
                if shown:
                    self.gallery.add_edits(probe, edits[0], edits[1], float(values.mean()))

    @staticmethod
    def _tally(version: Version, probe: Probe) -> DisruptionTally:
        return version.disruption.setdefault(probe.name, DisruptionTally())


def with_faces(stage: Stage, frames: Iterator[Frame]) -> Generator[Frame, None, None]:
    """The frames with their faces, as the stage finds them; opens and closes the stage."""
    stage.open()
    try:
        for frame in frames:
            yield from stage.process(frame)
        yield from stage.flush()
    finally:
        stage.close()
