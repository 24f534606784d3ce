"""What the outputs show while the source is away, at the stream's rate and in real time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from time import monotonic
from typing import TYPE_CHECKING

from ..media import stand_in
from ..types import Frame
from . import slate
from .spec import OnGap
from .splice import Splice

if TYPE_CHECKING:
    import av

FASTEST, SLOWEST, USUAL = Fraction(60), Fraction(1), Fraction(25)
PAUSE_SECONDS = 1.0
"""Where the outputs are ahead of the wall clock, viewers have that much in store: so long may the first picture wait.

Without it each connection that begins with a burst would add to the delay for good.
"""
FILL_INDEX = -1
"""Pictures of a gap have no index of their own: they are not counted as frames."""


@dataclass(slots=True)
class _Open:
    """A gap that is being filled: the picture, and when it is due next, on the timeline and by the wall."""

    picture: av.VideoFrame
    time_base: Fraction
    due: Fraction
    wall: float
    step: Fraction


class Filler:
    """Owned by the encode thread. Between `begin` and `end` it says how long to wait and what to write then."""

    def __init__(self, on_gap: OnGap, splice: Splice, clock: Callable[[], float] = monotonic) -> None:
        self._on_gap, self._splice, self._clock = on_gap, splice, clock
        self._open: _Open | None = None
        self._slate: tuple[stand_in.Layout, av.VideoFrame] | None = None

    def begin(self, last: Frame, *, fit: bool = True) -> None:
        """The source is away; `last` is the last frame that left. Nothing happens for `close`.

        One that was not `fit` to leave, because a face in it is unprotected, is not shown on: the slate is.
        """
        if self._on_gap is OnGap.CLOSE:
            return
        picture = last.picture if fit and self._on_gap is OnGap.FREEZE else self._drawn(last.picture)
        step = 1 / rate_of(last)
        due = max(self._splice.now(), last.pts * last.time_base + step)
        pause = min(max(self._splice.ahead_seconds(due), 0.0), PAUSE_SECONDS)
        self._open = _Open(picture, last.time_base, due, self._clock() + pause, step)

    def end(self) -> None:
        self._open = None

    def wait_seconds(self) -> float | None:
        """How long until a picture is due; None outside a gap."""
        return None if self._open is None else max(self._open.wall - self._clock(), 0.0)

    def picture(self) -> Frame:
        """The picture that is due now. Those that were missed, because the machine was busy, are left out."""
        gap = self._open
        if gap is None:
            raise ValueError("no gap is being filled")
        frame = Frame(
            gap.picture,
            int(gap.due // gap.time_base),  # rounded, two could get one time: halves go to the even tick
            gap.time_base,
            FILL_INDEX,
            duration=round(gap.step / gap.time_base),
        )
        self._splice.reach(gap.due + gap.step)
        steps = 1 + max(int((self._clock() - gap.wall) / gap.step), 0)
        gap.due += steps * gap.step
        gap.wall += float(steps * gap.step)
        return frame

    def _drawn(self, like: av.VideoFrame) -> av.VideoFrame:
        layout = stand_in.layout(like)
        if self._slate is None or self._slate[0] != layout:
            self._slate = layout, stand_in.painted(like, slate.draw(like.width, like.height))
        return self._slate[1]


def rate_of(frame: Frame) -> Fraction:
    """The stream's rate by how long a frame is shown; within reason, whatever the source says."""
    seconds = frame.duration * frame.time_base
    return USUAL if seconds <= 0 else min(max(1 / seconds, SLOWEST), FASTEST)
