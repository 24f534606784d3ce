"""The faces in sight: each is a track that is followed from picture to picture and confirmed by detections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..types import Box
from .detectors import Detection
from .tracking import SURE, Copies, Template, cut_template, find_template, inside

SAME_IOU = 0.25
"""A detection that overlaps a followed face by this much is that face."""
STEADY_IOU = 0.7
"""From this overlap on, detection and followed box are blended: the box then does not jump with each detection."""


@dataclass(slots=True, eq=False)
class Track:
    """One face in sight; `box` is in samples of the small gray copy."""

    number: int
    box: Box
    score: float
    template: Template | None = None
    likeness: float = 1.0
    missed: int = 0


@dataclass(slots=True)
class Tracker:
    """All faces in sight. A face that `grace` detections in a row did not find is held that long, then dropped."""

    grace: int = 1
    tracks: list[Track] = field(default_factory=list)
    _last: int = 0

    @property
    def unsure(self) -> bool:
        """Whether some face no longer looks like what was followed, so that a detection should settle it."""
        return any(track.likeness < SURE or track.missed for track in self.tracks)

    def forget(self) -> None:
        """Another scene: no face goes on, and none gets an old number."""
        self.tracks.clear()

    def follow(self, copies: Copies) -> None:
        """Move every face to where it is in this picture; one that left the picture is dropped."""
        for track in self.tracks:
            if track.template is not None:
                track.box, track.likeness = _step(track.template, copies, track.box)
        self.tracks = [track for track in self.tracks if _in_sight(track.box, copies)]

    def confirm(self, copies: Copies, found: Sequence[Detection], threshold: float) -> list[Track]:
        """Take in a detection of this picture; returns the tracks that are new.

        A face goes on with any detection that overlaps it; only one that scores at least `threshold` starts a track.
        """
        rows, columns = copies.luma.shape
        boxes = [
            (_scaled(detection.box, columns, rows), detection.score)
            for detection in sorted(found, key=lambda d: d.score, reverse=True)
        ]
        for track, at in self._pairs([box for box, _ in boxes]):
            box, score = boxes[at]
            track.box = _blend(track.box, box) if track.box.iou(box) > STEADY_IOU else box
            track.score, track.missed = score, -1
            boxes[at] = (box, -1.0)
        for track in self.tracks:
            track.missed += 1
        self.tracks = [track for track in self.tracks if track.missed <= self.grace]
        fresh = [self._start(box, score) for box, score in boxes if score >= threshold]
        self.tracks += fresh
        for track in self.tracks:
            if not track.missed:
                track.template, track.likeness = cut_template(copies, track.box), 1.0
        return fresh

    def _pairs(self, boxes: list[Box]) -> Iterable[tuple[Track, int]]:
        """Tracks and the detections that continue them, the closest pairs first, each at most once."""
        overlaps = [(t.box.iou(box), i, j) for i, t in enumerate(self.tracks) for j, box in enumerate(boxes)]
        tracks, taken = set(), set()
        for overlap, i, j in sorted(overlaps, reverse=True):
            if overlap >= SAME_IOU and i not in tracks and j not in taken:
                tracks.add(i)
                taken.add(j)
                yield self.tracks[i], j

    def _start(self, box: Box, score: float) -> Track:
        self._last += 1
        return Track(self._last, box, score)


def trace_back(track: Track, earlier: Iterable[Copies]) -> list[Box]:
    """Where a new face was in the pictures before, newest first, for as long as it is surely seen there."""
    boxes: list[Box] = []
    box = track.box
    for copies in earlier:
        if track.template is None:
            break
        box, likeness = _step(track.template, copies, box)
        if likeness < SURE or not _in_sight(box, copies):
            break
        boxes.append(box)
    return boxes


def _step(template: Template, copies: Copies, box: Box) -> tuple[Box, float]:
    """The box in the next picture and how sure that is; it stays where it was if nothing there looks alike."""
    match = find_template(template, copies, box)
    return (box.moved(match.dx, match.dy) if match.likeness > SURE / 2 else box), match.likeness


def _in_sight(box: Box, copies: Copies) -> bool:
    seen = inside(box, copies.luma.shape)
    return seen is not None and seen.area > 0.2 * box.area


def _scaled(box: Box, across: float, down: float) -> Box:
    return Box(box.x0 * across, box.y0 * down, box.x1 * across, box.y1 * down)


def _blend(a: Box, b: Box) -> Box:
    return Box((a.x0 + b.x0) / 2, (a.y0 + b.y0) / 2, (a.x1 + b.x1) / 2, (a.y1 + b.y1) / 2)
