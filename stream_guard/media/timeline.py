"""One timeline out of several: transport streams that were joined start their clock anew in the middle."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av

from .info import SourceReport

DISCONTINUOUS = ("mpegts", "mpeg")
"""Formats whose clock may jump; in others a jump is damage that the guards repair one by one."""
BACK_SECONDS = 1
"""A step back by more than this starts a new timeline at once; less does only if what follows agrees."""
LOOK_AHEAD = 256
"""How many packets may be looked at for that: some seconds of a picture with its sound."""
CLOCK_SECONDS = Fraction(1 << 33, 90000)
"""After this, 26.5 hours, the clock of a transport stream starts over."""
LEADING = ("video", "audio")
"""Streams that flow without pauses, so that their times say where the clock is. Others follow them."""


class Timeline:
    """Moves the packets behind a jump so that each stream goes on where it was. Sound and picture move alike.

    `moved` is by how many seconds all of them were moved up from the start.
    """

    def __init__(
        self, format: str, report: SourceReport, *, look_ahead: bool = False, before_zero: Fraction = Fraction(0)
    ) -> None:
        """With `look_ahead`, `arrange` holds packets back for a moment to tell a small jump from disorder.

        `before_zero` is how far before zero the clock begins, in seconds.
        """
        self._active = any(name in DISCONTINUOUS for name in format.split(","))
        self._look_ahead = look_ahead and self._active
        self._report = report
        self.moved = before_zero if self._active else Fraction(0)
        self._offset = self._previous = self.moved
        self._ends: dict[int, Fraction] = {}
        self._reach: Fraction | None = None
        """Where the leading streams are."""
        self._latest: dict[int, tuple[Fraction, Fraction]] = {}
        """Of each leading stream: the latest decoding time on its own clock, and the offset it was placed with."""

    @classmethod
    def of(cls, container: av.container.InputContainer, report: SourceReport) -> Timeline:
        """The timeline of a file."""
        name = container.format.name
        return cls(name, report, look_ahead=True, before_zero=seconds_before_zero(container))

    def arrange(self, packets: Iterable[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
        """All packets in their order, each with its times moved."""
        waiting: deque[av.Packet[Any]] = deque()
        for packet in packets:
            waiting.append(packet)
            yield from self._release(waiting, LOOK_AHEAD)
        yield from self._release(waiting, 1)

    def place(self, packet: av.Packet[Any]) -> None:
        """Move the packet's times in place."""
        stamp = packet.dts if packet.dts is not None else packet.pts
        if not self._active or stamp is None:
            return
        base = Fraction(packet.time_base)
        leads = packet.stream.type in LEADING
        offset = self._offset_for(packet.stream_index, stamp * base, leads)
        if leads and packet.dts is not None:
            self._note(packet.stream_index, stamp * base, offset)
        ticks = round(offset / base)
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
        end = (stamp + ticks + (packet.duration or 0)) * base
        self._ends[packet.stream_index] = end
        self._reach = end if leads else self._reach

    def _release(self, waiting: deque[av.Packet[Any]], most: int) -> Iterator[av.Packet[Any]]:
        """The packets that nothing speaks for holding any longer; of those held, fewer than `most` may stay."""
        while waiting:
            anew = self._starts_anew(waiting, len(waiting) >= most)
            if anew is None:
                return
            packet = waiting.popleft()
            if anew:
                self._jump(_time(packet), self._ends[packet.stream_index])
            self.place(packet)
            yield packet

    def _starts_anew(self, waiting: deque[av.Packet[Any]], all_known: bool) -> bool | None:
        """Whether a new clock begins less than BACK_SECONDS behind the old one; None where more must be seen.

        It does if the next packet of the stream lies behind too, and another stream steps back as well: a stream moved
        alone would lose its place beside the others.
        """
        first = waiting[0]
        if not self._look_ahead or not 0 < self._step_back(first) <= BACK_SECONDS:
            return False
        following = [p for p in waiting if p.stream_index == first.stream_index and p.dts is not None][1:]
        if not following:
            return False if all_known else None
        if self._step_back(following[0]) <= 0:
            return False  # One packet that is out of order.
        others = [p for p in waiting if p.stream_index != first.stream_index and p.stream_index in self._latest]
        if len(self._latest) == 1 or any(self._step_back(p) > 0 for p in others):
            return True
        return not others if all_known else None

    def _step_back(self, packet: av.Packet[Any]) -> Fraction:
        """How far the packet lies before its stream's latest on the newest clock. Only decoding times always rise."""
        time, offset = self._latest.get(packet.stream_index, (Fraction(0), None))
        return time - _time(packet) if packet.dts is not None and offset == self._offset else Fraction(0)

    def _note(self, stream: int, time: Fraction, offset: Fraction) -> None:
        latest, before = self._latest.get(stream, (time, offset))
        self._latest[stream] = (max(time, latest) if offset == before else time, offset)

    def _offset_for(self, stream: int, time: Fraction, leads: bool) -> Fraction:
        if not leads:
            # With its pauses, such a stream's own end says nothing about the clock.
            return self._offset if self._reach is None else self._nearest(time, self._reach)
        end = self._ends.get(stream)
        return self._offset if end is None else self._choose(time, end)

    def _choose(self, time: Fraction, end: Fraction) -> Fraction:
        """The offset under which `time` follows `end`; a new one where none does."""
        nearest = self._nearest(time, end)
        if time + nearest >= end - BACK_SECONDS:
            return nearest  # Under the newer clock, or a straggler of the older; a long gap ahead is a gap.
        return self._jump(time, end)

    def _nearest(self, time: Fraction, end: Fraction) -> Fraction:
        return min((self._offset, self._previous), key=lambda offset: abs(time + offset - end))

    def _jump(self, time: Fraction, end: Fraction) -> Fraction:
        self._report.jumps += 1
        self._previous, self._offset = self._offset, end - time
        return self._offset


def seconds_before_zero(container: av.container.InputContainer) -> Fraction:
    """How far before zero the first of the streams begins.

    The clock of a transport stream has no times below zero. FFmpeg makes them up for a recording that begins within the
    minute before the clock starts over, and other containers hide or refuse what lies there: it would be lost.
    """
    timed = [s for s in container.streams if s.start_time is not None and s.time_base]
    starts = [(s.start_time or 0) * Fraction(s.time_base or 0) for s in timed]
    return max(-min(starts, default=Fraction(0)), Fraction(0))


def _time(packet: av.Packet[Any]) -> Fraction:
    return (packet.dts or 0) * Fraction(packet.time_base)
