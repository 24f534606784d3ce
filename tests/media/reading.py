"""Read a file back with PyAV alone, so that a mistake of our own source cannot hide one of our sink."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av


@dataclass
class Read:
    """Presentation times and durations in seconds, by stream index."""

    frames: dict[int, list[Fraction]] = field(default_factory=dict)
    packets: dict[int, list[Fraction]] = field(default_factory=dict)
    payload: dict[int, list[bytes]] = field(default_factory=dict)
    pictures: dict[int, av.VideoFrame] = field(default_factory=dict)

    @property
    def video(self) -> list[Fraction]:
        return self.frames[min(self.frames)]


def read(path: Path) -> Read:
    result = Read()
    with av.open(str(path), metadata_errors="surrogateescape") as container:
        for packet in container.demux():
            stream = packet.stream
            if stream.type == "video" and not stream.disposition & av.stream.Disposition.attached_pic:
                for frame in packet.decode():
                    base = Fraction(stream.time_base)
                    result.frames.setdefault(stream.index, []).append(frame.pts * base)
                    result.pictures.setdefault(stream.index, frame)
            elif packet.size:
                stamp = (packet.pts or 0) * Fraction(packet.time_base)
                result.packets.setdefault(stream.index, []).append(stamp)
                result.payload.setdefault(stream.index, []).append(bytes(packet))
    return result


def end(path: Path) -> float:
    with av.open(str(path)) as container:
        return container.duration / 1e6
