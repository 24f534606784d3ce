"""Does a source end where its own index or header says? Only formats that say so reliably are asked."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
from av.video.stream import VideoStream

from .info import SourceReport
from .probe import fraction

INDEXED = ("mov", "avi")
"""The index gives the exact duration of each stream."""
HEADED = ("matroska", "flv", "asf", "nut")
"""The header gives the duration of the whole file, not of one stream."""
FROM_THE_START = ("flv",)
"""Of these: where it counts from the first time in the file. In the others it counts from zero, and so is the end."""
SLACK_SECONDS = 0.5
"""Headers round and count the longest stream; less than this is not a truncation."""


class Extent:
    """Follows how far the packets reach and compares it with what the container promised."""

    def __init__(self, container: av.container.InputContainer, video: VideoStream) -> None:
        names = container.format.name.split(",")
        self._video = video.index
        self._base = fraction(video.time_base) or Fraction(1, 90000)
        self._indexed = any(name in INDEXED for name in names)
        self._start = float((video.start_time or 0) * self._base)
        self._expected = self._promise(container, video, names)
        self._first: int | None = None
        self._last = 0
        self._cut = False
        """Whether an edit list hides a part of the video."""
        self._reach = self._start

    @property
    def end(self) -> int | None:
        """Where the video ends in its own ticks, where the index says so exactly."""
        if not self._indexed or self._ticks is None or self._late_and_cut:
            return None
        return self._ticks + round(self._start / self._base)

    def see(self, packet: av.Packet[Any]) -> None:
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None:
            self._reach = max(self._reach, float((stamp + (packet.duration or 0)) * Fraction(packet.time_base)))
        if packet.stream_index != self._video:
            return
        self._cut = self._cut or packet.is_discard
        if packet.dts is not None:
            self._first = packet.dts if self._first is None else self._first
            self._last = max(self._last, packet.dts + (packet.duration or 0))

    def conclude(self, report: SourceReport) -> None:
        """Fill in `truncated`, `expected_seconds`, `read_seconds` and `missing_seconds`."""
        report.expected_seconds = self._expected
        report.read_seconds = self._reach
        if self._expected is None:
            return
        if self._indexed:
            # Counted in decoding times: presentation times of reordered frames carry no exact durations.
            span = 0 if self._first is None else self._last - self._first
            missing = float(((self._ticks or 0) - span) * self._base)
            if self._late_and_cut:
                missing -= self._start
                self._expected = report.expected_seconds = self._expected - self._start
            slack = 1.5 * (span / max(report.frames, 1)) * float(self._base)
            report.read_seconds = self._expected - max(missing, 0.0)
        else:
            missing = self._expected - self._reach
            slack = SLACK_SECONDS
        if missing > max(slack, 1e-6):
            report.truncated, report.missing_seconds = True, missing

    @property
    def _late_and_cut(self) -> bool:
        """FFmpeg's duration then counts from zero, with the pause before the start, or counts what is hidden too."""
        return self._cut and self._start > 0

    def _promise(self, container: av.container.InputContainer, video: VideoStream, names: list[str]) -> float | None:
        self._ticks = video.duration
        if self._indexed:
            return None if video.duration is None else self._start + float(video.duration * self._base)
        if any(name in HEADED for name in names) and container.duration is not None:
            return _end_by_header(container, names)
        return None


def _end_by_header(container: av.container.InputContainer, names: list[str]) -> float:
    """The lower one where writers differ: some count from the first time in Matroska too, as mkvmerge does."""
    start = (container.start_time or 0) / 1e6
    if any(name in FROM_THE_START for name in names):
        return (container.duration or 0) / 1e6 + start
    # Of Windows Media FFmpeg gives the header's value to each stream, and adds up what lies between their starts.
    own = [float(s.duration * Fraction(s.time_base)) for s in container.streams if s.duration and s.time_base]
    return max(own, default=(container.duration or 0) / 1e6) + min(start, 0.0)
