"""Decoding for live: no picture is held back, the size may not change, and jumping clocks are joined."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.video.stream import VideoStream

from ...errors import LimitError, SourceError
from ...types import Frame
from ..decoder import StreamDecoder
from ..info import SourceReport
from ..timeline import Timeline

AHEAD_SECONDS = 10
"""A step ahead of everything else by more than this is a clock that jumped: a real gap would have been a stall."""
RATE_WINDOW = 60
RATE_SLACK = 1.25
"""How many pictures the rate is counted over, and how far it may be above the limit: times jitter."""


class Limits:
    """The largest picture and the highest rate that are taken; 0 for no limit. Raises LimitError in words."""

    def __init__(self, width: int, height: int, rate: float) -> None:
        self.width, self.height, self.rate = width, height, rate

    def takes(self, width: int, height: int) -> bool:
        return not (self.width and width > self.width) and not (self.height and height > self.height)

    def check_size(self, width: int, height: int) -> None:
        if not self.takes(width, height):
            raise LimitError(
                f"the source sends pictures of {width}x{height}; at most {self.width or 'any'}x{self.height or 'any'} "
                "are allowed: lower its resolution or raise the limits"
            )

    def check_rate(self, rate: float) -> None:
        if self.rate and rate > self.rate:
            raise LimitError(
                f"the source sends {rate:.4g} pictures a second; at most {self.rate:g} are allowed: lower its frame "
                "rate or raise the limit"
            )


class LiveDecoder(StreamDecoder):
    """Hands each picture on at once; its duration is the packet's, else the distance of the two before it."""

    def __init__(self, stream: VideoStream, report: SourceReport, threads: int, limits: Limits) -> None:
        super().__init__(stream, report, threads)
        # Threads over frames would hold back one picture each.
        stream.codec_context.thread_type = "SLICE"
        self._limits = limits
        self._size = ""
        self._recent: deque[int] = deque(maxlen=RATE_WINDOW)

    def _next(self, picture: av.VideoFrame) -> Iterator[Frame]:
        self._count(picture)
        self._check_size(picture)
        pts = self._clock.stamp(picture.pts, picture.dts)
        self._check_rate(pts)
        picture.pts, picture.time_base = pts, self.time_base
        picture.duration = picture.duration or self._clock.step
        index, self._index = self._index, self._index + 1
        yield Frame(picture, pts, self.time_base, index, duration=picture.duration, stream=self.stream.index)

    def _check_size(self, picture: av.VideoFrame) -> None:
        self._limits.check_size(picture.width, picture.height)
        size = f"{picture.width}x{picture.height} {picture.format.name}"
        if self._size not in ("", size):
            raise SourceError(f"the picture size changed from {self._size} to {size}")
        self._size = size

    def _check_rate(self, pts: int) -> None:
        self._recent.append(pts)
        if len(self._recent) == RATE_WINDOW:
            self._limits.check_rate((RATE_WINDOW - 1) / float((pts - self._recent[0]) * self.time_base) / RATE_SLACK)


class LiveTimeline(Timeline):
    """As for transport streams, whatever the format: publishers behind a server may start their clock anew.

    A jump ahead is joined too. The first packet of a stream that starts late is placed by the others' clock.
    """

    def __init__(self, report: SourceReport) -> None:
        super().__init__("mpegts", report)

    def _choose(self, time: Fraction, end: Fraction) -> Fraction:
        nearest = super()._choose(time, end)
        reach = max(self._ends.values())
        if time + nearest <= reach + AHEAD_SECONDS:
            return nearest
        self._report.jumps += 1
        self._previous, self._offset = self._offset, end - time
        return self._offset


class Pacer:
    """Says how long to wait so that a source that comes in pieces, such as HLS, flows as it was recorded."""

    def __init__(self) -> None:
        self._anchor: float | None = None

    def wait_seconds(self, item_seconds: float) -> float:
        """The time until the item with this timestamp is due. A source that comes late moves the schedule."""
        now = time.monotonic()
        if self._anchor is None or now > self._anchor + item_seconds + 1.0 or item_seconds + self._anchor > now + 30.0:
            self._anchor = now - item_seconds
        return max(self._anchor + item_seconds - now, 0.0)


def seconds(packet: av.Packet[Any]) -> float | None:
    stamp = packet.dts if packet.dts is not None else packet.pts
    return None if stamp is None else float(stamp * Fraction(packet.time_base))
