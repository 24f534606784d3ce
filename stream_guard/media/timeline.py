"""One timeline out of several: transport streams that were joined start their clock anew in the middle."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av

from .info import SourceReport

DISCONTINUOUS = ("mpegts", "mpeg")
"""Formats whose clock may jump; in others a jump is damage that the guards repair one by one."""
BACK_SECONDS = 1
"""A step back by more than this starts a new timeline; less is a matter of order."""


class Timeline:
    """Moves the packets behind a jump so that each stream goes on where it was. Sound and picture move alike."""

    def __init__(self, format: str, report: SourceReport) -> None:
        self._active = any(name in DISCONTINUOUS for name in format.split(","))
        self._report = report
        self._offset = self._previous = Fraction(0)
        self._ends: dict[int, Fraction] = {}

    def place(self, packet: av.Packet[Any]) -> None:
        """Move the packet's times in place."""
        stamp = packet.dts if packet.dts is not None else packet.pts
        if not self._active or stamp is None:
            return
        base = Fraction(packet.time_base)
        end = self._ends.get(packet.stream_index)
        offset = self._offset if end is None else self._choose(stamp * base, end)
        ticks = round(offset / base)
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
        self._ends[packet.stream_index] = (stamp + ticks + (packet.duration or 0)) * base

    def _choose(self, time: Fraction, end: Fraction) -> Fraction:
        """The offset under which `time` follows `end`; a new one where none does."""
        nearest = min((self._offset, self._previous), key=lambda offset: abs(time + offset - end))
        if time + nearest >= end - BACK_SECONDS:
            return nearest  # Under the newer clock, or a straggler of the older; a long gap ahead is a gap.
        self._report.jumps += 1
        self._previous, self._offset = self._offset, end - time
        return self._offset
