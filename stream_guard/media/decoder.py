"""One decoded stream: packets in, frames with a timestamp of their own out."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, cast

import av
from av.codec.context import Flags
from av.error import FFmpegError
from av.video.stream import VideoStream

from ..errors import SourceError
from ..types import Frame
from .hwaccel import sample_format
from .info import SourceReport
from .inner import hidden
from .paletted import Unfolder
from .probe import fraction, usual_rate

LOST_AFTER = 32
"""Refused packets in a row after which a device counts as lost: damage alone is rarely as long."""

_log = logging.getLogger(__name__)
_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


class FrameClock:
    """Timestamps that only rise: invents the missing ones, moves up those that do not, counts both."""

    def __init__(self, step: int, report: SourceReport) -> None:
        """`step` is the usual distance of two frames in ticks, at least 1."""
        self._step = step
        self._report = report
        self._last: int | None = None

    def arrive(self, dts: int | None) -> None:
        """A packet goes into the decoder; only clocks that count packets listen."""

    def stamp(self, pts: int | None, dts: int | None) -> int:
        """The time of the next picture out of the decoder, from what it carries."""
        if pts is None:
            self._report.pts_invented += 1
            pts = self._invent(dts)
        if self._last is not None:
            if pts <= self._last:
                self._report.pts_repaired += 1
                pts = self._last + 1
            else:
                self._step = pts - self._last
        self._last = pts
        return pts

    @property
    def step(self) -> int:
        return self._step

    def _invent(self, dts: int | None) -> int:
        """The decoding time where it fits (containers such as AVI hold no other), else one step on."""
        if dts is not None and (self._last is None or dts > self._last):
            return dts
        return 0 if self._last is None else self._last + self._step


class DecodingOrderClock(FrameClock):
    """For AVI, which holds only decoding times: the n-th picture out is shown when the n-th packet came in.

    The demuxer makes up presentation times there, and they are wrong where pictures are reordered.
    """

    def __init__(self, step: int, report: SourceReport) -> None:
        super().__init__(step, report)
        self._delay: int | None = None
        self._first: int | None = None

    def arrive(self, dts: int | None) -> None:
        self._first = dts if self._first is None else self._first

    def stamp(self, pts: int | None, dts: int | None) -> int:
        if dts is None:
            return super().stamp((self._last or 0) + self._step, None)
        if self._delay is None:
            self._delay = dts - (self._first or 0)
        return super().stamp(dts - self._delay, dts)


class StreamDecoder:
    """Decodes one video stream. Holds one frame back, because its duration is known when the next one comes."""

    def __init__(self, stream: VideoStream, report: SourceReport, threads: int) -> None:
        self.stream = stream
        self.time_base = fraction(stream.time_base) or Fraction(1, 90000)
        self._report = report
        rate = usual_rate(stream) or Fraction(25)
        clock = DecodingOrderClock if stream.container.format.name == "avi" else FrameClock
        self._clock = clock(max(round(1 / (rate * self.time_base)), 1), report)
        self._held: Frame | None = None
        self._index = 0
        self._shape = ""
        self._packets = 0
        self._begin = 0
        self.keys: deque[tuple[int, int]] | None = None
        """The key packets from now on, (number, pts) with numbers from 0, if somebody wants to know: see `begin_at`."""
        self.device = ""
        """The device that decodes, by FFmpeg's name; empty for the processor."""
        self._refused = 0
        self._with_alpha = alpha_decoder(stream)
        context = self._with_alpha or stream.codec_context
        context.thread_type = "AUTO"
        context.thread_count = threads
        # Else FFmpeg cuts at the left only what keeps lines aligned, and shows columns that the stream hides.
        context.flags |= Flags.unaligned
        self._unfolder = Unfolder()

    def decode(self, packet: av.Packet[Any] | None) -> Iterator[Frame]:
        """Frames that are ready after this packet; None drains the decoder. Damage is counted, never raised.

        Raises SourceError where a device that decodes has been lost.
        """
        if packet is not None:
            self._clock.arrive(packet.dts)
            if self._passes_over(packet):
                return
        try:
            pictures = self._pictures(packet)
        except FFmpegError:
            self._report.corrupt_packets += 1
            self._check_device()
            return
        self._refused = 0
        for picture in pictures:
            yield from self._next(self._unfolder.unfold(picture))

    def _pictures(self, packet: av.Packet[Any] | None) -> list[av.VideoFrame]:
        return self.stream.decode(packet) if self._with_alpha is None else self._with_alpha.decode(packet)

    def _check_device(self) -> None:
        """After a refused packet: a device that was lost refuses all, and the rest would be missing without a word."""
        self._refused += 1
        if self.device and self._refused >= LOST_AFTER:
            raise SourceError(
                f"the device {self.device} refused {self._refused} packets in a row and counts as lost; "
                "run again with --hwaccel none"
            )

    def begin_at(self, number: int) -> bool:
        """Forget what was decoded, and pass over all packets before this number; False where it has gone in already."""
        if number < self._packets:
            return False
        (self._with_alpha or self.stream.codec_context).flush_buffers()
        self._begin, self._held = number, None
        self._clock = type(self._clock)(self._clock.step, self._report)
        return True

    @property
    def counts_packets(self) -> bool:
        """Whether a frame's time depends on the packets from the first on, so that decoding cannot begin later."""
        return isinstance(self._clock, DecodingOrderClock)

    def _passes_over(self, packet: av.Packet[Any]) -> bool:
        number, self._packets = self._packets, self._packets + 1
        if self.keys is not None and packet.is_keyframe and packet.pts is not None:
            self.keys.append((number, packet.pts))
        return number < self._begin

    def finish(self, end: int | None) -> Iterator[Frame]:
        """The frame still held; `end` is the time in ticks at which the container says that the stream ends."""
        if self._held is None:
            return
        frame, self._held = self._held, None
        own = frame.duration or self._clock.step
        yield _lasting(frame, end - frame.pts if end is not None and end > frame.pts else own)

    def _next(self, picture: av.VideoFrame) -> Iterator[Frame]:
        self._count(picture)
        pts = self._clock.stamp(picture.pts, picture.dts)
        picture.pts, picture.time_base = pts, self.time_base
        previous = self._held
        self._held = Frame(
            picture, pts, self.time_base, self._index, duration=picture.duration, stream=self.stream.index
        )
        self._index += 1
        if previous is not None:
            yield _lasting(previous, pts - previous.pts)

    def _count(self, picture: av.VideoFrame) -> None:
        self._report.frames += 1
        self._report.corrupt_frames += picture.is_corrupt
        shape = _shape(picture)
        if self._shape not in ("", shape):
            self._report.size_changes += 1
            self._report.sizes += [s for s in (self._shape, shape) if s not in self._report.sizes]
        self._shape = shape


def _shape(picture: av.VideoFrame) -> str:
    """Size, format and the shape of the pixels, in words; what is not said of the last is taken for square."""
    aspect = hidden(picture).aspect or 1
    pixels = f" with pixels of {aspect.numerator}:{aspect.denominator}" if aspect != 1 else ""
    return f"{picture.width}x{picture.height} {sample_format(picture)}{pixels}"


def _lasting(frame: Frame, duration: int) -> Frame:
    frame.picture.duration = duration
    return Frame(frame.picture, frame.pts, frame.time_base, frame.index, duration=duration, stream=frame.stream)


def alpha_decoder(stream: VideoStream) -> av.VideoCodecContext | None:
    """libvpx for VP8 and VP9 with transparency, which FFmpeg's own decoders leave away; None for all other streams."""
    if {name.lower(): value for name, value in stream.metadata.items()}.get("alpha_mode") != "1":
        return None
    name = _ALPHA.get(stream.codec_context.codec.canonical_name)
    if name is None:
        return None
    try:
        return cast(av.VideoCodecContext, av.CodecContext.create(name, "r"))
    except ValueError:
        _log.warning("stream #%d has transparency, which is lost: FFmpeg was built without %s", stream.index, name)
        return None
