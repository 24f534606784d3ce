"""One audio stream on its way to the outputs: copied, encoded anew as AAC, or both, with silence for gaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any, cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.fifo import AudioFifo
from av.audio.stream import AudioStream
from av.error import FFmpegError

from ..clock import rescale
from ..sound_forms import Resampling
from .contract import AudioInfo
from .silence import silent_packet
from .units import Unit, unit_of

JUMP_SECONDS = 0.1
"""Sound that comes this far from where the last one ended is not joined to it sample by sample."""
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
AAC_RATES = (48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


class Tap:
    """One form of the sound. Units only rise: what lies before the end of the last one is left out."""

    def __init__(self, stream: AudioStream, silent: tuple[bytes, int] | None, rate: int) -> None:
        self.stream = stream
        self.end: Fraction | None = None
        self.left_out = 0
        self._base = Fraction(1, rate)
        self._silent = silent

    def write(self, packet: av.Packet[Any]) -> Iterator[Unit]:
        """A packet of the source as it is."""
        if packet.pts is None and packet.dts is None:
            self.left_out += 1
            return
        yield from self._risen(unit_of(packet, self.stream.index, video=False))

    def silence(self, begin: Fraction, until: Fraction) -> Iterator[Unit]:
        """Silent units from the end, or from `begin` where there was no sound yet, up to `until`."""
        if self._silent is None:
            return
        data, samples = self._silent
        at = ticks(begin if self.end is None else self.end, self._base)
        # Until one begins there: a muxer holds the picture of that time back for as long as none does.
        while (at - samples) * self._base < until:
            yield from self._risen(Unit(data, self.stream.index, at, at, samples, self._base, False, False))
            at += samples

    def _risen(self, unit: Unit) -> Iterator[Unit]:
        """Half a unit of overlap is rounding of the source's clock; more is sound that was already replaced."""
        begin, length = unit.pts * unit.time_base, unit.duration * unit.time_base
        if self.end is not None and begin < self.end:
            if begin + length / 2 < self.end and length:
                self.left_out += 1
                return
            moved = ticks(self.end, unit.time_base)
            moved += moved * unit.time_base < self.end
            unit = replace(unit, pts=moved, dts=moved)
        self.end = max(unit.end, unit.pts * unit.time_base + unit.time_base)
        yield unit


class AacTap(Tap):
    """Decodes the source's packets and encodes AAC; of one setup only, another gets another sink (`mould.differs`)."""

    def __init__(self, stream: AudioStream, info: AudioInfo) -> None:
        silent = silent_packet("aac", stream.rate, stream.layout.name, bytes(stream.codec_context.extradata or b""))
        super().__init__(stream, silent, stream.rate)
        self._rate = stream.rate
        self._decoder = _decoder(info)
        self._resampling = Resampling(stream)
        self._fifo = AudioFifo()
        self._next: Fraction | None = None
        """The time of the first sample in the fifo."""

    def write(self, packet: av.Packet[Any]) -> Iterator[Unit]:
        copy = av.Packet(bytes(packet))  # The other form goes on with the packet itself.
        copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
        at = packet.pts if packet.pts is not None else packet.dts
        if at is None:
            self.left_out += 1
            return
        try:
            frames = self._decoder.decode(copy)
        except FFmpegError:
            self.left_out += 1
            return
        for number, frame in enumerate(frames):
            yield from self._sounded(frame, at * Fraction(packet.time_base) if not number else None)

    def _sounded(self, frame: av.AudioFrame, at: Fraction | None) -> Iterator[Unit]:
        if at is not None and (self._next is None or abs(at - self._reach()) > JUMP_SECONDS):
            self._fifo, self._next = AudioFifo(), at
        frame.pts = None
        for piece in self._resampling.feed(frame):
            piece.pts = None
            self._fifo.write(piece)
        size = self.stream.codec_context.frame_size or 1024
        while self._fifo.samples >= size:
            chunk = self._fifo.read(size)
            if chunk is None or self._next is None:
                return
            chunk.pts, chunk.time_base = ticks(self._next, self._base), self._base
            chunk.sample_rate = self._rate
            self._next += size * self._base
            for packet in self.stream.encode(chunk):
                packet.duration = packet.duration or size
                yield from self._risen(unit_of(packet, self.stream.index, video=False))

    def _reach(self) -> Fraction:
        return (self._next or Fraction(0)) + self._fifo.samples * self._base


def ticks(seconds: Fraction, base: Fraction) -> int:
    return rescale(1, seconds, base)


def aac_stream(out: av.container.OutputContainer, info: AudioInfo) -> AudioStream:
    """The encoder's stream: the source's rate and layout where AAC knows them, else the nearest."""
    rate = info.rate if info.rate in AAC_RATES else 48000
    layout = LAYOUTS.get(av.AudioLayout(info.layout).nb_channels, "stereo")
    return out.add_stream("aac", rate=rate, layout=layout)


def _decoder(info: AudioInfo) -> AudioCodecContext:
    context = cast(AudioCodecContext, av.CodecContext.create(info.codec, "r"))
    context.extradata = info.extradata or None
    context.sample_rate, context.layout = info.rate, info.layout
    return context
