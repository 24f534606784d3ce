"""One timeline out of many connections: the times of each are moved by one offset, all streams alike."""

from __future__ import annotations

import threading
from collections.abc import Callable
from fractions import Fraction
from time import monotonic

BACK_SECONDS = 1
"""A step back by more than this is a clock that jumped; less is a matter of order."""
FORWARD_SECONDS = 5
"""A step ahead by more than this beyond what the wall clock says is one too."""
LEAD_SECONDS = Fraction(1, 5)
"""The first item of a connection is placed this much behind its start: items of other streams may begin earlier."""
SLEW = 0.001
"""How fast the wall's idea of the timeline follows a source whose clock runs at another speed, in s a second."""
MICROSECONDS = 1_000_000


class Splice:
    """Where each item goes on the output's timeline, in seconds from its start. Any thread may ask `now`.

    A source's clock is believed as long as it runs on. What it does not say, how long a connection was away, the wall
    clock says. Sound and picture keep their distance because all streams of a connection are moved alike.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.jumps = 0
        """Clock jumps inside a connection that were joined."""
        self._clock = clock
        self._lock = threading.Lock()
        self._anchor: float | None = None  # timeline minus wall
        self._end = Fraction(0)  # how far the timeline has got
        self._wall = 0.0  # when it got there
        self._start = Fraction(0)  # where the present clock's items begin
        self._offset: Fraction | None = None
        self._previous: Fraction | None = None
        self._ends: dict[int, Fraction] = {}  # of each stream, in its own clock moved

    def connect(self) -> None:
        """Another connection: its first item comes now."""
        with self._lock:
            self._offset = self._previous = None

    def place(self, stream: int, stamp: Fraction, duration: Fraction) -> Fraction | None:
        """The seconds to add to all times of this item; None for one that lies before what was written already."""
        with self._lock:
            wall = self._clock()
            offset = self._choose(stream, stamp, wall)
            placed = stamp + offset
            if placed <= self._start:
                return None
            end = placed + duration
            self._ends[stream] = end
            self._advance(end, wall)
            return offset

    def now(self) -> Fraction:
        """Where the timeline is by the wall clock: never before the end of what was placed."""
        with self._lock:
            return self._now(self._clock())

    def ahead_seconds(self, time: Fraction) -> float:
        """How far `time` lies ahead of the wall clock: a connection that begins with a burst is ahead from then on."""
        with self._lock:
            return 0.0 if self._anchor is None else float(time) - (self._anchor + self._clock())

    def reach(self, end: Fraction) -> None:
        """Something of ours was written up to here: what comes next lies behind it."""
        with self._lock:
            self._end = max(self._end, end)

    def _now(self, wall: float) -> Fraction:
        if self._anchor is None:
            return self._end
        return max(self._end, _exact(self._anchor + wall))

    def _advance(self, end: Fraction, wall: float) -> None:
        if self._anchor is None:
            self._anchor = float(end) - wall
        elif end > self._end:
            error, most = float(end) - (self._anchor + wall), SLEW * (wall - self._wall)
            self._anchor += min(max(error, -most), most)
        if end > self._end:
            self._end, self._wall = end, wall

    def _choose(self, stream: int, stamp: Fraction, wall: float) -> Fraction:
        if self._offset is None:
            return self._begin(stamp, wall)
        expected, back = self._ends.get(stream), BACK_SECONDS
        if expected is None:
            # A stream's first item: it may begin later than the others, and transport streams send pictures up to
            # seconds before the sound that goes with them; but it is on no clock of its own.
            expected, back = self._end, FORWARD_SECONDS
        patience = FORWARD_SECONDS + max(wall - self._wall, 0.0)
        offsets = (self._offset,) if self._previous is None else (self._offset, self._previous)
        nearest = min(offsets, key=lambda offset: abs(stamp + offset - expected))
        placed = stamp + nearest
        # Sound that was silent for long comes back where the others are by now.
        if expected - back <= placed <= max(expected, self._end) + Fraction(patience):
            return nearest
        self.jumps += 1
        previous = self._offset
        offset = self._begin(stamp, wall)
        self._previous = previous
        return offset

    def _begin(self, stamp: Fraction, wall: float) -> Fraction:
        self._start = self._now(wall)
        self._offset = self._start + LEAD_SECONDS - stamp
        self._ends.clear()
        return self._offset


def _exact(seconds: float) -> Fraction:
    return Fraction(round(seconds * MICROSECONDS), MICROSECONDS)
