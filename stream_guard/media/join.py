"""Segments encoded one by one, each on its own, and joined into the file that one run would have written.

Nothing passes from one segment to the next: each has an encoder of its own, so it begins with a key frame and its rate
control knows nothing of what was before. Decoding times are made anew for the whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
from av.error import FFmpegError

from ..errors import SinkError
from ..types import Frame
from .containers import container_for
from .encoder import VideoTrack
from .formats import has_alpha
from .info import CopiedPacket, VideoInfo
from .packets import Stored, read_packets
from .settings import EncoderSettings
from .sink import FileSink
from .source import Source
from .stills import Guard
from .translate import writing

NEVER = 1 << 62


class SegmentEncoder:
    """The encoder of one segment, as the output `path` would have it. `encode(None)` ends it."""

    def __init__(self, path: str, info: VideoInfo, first: av.VideoFrame, settings: EncoderSettings) -> None:
        container = container_for(path)
        self._path = path
        self.warnings: list[str] = []
        """What could not be carried, in words."""
        with writing(path):
            self._out = av.open(io.BytesIO(), "w", format=container.format)
            self._track = VideoTrack(self._out, container, info, first, settings, self.warnings)
            self._out.start_encoding()

    @property
    def parameters(self) -> str:
        return parameters(self._track)

    def encode(self, frame: Frame | None) -> list[Stored]:
        with writing(self._path):
            return [Stored.of(packet) for packet in self._track.encode(frame)]

    def close(self) -> None:
        # Nothing was muxed: some formats say so when they end.
        with contextlib.suppress(FFmpegError, ValueError):
            self._out.close()


class JoinedSink(FileSink):
    """A FileSink whose pictures come from segments. Settings and source must be those of the segments."""

    def __init__(
        self,
        path: str,
        source: Source,
        settings: EncoderSettings,
        *,
        overwrite: bool,
        token: str,
        guard: Guard | None = None,
    ) -> None:
        """Arguments and errors as those of FileSink."""
        self.on_whole: Callable[[str], None] = lambda temporary: None
        """Called with the hidden file's path once it is whole, before it gets its name."""
        self.written = 0
        """Bytes of the whole file."""
        super().__init__(path, source, settings, overwrite=overwrite, token=token, guard=guard)

    def __enter__(self) -> JoinedSink:
        return self

    @property
    def segmentable(self) -> bool:
        """Whether packets tell all: transparency in VP9 travels beside them."""
        return not any(has_alpha(t.pix_fmt) and t.stream.codec_context.name.startswith("libvpx") for t in self._all)

    @property
    def parameters(self) -> str:
        """What the segments' `parameters` have to be, to fit into this file."""
        return " ".join(parameters(track) for track in self._all)

    def join(self, source: Source, segments: Sequence[str], on_packet: Callable[[int, int], None]) -> None:
        """Write all packets of the segment files and of the source's other streams.

        `on_packet` is called with the number of pictures written and their total, and may raise to stop.
        """
        ((stream, track),) = self._videos.items()
        source.begin_at(stream, NEVER)
        stamps = array("q", (p.pts for path in segments for p in read_packets(path, payloads=False)))
        video = _timed(segments, decoding_times(stamps), track.time_base)
        waiting = next(video, None)
        for item in source.read():
            if isinstance(item, CopiedPacket):
                while waiting is not None and _time(waiting) <= (item.time_seconds or 0.0):
                    self._put(track, waiting, len(stamps), on_packet)
                    waiting = next(video, None)
                self.write_packet(item)
        while waiting is not None:
            self._put(track, waiting, len(stamps), on_packet)
            waiting = next(video, None)

    def abort(self) -> None:
        if not self._closed:
            self._rest()
        super().abort()

    def _rest(self) -> None:
        """The encoders were opened for their headers only; some complain when they are closed without an end."""
        for track in getattr(self, "_videos", {}).values():
            if track.stream.codec_context.is_open:
                with contextlib.suppress(FFmpegError, ValueError):
                    track.encode(None)

    @property
    def _all(self) -> list[VideoTrack]:
        return list(self._videos.values())

    def _put(self, track: VideoTrack, packet: av.Packet[Any], total: int, tell: Callable[[int, int], None]) -> None:
        packet.stream = track.stream
        with writing(self.path):
            self._out.mux(packet)
        self.report.frames += 1
        tell(self.report.frames, total)

    def _finish(self) -> None:
        for carried in self._tracks.values():
            self._mux(carried.finish())
        self._rest()
        self._out.close()
        self.written = os.path.getsize(self._file.temporary)
        self.on_whole(self._file.temporary)


def parameters(track: VideoTrack) -> str:
    """What all segments of one file must share: the encoder's header, format and size, as a SHA-256."""
    context = track.stream.codec_context
    words = f"{context.name} {context.pix_fmt} {context.width}x{context.height} {track.time_base} "
    return hashlib.sha256(words.encode() + bytes(context.extradata or b"")).hexdigest()


def decoding_times(stamps: Sequence[int]) -> array[int]:
    """Decoding times for packets with these presentation times, in decoding order: rising, none after its picture.

    As encoders do it: the times themselves in order, behind by as many pictures as reordering asks for.
    """
    order = sorted(stamps)
    rank = {pts: i for i, pts in enumerate(order)}
    delay = max((i - rank[pts] for i, pts in enumerate(stamps)), default=0)
    lead = order[delay] - order[0] if order else 0
    times = array("q", (pts - lead for pts in order[:delay]))
    times.extend(order[: len(order) - delay])
    for i in range(1, len(times)):
        times[i] = max(times[i], times[i - 1] + 1)
    return times


def _timed(segments: Sequence[str], times: Sequence[int], base: Fraction) -> Iterator[av.Packet[Any]]:
    stored = (packet for path in segments for packet in read_packets(path))
    for packet, dts in zip(stored, times, strict=True):
        made = packet.packet(dts, base)
        made.pts = max(packet.pts, dts)
        yield made


def _time(packet: av.Packet[Any]) -> float:
    return float((packet.dts or 0) * Fraction(packet.time_base))


def same_file(path: str, mark: dict[str, int]) -> bool:
    """Whether the file at `path` is the one that `mark_of` was made of, perhaps under another name."""
    try:
        return mark_of(path) == mark
    except SinkError:
        return False


def mark_of(path: str) -> dict[str, int]:
    with writing(path):
        status = os.stat(path)
        return {"device": status.st_dev, "inode": status.st_ino, "bytes": status.st_size}
