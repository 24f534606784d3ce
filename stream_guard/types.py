"""The currency of the pipeline: boxes, faces, verdicts and frames. Imports nothing of ours but errors-free stdlib."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a player shows a stored picture: turned counterclockwise by `turns` quarters, then mirrored left to right."""

    turns: int = 0
    mirrored: bool = False

    @property
    def up(self) -> tuple[int, int]:
        """Where the up of the shown picture points in the stored one, along x and y."""
        return ((0, -1), (1, 0), (0, 1), (-1, 0))[self.turns]


UPRIGHT = Orientation()
"""Shown as it is stored."""


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned rectangle `xyxy` in pixels of the picture; x1 and y1 are exclusive."""

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        if not (self.x1 > self.x0 and self.y1 > self.y0):
            raise ValueError(f"a box needs x1 > x0 and y1 > y0, got {(self.x0, self.y0, self.x1, self.y1)}")

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        return self.width * self.height

    @property
    def center(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def iou(self, other: Box) -> float:
        """Intersection over union, 0 to 1."""
        w = min(self.x1, other.x1) - max(self.x0, other.x0)
        h = min(self.y1, other.y1) - max(self.y0, other.y0)
        inter = max(w, 0.0) * max(h, 0.0)
        return inter / (self.area + other.area - inter)

    def square(self, scale: float, up: float = 0.0, orientation: Orientation = UPRIGHT) -> Box:
        """The square around the centre with side `scale * max(width, height)`, moved up by `up` sides, as shown."""
        side = scale * max(self.width, self.height)
        cx, cy = self.center
        across, down = orientation.up
        cx, cy = cx + across * up * side, cy + down * up * side
        return Box(cx - side / 2, cy - side / 2, cx + side / 2, cy + side / 2)

    def moved(self, dx: float, dy: float) -> Box:
        return Box(self.x0 + dx, self.y0 + dy, self.x1 + dx, self.y1 + dy)


# The square crop that face-editing networks are fed, as CelebA's aligned images show it: the head with its hair. A face
# box (forehead to chin) of height h sits in a square of 1.4 h, a little below its middle (measured on CelebAMask-HQ).
HEAD_SCALE = 1.4
HEAD_UP = 0.06
# What the disrupter covers is wider, because an attacker crops as they like and the border is feathered.
GUARD_SCALE = 1.7


# Boxes and regions lie in the stored picture; `orientation` says where its faces have their hair.


def head_region(face: Box, orientation: Orientation = UPRIGHT) -> Box:
    """The square that a face-editing network would be fed for this face; may reach beyond the picture."""
    return face.square(HEAD_SCALE, HEAD_UP, orientation)


def guard_region(face: Box, orientation: Orientation = UPRIGHT) -> Box:
    """The square that the disrupter sees and writes for this face; may reach beyond the picture."""
    return face.square(GUARD_SCALE, HEAD_UP * HEAD_SCALE / GUARD_SCALE, orientation)


def centred_region(face: Box, scale: float, orientation: Orientation = UPRIGHT) -> Box:
    """The square of `scale` box sides with the middle of `head_region`, as deepfake detectors are fed (1.3)."""
    return face.square(scale, HEAD_UP * HEAD_SCALE / scale, orientation)


class Protection(Enum):
    """What became of a face. A face is born UNPROTECTED: only the disrupter can say otherwise."""

    UNPROTECTED = "unprotected"
    PROTECTED = "protected"


@dataclass(frozen=True, slots=True)
class Face:
    """One face in one frame. `track` is stable while the face stays in sight; `reason` says why it is unprotected."""

    track: int
    box: Box
    score: float
    protection: Protection = Protection.UNPROTECTED
    reason: str = ""

    def protected(self) -> Face:
        return replace(self, protection=Protection.PROTECTED, reason="")

    def unprotected(self, reason: str) -> Face:
        """`reason` becomes a metric label: one of a few fixed words, such as `too_small` or `engine_failed`."""
        return replace(self, protection=Protection.UNPROTECTED, reason=reason)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a checking stage says of a frame or a track: `label` is one of the stage's own words."""

    stage: str
    label: str
    score: float
    track: int | None = None
    reason: str = ""
    measured: bool = True
    """False where nothing could be scored; `score` then says nothing."""
    confidence: float | None = None
    """How sure the stage is of its label, 0 to 1; None where it does not say."""
    region: str = ""
    """The part of the face that speaks most for the label, such as `mouth`; empty where the stage does not say."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded picture in its native pixel format, on the source's own clock.

    `pts` counts in `time_base` seconds and is the only clock; `picture` keeps the decoder's planes, range, matrix and
    side data. Stages return a new Frame (`replace`), and may write into the picture only after `writable()`.
    """

    picture: av.VideoFrame = field(repr=False)
    pts: int
    time_base: Fraction
    index: int
    faces: tuple[Face, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    faces_known: bool = False
    """True once a stage has looked for faces: an empty `faces` then means that there are none."""
    duration: int = 0
    """How long the picture is shown, in `time_base` units; 0 where the source does not say."""
    stream: int = 0
    """The index of the video stream in the source; only sources opened with `all_video` yield more than one."""

    @property
    def time_seconds(self) -> float:
        return float(self.pts * self.time_base)

    @property
    def width(self) -> int:
        return self.picture.width

    @property
    def height(self) -> int:
        return self.picture.height

    @property
    def unprotected(self) -> tuple[Face, ...]:
        return tuple(f for f in self.faces if f.protection is Protection.UNPROTECTED)

    def __repr__(self) -> str:
        return (
            f"Frame(#{self.index} {self.time_seconds:.3f}s pts={self.pts}/{self.time_base} "
            f"{self.picture.format.name} {self.width}x{self.height} faces={len(self.faces)})"
        )
