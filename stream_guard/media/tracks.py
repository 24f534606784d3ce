"""The streams that are not protected: copied as they are, or turned into the nearest codec that the container holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, Protocol

import av
from av.audio.stream import AudioStream
from av.error import FFmpegError
from av.stream import Stream
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

from .clock import DtsGuard, rescale
from .info import SinkReport
from .sound_forms import Resampling
from .spans import UNTIL_NEXT_SECONDS, Span, Spans

LONGEST = (1 << 31) - 1
"""Ticks. The muxers of mp4 and mov refuse a longer packet; FFmpeg writes 2**32 - 1 ms for "until the next"."""
_TAKES_EQUAL = 1 << 17
"""FFmpeg's AVFMT_TS_NONSTRICT, of a muxer that takes decoding times that do not rise."""


class Track(Protocol):
    """One output stream that is fed with packets of one input stream."""

    @property
    def stream(self) -> Stream: ...

    def start(self) -> None:
        """The header is written: the stream's time base is now the container's."""

    def write(self, packet: av.Packet[Any]) -> Iterable[av.Packet[Any]]:
        """The packets to mux for this one."""
        ...

    def finish(self) -> Iterable[av.Packet[Any]]:
        """What is still held at the end."""
        ...


class CopyTrack:
    """Hands packets on untouched, but for times that do not rise and for what lies before time zero."""

    def __init__(self, stream: Stream, report: SinkReport, *, from_zero: bool) -> None:
        """`from_zero`: the container holds no times below zero and its muxer would move every stream up instead."""
        self.stream = stream
        self._report = report
        self._from_zero = from_zero
        self._cover = stream.type == "video"
        # Of Vorbis the first packet gives no sound, but the one behind it can't be decoded without.
        self._leads_in = stream.type == "audio" and stream.codec_context.codec.canonical_name == "vorbis"
        # The muxer fills the gaps between lines of mov_text itself.
        self._gaps = stream.type == "subtitle" and stream.codec_context.codec.canonical_name == "mov_text"
        self._cuts = Cuts()

    def start(self) -> None:
        base = Fraction(self.stream.time_base or Fraction(1, 1000))
        strict = not self.stream.container.format.flags & _TAKES_EQUAL
        equal = not strict or self.stream.type in ("subtitle", "data")
        self._guard = DtsGuard(base, self._report, allow_equal=equal)
        self._strict, self._until_next = strict, round(UNTIL_NEXT_SECONDS / base)

    def write(self, packet: av.Packet[Any]) -> Iterable[av.Packet[Any]]:
        if self._cover and packet.pts is None:
            packet.pts = 0
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None:
            self._report.packets_refused += 1
            return
        if self._cuts.hide(packet):
            self._report.packets_left_out += 1
            return
        # What an edit list hides or the decoder throws away nobody would have heard.
        hidden, sound = packet.is_discard or packet.has_sidedata("skip_samples"), self.stream.type == "audio"
        needed = self._leads_in and stamp + (packet.duration or 0) == 0
        if self._from_zero and not _begins_at_zero(
            packet, stamp, self._report, sound=sound, hidden=hidden, needed=needed
        ):
            return
        if self._gaps and packet.size <= 2:
            return
        self._guard.fix(packet)
        if (packet.duration or 0) > LONGEST and self._strict:
            packet.duration = self._until_next
        packet.stream = self.stream
        self._report.packets_copied += 1
        yield packet

    def finish(self) -> Iterable[av.Packet[Any]]:
        return ()


class Cuts:
    """What an edit list cuts out of a movie, for one stream.

    The packets are there, hidden, at times that are taken; without the mark they would be heard again. Those before the
    first that is not hidden stay, as they warm up its decoder, where they lie before zero and so can be hidden anew.
    Of those in the pause before a late start only the last does.
    """

    def __init__(self) -> None:
        self._begun = False

    def hide(self, packet: av.Packet[Any]) -> bool:
        self._begun = self._begun or not packet.is_discard
        return packet.is_discard and (self._begun or _in_pause(packet))


def _in_pause(packet: av.Packet[Any]) -> bool:
    """Whether a stream begins later than zero, and later than with the packet that follows this one."""
    start, stamp = packet.stream.start_time or 0, packet.pts if packet.pts is not None else packet.dts
    reach = (stamp or 0) + (2 if packet.stream.type == "audio" else 1) * (packet.duration or 0)
    return start > 0 and reach <= start


def _begins_at_zero(
    packet: av.Packet[Any], stamp: int, report: SinkReport, *, sound: bool, hidden: bool, needed: bool = False
) -> bool:
    """Let a packet that is heard or read beyond zero begin there; False for one that lies before it altogether.

    `hidden`: nobody would have heard it. `needed`: the one that begins at zero can't be decoded without it.
    """
    reach = stamp + (packet.duration or 0)
    if stamp >= 0:
        return True
    if reach > 0 or needed:
        packet.pts = packet.dts = 0
        if not sound:  # Sound lasts as long as its samples, a line of text does not.
            packet.duration = reach
        return True
    report.packets_left_out += 1
    if sound and not hidden:
        report.sound_left_out_seconds += float((packet.duration or 0) * Fraction(packet.time_base))
    return False


class AudioTrack:
    """Decodes and encodes anew. Keeps rate and layout where the encoder takes them."""

    def __init__(self, source: AudioStream, stream: AudioStream, report: SinkReport, *, from_zero: bool) -> None:
        """`from_zero` as for CopyTrack: an encoder begins before its first sample."""
        self.stream = stream
        self._source = source
        self._report = report
        self._from_zero = from_zero
        self._begun = False
        self._resampling = Resampling(stream)

    def start(self) -> None:
        pass

    def write(self, packet: av.Packet[Any]) -> Iterable[av.Packet[Any]]:
        try:
            frames = self._source.decode(packet)
        except FFmpegError:
            self._report.packets_refused += 1
            return
        self._report.packets_transcoded += 1
        for frame in frames:
            yield from self._encode(frame)

    def finish(self) -> Iterable[av.Packet[Any]]:
        for frame in self._source.decode(None):
            yield from self._encode(frame)
        yield from self._encode(None)
        yield from self._made(None)

    def _encode(self, frame: av.AudioFrame | None) -> Iterable[av.Packet[Any]]:
        if frame is not None:
            self._to_samples(frame)
        for piece in self._resampling.feed(frame):
            yield from self._made(piece)

    def _made(self, piece: av.AudioFrame | None) -> Iterable[av.Packet[Any]]:
        for packet in self.stream.encode(piece):
            first, self._begun = not self._begun, True  # The first holds only what comes before the sound.
            stamp = packet.pts or 0
            if not self._from_zero or _begins_at_zero(packet, stamp, self._report, sound=True, hidden=first):
                yield packet

    def _to_samples(self, frame: av.AudioFrame) -> None:
        """Let the frame's time count in samples: in a clock as coarse as AVI's, parts of a frame have no time."""
        base = Fraction(1, frame.sample_rate)
        if frame.pts is not None:
            frame.pts = rescale(frame.pts, Fraction(frame.time_base or self._source.time_base or base), base)
        frame.time_base = base


class SubtitleTrack:
    """Turns one text format into another; times stay those of the source's packets.

    Lines that overlap stay apart where the format allows it. mov_text shows one packet at a time, and its muxer would
    move each that overlaps behind the one before: there, every packet holds all lines of its time.
    """

    def __init__(self, source: SubtitleStream, stream: SubtitleStream, report: SinkReport) -> None:
        self.stream = stream
        self._decoder = source.codec_context
        self._report = report
        self._one_at_a_time = stream.codec_context.codec.canonical_name == "mov_text"
        self._cuts = Cuts()

    def start(self) -> None:
        self._base = Fraction(self.stream.time_base or Fraction(1, 1000))
        self._guard = DtsGuard(self._base, self._report, allow_equal=True)
        self._spans = Spans(round(UNTIL_NEXT_SECONDS / self._base), self._report)

    def write(self, packet: av.Packet[Any]) -> Iterable[av.Packet[Any]]:
        if packet.pts is None:
            self._report.packets_refused += 1
            return
        if self._cuts.hide(packet):
            self._report.packets_left_out += 1
            return
        if not _begins_at_zero(packet, packet.pts, self._report, sound=False, hidden=packet.is_discard):
            return
        try:
            text = self._decoder.decode2(packet)
        except FFmpegError:
            self._report.packets_refused += 1
            return
        # An empty one only ends the line before: the duration says that already.
        if text is None or not len(text):
            return
        if self._one_at_a_time:
            self._report.packets_transcoded += 1
            yield from self._packed(self._laid(packet, text))
        else:
            yield from self._alone(packet, text)

    def finish(self) -> Iterable[av.Packet[Any]]:
        yield from self._packed(self._spans.finish())

    def _alone(self, packet: av.Packet[Any], text: SubtitleSet) -> Iterable[av.Packet[Any]]:
        for made in self._encoded(text, packet.pts or 0, packet.duration or 0, Fraction(packet.time_base)):
            self._report.packets_transcoded += 1
            yield made

    def _laid(self, packet: av.Packet[Any], text: SubtitleSet) -> Iterator[Span]:
        """The spans that are sure now that these lines begin, in the output's ticks so that each ends on a tick."""
        base = Fraction(packet.time_base)
        start = rescale(packet.pts or 0, base, self._base)
        end = rescale((packet.pts or 0) + (packet.duration or 0), base, self._base)
        length = end - start if end - start <= LONGEST else 0
        for line in text:
            if isinstance(line, AssSubtitle) and line.ass:
                yield from self._spans.add(start, length, line.ass)

    def _packed(self, spans: Iterable[Span]) -> Iterable[av.Packet[Any]]:
        for span in spans:
            text = SubtitleSet.create(span.ass, 0, 0)
            yield from self._encoded(text, span.start, span.end - span.start, self._base)

    def _encoded(self, text: SubtitleSet, start: int, duration: int, base: Fraction) -> Iterable[av.Packet[Any]]:
        try:
            made = self.stream.codec_context.encode_subtitle(text)
        except FFmpegError:
            self._report.packets_refused += 1
            return
        made.pts, made.dts, made.duration, made.time_base = start, start, duration, base
        made.is_keyframe = True
        self._guard.fix(made)
        made.stream = self.stream
        yield made
