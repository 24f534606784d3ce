"""Open a file, probe it, and read it once: decoded frames of the protected streams, packets of all others."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator
from fractions import Fraction
from types import TracebackType
from typing import Any

import av
from av.error import FFmpegError, InvalidDataError
from av.stream import Stream
from av.video.stream import VideoStream

from ..errors import SourceError, TruncatedSourceError
from ..types import Frame
from .decoder import StreamDecoder
from .extent import Extent
from .hwaccel import NONE, PLAIN, Acceleration, choose, told
from .info import CopiedPacket, SourceInfo, SourceReport
from .probe import check_video, choose_videos, describe, describe_stream
from .timeline import Timeline
from .translate import check_readable, reading

TIMEOUT_SECONDS = 30.0
PEEK_PACKETS = 2000
"""How many packets are searched for a first picture before the stream counts as undecodable."""
READ_ERRORS = 1_000_000
"""Unreadable packets in a row before a demuxer counts as stuck; a cut-off file has one for each lost frame."""
MAX_THREADS = 4

Item = Frame | CopiedPacket


def open_source(
    path: str,
    *,
    all_video: bool = False,
    strict: bool = False,
    threads: int = 0,
    hwaccel: str = NONE,
    on_device: bool = False,
) -> Source:
    """Open and probe the video file at `path`; decodes up to its first picture.

    `all_video` protects every video stream instead of refusing several. With `strict`, `read` ends in a
    TruncatedSourceError when the file ends before its index says. `threads` for decoding; 0 chooses.
    `hwaccel` names the device that decodes (`none`, `auto`, or one of `hwaccel.hwaccel_names`); where it does not work,
    the processor does, and `Source.acceleration` says why. `on_device` leaves pictures in a CUDA device's memory.
    Raises SourceError for what is not a readable video, UsageError for several video streams, UnknownNameError for a
    device that FFmpeg was built without.
    """
    path = os.fspath(path)
    check_readable(path)
    acceleration = choose(hwaccel, on_device=on_device)
    with reading(path):
        container = av.open(
            f"file:{path}",
            "r",
            timeout=TIMEOUT_SECONDS,
            metadata_errors="surrogateescape",
            # A playlist or reference file renamed to .mp4 must not make us fetch anything.
            container_options={"protocol_whitelist": "file"},
            hwaccel=acceleration.setting(),
        )
        try:
            return Source(
                container, path, all_video=all_video, strict=strict, threads=threads, acceleration=acceleration
            )
        except BaseException:
            container.close()
            raise


class Source:
    """A file being read. Made by `open_source`; a context manager that closes the file.

    `info` is complete from the start, `report` once `read` has ended. `read` may be called once.
    """

    info: SourceInfo
    report: SourceReport

    def __init__(
        self,
        container: av.container.InputContainer,
        path: str,
        *,
        all_video: bool,
        strict: bool,
        threads: int,
        acceleration: Acceleration = PLAIN,
    ) -> None:
        """`acceleration` is what the container was opened with."""
        self.container = container
        self.path = path
        self.report = SourceReport()
        self._strict = strict
        videos = self._choose(all_video)
        for video in videos:
            check_video(video, path)
        count = threads or min(os.cpu_count() or 1, MAX_THREADS)
        self._decoders = {v.index: self._decoder(v, count) for v in videos}
        self._extent = Extent(container, videos[0])
        self._timeline = self._clock()
        self._flow = self._demux()
        self._first: dict[int, av.VideoFrame] = {}
        self._peeked: deque[Item] = deque()
        self._peek()
        self.acceleration = self._accelerated(acceleration)
        """What decodes, and why it is not the device that was asked for."""
        self._covers = self._find_covers()
        self.info = self._describe()

    def read(self) -> Iterator[Item]:
        """Frames of the protected streams and packets of the others, in demux order. Never raises for damage."""
        while self._peeked:
            yield self._peeked.popleft()
        yield from self._flow
        if self._strict and self.report.truncated:
            raise TruncatedSourceError(self.truncation)

    def decoder(self, stream: int) -> StreamDecoder:
        """The decoder of a protected stream, for those who begin in the middle (`segment.py`)."""
        return self._decoders[stream]

    def begin_at(self, stream: int, packet: int) -> bool:
        """Before `read`: leave out the frames before this packet of a protected stream, numbered from 0.

        All packets are still read, so times are as ever. False, with nothing changed, where the packet is decoded
        already.
        """
        if not self._decoders[stream].begin_at(packet):
            return False
        self._peeked = deque(i for i in self._peeked if not (isinstance(i, Frame) and i.stream == stream))
        self.report.frames = 0
        return True

    @property
    def truncation(self) -> str:
        """One sentence about what is missing at the end; empty when nothing is."""
        report = self.report
        if not report.truncated:
            return ""
        return (
            f"the input {self.path!r} is cut off: its index promises {report.expected_seconds:.3f} s of video, "
            f"{report.read_seconds:.3f} s are there, {report.missing_seconds:.3f} s are missing"
        )

    def first_picture(self, stream: int) -> av.VideoFrame:
        """The first decoded picture of a protected stream, for its side data. Its planes may since have changed."""
        return self._first[stream]

    def cover(self, stream: int) -> bytes | None:
        """The picture of an attached-picture stream, which demuxers deliver first; None where there is none."""
        return self._covers.get(stream)

    @property
    def moved_seconds(self) -> Fraction:
        """By how much all times were moved up, because the clock starts over soon after the start (`timeline.py`)."""
        return self._timeline.moved

    @property
    def copied(self) -> list[Stream]:
        """The streams that are not decoded."""
        return [s for s in self.container.streams if s.index not in self._decoders]

    def close(self) -> None:
        self._flow.close()
        self._peeked.clear()
        self._first.clear()
        self._covers.clear()
        self.container.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _choose(self, all_video: bool) -> list[VideoStream]:
        return choose_videos(self.container, self.path, all_video)

    def _decoder(self, stream: VideoStream, threads: int) -> StreamDecoder:
        return StreamDecoder(stream, self.report, threads)

    def _clock(self) -> Timeline:
        return Timeline.of(self.container, self.report)

    def _peek(self) -> None:
        """Decode to the first picture of each protected stream: it alone shows rotation, HDR and the real format."""
        waiting = set(self._decoders)
        for count, item in enumerate(self._flow):
            self._peeked.append(item)
            if isinstance(item, Frame) and item.stream in waiting:
                waiting.discard(item.stream)
                self._first[item.stream] = item.picture
            if not waiting:
                return
            if count > PEEK_PACKETS * len(self._decoders):
                break
        numbers = ", ".join(f"#{i}" for i in sorted(waiting))
        raise SourceError(
            f"no picture of video stream {numbers} of {self.path!r} could be decoded "
            f"({self.report.corrupt_packets} damaged packets); the file is damaged or cut off near its start"
        )

    def _accelerated(self, chosen: Acceleration) -> Acceleration:
        """What the first pictures show: the processor is used as soon as one stream needs it."""
        seen = [told(chosen, d.stream.codec_context, self._first[i]) for i, d in self._decoders.items()]
        for decoder, found in zip(self._decoders.values(), seen, strict=True):
            decoder.device = "" if found.used == NONE else found.used
        return next((found for found in seen if found.used == NONE), chosen)

    def _find_covers(self) -> dict[int, bytes]:
        wanted = {s.index for s in self.copied if s.type == "video"}
        packets = (item for item in self._peeked if isinstance(item, CopiedPacket))
        return {packet.stream: bytes(packet.packet) for packet in packets if packet.stream in wanted}

    def _describe(self) -> SourceInfo:
        container = self.container
        moved = float(self.moved_seconds)
        videos = tuple(describe(d.stream, self._first[i], moved) for i, d in self._decoders.items())
        duration = None if container.duration is None else container.duration / 1e6
        return SourceInfo(
            path=self.path,
            format=container.format.name,
            duration_seconds=duration,
            video=videos[0],
            videos=videos,
            streams=tuple(
                describe_stream(s, "protected" if s.index in self._decoders else "copied") for s in container.streams
            ),
            warnings=(self.acceleration.words,) if self.acceleration.warns else (),
        )

    def _demux(self) -> Generator[Item, None, None]:
        for packet in self._timeline.arrange(self._packets()):
            if packet.size == 0 and packet.dts is None and packet.pts is None:
                continue  # PyAV's mark of the end, one a stream; the decoders are drained below.
            self._extent.see(packet)
            self.report.corrupt_packets += packet.is_corrupt
            decoder = self._decoders.get(packet.stream_index)
            if decoder is not None:
                yield from decoder.decode(packet)
            else:
                self.report.packets += 1
                yield CopiedPacket(packet, packet.stream_index)
        yield from self._drain()

    def _drain(self) -> Iterator[Item]:
        for decoder in self._decoders.values():
            yield from decoder.decode(None)
        self._extent.conclude(self.report)
        for index, decoder in self._decoders.items():
            first = index == next(iter(self._decoders))
            yield from decoder.finish(self._extent.end if first and not self.report.truncated else None)

    def _packets(self) -> Iterator[av.Packet[Any]]:
        """Packets to the end of the file, stepping over what the demuxer cannot read."""
        failures = 0
        while failures < READ_ERRORS:
            try:
                for packet in self.container.demux():
                    failures = 0
                    yield packet
                return
            except InvalidDataError:
                failures += 1
                self.report.read_errors += 1
            except FFmpegError as error:
                raise SourceError(f"cannot read on in {self.path!r}: {error.strerror or error}") from error
