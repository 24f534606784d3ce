"""Faces in the held pictures between two detections, where following alone does not reach: a few more detections there.

A face that grows, turns or runs looks like itself in the next picture, but not ten pictures on. So where tracing a face
back through the held pictures ends, a detection there says whether that is where it came in; if not, the rest of
the gap is halved with one detection after the other. When nothing comes or goes there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..types import Box
from .detectors import Detection
from .glimpses import passing
from .looks import Look
from .tracking import SURE, Copies, cut_template, find_template
from .tracks import SAME_IOU, Track, Tracker, trace

EXTRA = 5
"""So many detections at most are added between two: one where the trace ends, and four halve what is left."""
STRIDE = 1.0
"""How far a face may get from one picture to the next, in sides of its box, to be taken for the same face."""
GROWTH = 4.0
"""By how much the area of its box may differ in a gap."""


class Gap:
    """The held pictures before `last`, newest first, back to the detection or the cut before it.

    `detect` gives what is found in a picture, in samples of its gray copy, also what scores below `threshold`.
    """

    def __init__(
        self,
        before: Copies | None,
        last: Look,
        earlier: Sequence[Look],
        tracker: Tracker,
        threshold: float,
        detect: Callable[[Look], list[Detection]],
    ) -> None:
        self._before = before
        self._looks = [last, *earlier]
        self._tracker = tracker
        self._threshold = threshold
        self._detect = detect
        self._left = EXTRA

    def close(self, fresh: Sequence[Track]) -> None:
        """Cover the new faces from where they came in, and what the detections on the way show besides."""
        starts = [self._trace(track.number, 0, range(1, len(self._looks))) for track in fresh]
        for track, start in zip(fresh, starts, strict=True):
            self._search(track.number, 1 + start)
        if any(track.missed and track.likeness >= SURE for track in self._tracker.tracks):
            self._found(len(self._looks) // 2)  # followed, but not seen at the end: onto what did it slip?
        self._glimpse()
        for at, look in enumerate(self._looks):
            for find in look.found or ():
                if find.score >= self._threshold and not look.covers(find.box, SAME_IOU):
                    self._note(self._tracker.take_number(), at, find)

    def _glimpse(self) -> None:
        """Look where something came and went that may be a face."""
        if self._before is not None:
            at = passing(self._before, self._looks[0].copies, self._looks[1:])
            if at is not None:
                self._found(1 + at)

    def _search(self, number: int, start: int) -> None:
        """Halve the pictures from `start` on until the face's first one is found; `start - 1` has the face."""
        end, at = len(self._looks), start
        while start < end:
            finds = self._found(at)
            if finds is None:
                break
            find = self._continuing(number, start - 1, at, finds)
            if find is None:
                end = at
            else:
                number, start = self._join(number, start - 1, at, find, end)
            at = (start + end) // 2
        # Too few detections to tell: better a box too many than a face too few.
        for look in self._looks[start:end]:
            look.faces[number] = self._looks[start - 1].faces[number]

    def _join(self, number: int, known: int, at: int, find: Detection, end: int) -> tuple[int, int]:
        """Cover the pictures between `known` and `at`, and go on from there; returns the number and the next start."""
        box, score = self._looks[known].faces[number]
        if not self._is_same(box, known, find.box, at):
            number = self._tracker.take_number()
        self._looks[at].faces[number] = find.box, find.score
        self._trace(number, at, range(at - 1, known, -1))
        for between in range(known + 1, at):
            part = (between - known) / (at - known)
            self._looks[between].faces.setdefault(number, (_between(box, find.box, part), score))
        return number, at + 1 + self._trace(number, at, range(at + 1, end))

    def _is_same(self, box: Box, known: int, other: Box, at: int) -> bool:
        template = cut_template(self._looks[at].copies, other)
        return template is not None and find_template(template, self._looks[known].copies, box).likeness >= SURE

    def _continuing(self, number: int, known: int, at: int, finds: Sequence[Detection]) -> Detection | None:
        """The find that is the face of picture `known`: one that overlaps it, or the nearest in reach."""
        box, look = self._looks[known].faces[number][0], self._looks[at]
        free = [find for find in finds if not look.covers(find.box, SAME_IOU)]
        near = [find for find in free if find.box.iou(box) >= SAME_IOU]
        if near:
            return max(near, key=lambda find: find.box.iou(box))
        far = [
            find for find in free if find.score >= self._threshold and _reaches(box, find.box, STRIDE * (at - known))
        ]
        return min(far, key=lambda find: _distance(box, find.box), default=None)

    def _note(self, number: int, at: int, find: Detection) -> None:
        """A face that no detection before or after saw."""
        self._looks[at].faces[number] = find.box, find.score
        self._trace(number, at, range(at + 1, len(self._looks)))
        self._trace(number, at, range(at - 1, 0, -1))

    def _trace(self, number: int, at: int, places: Sequence[int]) -> int:
        """Follow the face of picture `at` through those places; returns for how many it was surely seen."""
        box, score = self._looks[at].faces[number]
        template = cut_template(self._looks[at].copies, box)
        boxes = trace(template, box, (self._looks[place].copies for place in places))
        for place, there in zip(places, boxes, strict=False):
            self._looks[place].faces[number] = there, score
        return len(boxes)

    def _found(self, at: int) -> list[Detection] | None:
        """What a detection on that picture gives; None when there have been enough."""
        look = self._looks[at]
        if look.found is None and self._left and not look.detected:
            self._left -= 1
            look.found = self._detect(look)
        return look.found


def _between(a: Box, b: Box, part: float) -> Box:
    return Box(*(x + part * (y - x) for x, y in zip(_sides(a), _sides(b), strict=True)))


def _sides(box: Box) -> Iterator[float]:
    yield from (box.x0, box.y0, box.x1, box.y1)


def _distance(a: Box, b: Box) -> float:
    (ax, ay), (bx, by) = a.center, b.center
    return max(abs(ax - bx), abs(ay - by))


def _reaches(a: Box, b: Box, sides: float) -> bool:
    side = max(a.width, a.height, b.width, b.height)
    return _distance(a, b) <= sides * side and 1 / GROWTH <= a.area / b.area <= GROWTH
