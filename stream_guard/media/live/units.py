"""What is handed from the one encoder to every output: encoded bytes with their times. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av


@dataclass(frozen=True, slots=True)
class Unit:
    """One encoded picture or one packet of sound. `stream` is its number in the mould."""

    data: bytes = field(repr=False)
    stream: int
    pts: int
    dts: int
    duration: int
    time_base: Fraction
    key: bool
    """Whether decoding of the picture can begin here; never for sound."""
    video: bool

    @property
    def end(self) -> Fraction:
        return (self.pts + self.duration) * self.time_base

    def packet(self) -> av.Packet[Any]:
        """A packet of its own for one muxer, which changes what it is given."""
        made = av.Packet(self.data)
        made.pts, made.dts, made.duration = self.pts, self.dts, self.duration
        made.time_base = self.time_base
        made.is_keyframe = self.key or not self.video
        return made


def unit_of(packet: av.Packet[Any], stream: int, *, video: bool) -> Unit:
    """An encoder's packet as a unit; its times in its own time base."""
    pts = packet.pts if packet.pts is not None else packet.dts or 0
    dts = packet.dts if packet.dts is not None else pts
    return Unit(
        data=bytes(packet),
        stream=stream,
        pts=pts,
        dts=dts,
        duration=packet.duration or 0,
        time_base=Fraction(packet.time_base),
        key=video and packet.is_keyframe,
        video=video,
    )
