"""Whole-number time arithmetic."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av

from .info import SinkReport


def rescale(value: int, source: Fraction, target: Fraction) -> int:
    """`value` ticks of `source` seconds in ticks of `target`, to the nearest, halves away from zero as FFmpeg does."""
    exact = value * source / target
    low, rest = divmod(abs(exact.numerator), exact.denominator)
    nearest = low + (2 * rest >= exact.denominator)
    return nearest if exact >= 0 else -nearest


class DtsGuard:
    """Keeps the decoding times of one output stream rising: one duplicate must not end the run."""

    def __init__(self, time_base: Fraction, report: SinkReport, *, allow_equal: bool = False) -> None:
        """`allow_equal` for subtitles, where several lines may begin at once, and where the muxer takes equal times.

        A packet shorter than a tick of the container, as of TrueHD in Matroska, would move all behind it up for good.
        """
        self._base = time_base
        self._step = 0 if allow_equal else 1
        self._report = report
        self._last: int | None = None

    def fix(self, packet: av.Packet[Any]) -> None:
        """Bring the packet to the output's time base, and move its times up where they do not rise."""
        source = Fraction(packet.time_base)
        # With one of the two missing, the other stands in: copied streams other than video are not reordered.
        dts = packet.dts if packet.dts is not None else packet.pts
        pts = packet.pts if packet.pts is not None else dts
        if dts is None or pts is None:
            raise ValueError("a packet without any timestamp")
        dts, pts = rescale(dts, source, self._base), rescale(pts, source, self._base)
        if self._last is not None and dts < self._last + self._step:
            self._report.dts_repaired += 1
            dts = self._last + self._step
        self._last = dts
        packet.duration = rescale(packet.duration or 0, source, self._base)
        packet.dts, packet.pts, packet.time_base = dts, max(pts, dts), self._base
