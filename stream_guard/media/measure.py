"""How large a video stream is, read from the packets alone: nothing is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av

from .translate import check_readable, reading


@dataclass(frozen=True, slots=True)
class StreamSize:
    """The packets of one stream. `seconds` reaches from the first packet's time to the end of the last."""

    packets: int
    bytes: int
    seconds: float

    @property
    def bit_rate(self) -> float:
        """In bits per second, without the container; 0 for a stream without length."""
        return 8 * self.bytes / self.seconds if self.seconds else 0.0


def stream_size(path: str, stream: int) -> StreamSize:
    """The size of stream number `stream` of the file at `path`. Raises SourceError where it cannot be read."""
    check_readable(path)
    packets = size = 0
    first: Fraction | None = None
    end = Fraction(0)
    with reading(path), av.open(f"file:{path}", container_options={"protocol_whitelist": "file"}) as container:
        for packet in container.demux(container.streams[stream]):
            if not packet.size:
                continue
            packets, size = packets + 1, size + packet.size
            if packet.pts is not None:
                time = packet.pts * Fraction(packet.time_base)
                first = time if first is None else min(first, time)
                end = max(end, time + (packet.duration or 0) * Fraction(packet.time_base))
    return StreamSize(packets, size, float(end - first) if first is not None else 0.0)
