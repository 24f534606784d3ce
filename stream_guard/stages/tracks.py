"""The faces in sight: each is a track that is followed from picture to picture and confirmed by detections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..types import Box
from .detectors import Detection
from .tracking import SURE, Copies, Template, cut_template, find_template, inside

SAME_IOU = 0.25
"""A detection that overlaps a followed face by this much is that face."""
STEADY_IOU = 0.7
"""From this overlap on, detection and followed box are blended: the box then does not jump with each detection."""
ALIKE = 0.78
"""A face that is less like itself from one picture to the next is another: a cut between two people framed alike, which
is no cut to `is_cut`, or a jump. Of 675 pictures of talking heads the least was 0.81; of 546 cuts the most was 0.78."""


@dataclass(slots=True, eq=False)
class Track:
    """One face in sight; `box` is in samples of the small gray copy."""

    number: int
    box: Box
    score: float
    template: Template | None = None
    likeness: float = 1.0
    missed: int = 0
    last: Template | None = None
    """What it looked like in the picture before; `template` is of the last detection."""
    others: int = 0
    """For how many pictures another face seems to be in its place; the next detection is to settle it."""
    former: tuple[int, int] = (0, 0)
    """The number of the face whose place this one took, and for how many pictures it had been there when detected."""


@dataclass(slots=True)
class Tracker:
    """All faces in sight. A face that `grace` detections in a row did not find is held that long, then dropped."""

    grace: int = 1
    tracks: list[Track] = field(default_factory=list)
    _last: int = 0

    @property
    def unsure(self) -> bool:
        """Whether some face no longer looks like what was followed, so that a detection should settle it."""
        return any(track.likeness < SURE or track.missed or track.others for track in self.tracks)

    def forget(self) -> None:
        """Another scene: no face goes on, and none gets an old number."""
        self.tracks.clear()

    def follow(self, copies: Copies) -> None:
        """Move every face to where it is in this picture; one that left the picture is dropped.

        Where another face is in its place all at once, the tracker is unsure; the next detection starts a new track.
        """
        for track in self.tracks:
            before = track.box
            if track.template is not None:
                track.box, track.likeness = _step(track.template, copies, track.box)
            now = cut_template(copies, track.box)
            track.others += bool(track.others) or _is_other(track.last, now, copies, before)
            track.last = now
        self.tracks = [track for track in self.tracks if _in_sight(track.box, copies)]

    def confirm(self, copies: Copies, found: Sequence[Detection], threshold: float) -> list[Track]:
        """Take in a detection of this picture; returns the tracks that are new.

        A face goes on with any detection that overlaps it; only one that scores at least `threshold` starts a track.
        Where another face took the place of one, the track goes on as a new one: its number is new, `former` the old.
        """
        rows, columns = copies.luma.shape
        boxes = [
            (scaled(detection.box, columns, rows), detection.score)
            for detection in sorted(found, key=lambda d: d.score, reverse=True)
        ]
        fresh = []
        for track, at in self._pairs([box for box, _ in boxes]):
            box, score = boxes[at]
            if track.others:
                track.former, track.others = (track.number, track.others), 0
                track.number = self.take_number()
                fresh.append(track)
            track.box = _blend(track.box, box) if track.box.iou(box) > STEADY_IOU else box
            track.score, track.missed = score, -1
            boxes[at] = (box, -1.0)
        for track in self.tracks:
            track.missed += 1
        self.tracks = [track for track in self.tracks if track.missed <= self.grace]
        started = [self._start(box, score) for box, score in boxes if score >= threshold]
        self.tracks += started
        for track in self.tracks:
            if not track.missed:
                track.template, track.likeness = cut_template(copies, track.box), 1.0
                track.last = track.template
        return fresh + started

    def _pairs(self, boxes: list[Box]) -> Iterable[tuple[Track, int]]:
        """Tracks and the detections that continue them, the closest pairs first, each at most once."""
        overlaps = [(t.box.iou(box), i, j) for i, t in enumerate(self.tracks) for j, box in enumerate(boxes)]
        tracks, taken = set(), set()
        for overlap, i, j in sorted(overlaps, reverse=True):
            if overlap >= SAME_IOU and i not in tracks and j not in taken:
                tracks.add(i)
                taken.add(j)
                yield self.tracks[i], j

    def take_number(self) -> int:
        """A number that no face had before."""
        self._last += 1
        return self._last

    def _start(self, box: Box, score: float) -> Track:
        return Track(self.take_number(), box, score)


def trace(template: Template | None, box: Box, pictures: Iterable[Copies]) -> list[Box]:
    """Where a face is in one picture after the other, in time or against it, for as long as it is surely seen."""
    boxes: list[Box] = []
    for copies in pictures:
        if template is None:
            break
        box, likeness = _step(template, copies, box)
        if likeness < SURE or not _in_sight(box, copies):
            break
        boxes.append(box)
    return boxes


def _step(template: Template, copies: Copies, box: Box) -> tuple[Box, float]:
    """The box in the next picture and how sure that is; it stays where it was if nothing there looks alike."""
    match = find_template(template, copies, box)
    return (box.moved(match.dx, match.dy) if match.likeness > SURE / 2 else box), match.likeness


def _is_other(before: Template | None, now: Template | None, copies: Copies, box: Box) -> bool:
    """Whether another face is there than in the picture before, where it was at `box`.

    The search is needed only where the two do not already lie on each other well enough.
    """
    if before is None:
        return False
    in_place = now is not None and now.pattern.shape == before.pattern.shape
    if now is not None and in_place and float(np.vdot(now.pattern, before.pattern)) > ALIKE:
        return False
    return find_template(before, copies, box).likeness < ALIKE


def _in_sight(box: Box, copies: Copies) -> bool:
    seen = inside(box, copies.luma.shape)
    return seen is not None and seen.area > 0.2 * box.area


def scaled(box: Box, across: float, down: float) -> Box:
    return Box(box.x0 * across, box.y0 * down, box.x1 * across, box.y1 * down)


def _blend(a: Box, b: Box) -> Box:
    return Box((a.x0 + b.x0) / 2, (a.y0 + b.y0) / 2, (a.x1 + b.x1) / 2, (a.y1 + b.y1) / 2)
