"""The streams as every output gets them: one video encoder and the forms of the sound, made once from a source.

They live in a container of their own that goes nowhere, because a muxer may be opened and closed many times, and the
source may be gone by then. Every output's streams are cast from these.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Protocol, cast

import av
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.error import FFmpegError
from av.stream import Stream

from ...errors import ConfigError
from ...types import Frame
from ..carry import holds
from ..channels import add_copy
from ..containers import TS_COPIES, Container
from ..encoder import FALLBACK_RATE, VideoTrack
from ..fallback import resolved, usual_encoder
from ..info import SourceInfo, VideoInfo
from ..settings import EncoderSettings
from ..shape import carry_shape
from .contract import AudioInfo
from .silence import silent_packet
from .sound import AacTap, Tap, aac_stream
from .units import Unit, unit_of

GOP_SECONDS = 2
RATE_APART, LIKELY_RATE = Fraction(3, 2), 120
"""An encoder spreads its bits and key frames by the rate that it was told: at a rate so many times as high or as low
both would be off by as much. What is nearer may be a demuxer's estimate, and what is above the other only its guess."""
_log = logging.getLogger(__name__)

LIVE_ENCODER = "libx264"
"""Where no codec is named."""
_NOWHERE = Container("nut", (), LIVE_ENCODER, "aac", None, reordering_delay=False)
COPIES = {
    "flv": frozenset({"aac", "mp3"}),
    "mpegts": TS_COPIES - {"opus", "truehd"},
    "hls": frozenset({"aac", "mp3", "ac3", "eac3"}),
}
"""Sound that players know in these formats: FFmpeg would write more into them. Others hold what FFmpeg says."""

FRAGMENTED = ("mp4", "mov")
"""Begun with a header that names every stream's setup (`protocols.MUXERS`)."""


class Template(Protocol):
    """What a sink is made from: a live source, or a source of a file."""

    info: SourceInfo

    @property
    def copied(self) -> list[Stream]: ...

    @property
    def audio(self) -> tuple[AudioInfo, ...]: ...

    def first_picture(self, stream: int) -> av.VideoFrame: ...


class Mould:
    """Encodes pictures and prepares sound for outputs of the given formats. Raises ConfigError for what cannot be."""

    def __init__(self, source: Template, settings: EncoderSettings, formats: Sequence[str]) -> None:
        self.warnings: list[str] = []
        """What could not be carried, in words; more may come while pictures are encoded."""
        self._told: set[str] = set()
        self.info = source.info.video
        self.audio = source.audio
        self._out = av.open(_Nowhere(), "w", format=_NOWHERE.format)
        try:
            self._video = self._encoder(source, settings)
            streams = {s.index: s for s in source.copied}
            planned = [self._plan(info, streams[info.stream], formats) for info in self.audio]
            self._start()
            self.taps = [[_tap(kind, stream, info) for kind, stream, info in forms] for forms in planned]
            self._check(formats)
        except BaseException:
            self.close()
            raise

    def encode(self, frame: Frame | None, *, key: bool = False) -> Iterator[Unit]:
        """Units that are ready after this frame; `key` asks for a key frame; None drains the encoder."""
        for packet in self._video.encode(frame, key=key):
            yield unit_of(packet, self._video.stream.index, video=True)

    def cast(self, out: av.container.OutputContainer, format: str) -> dict[int, Stream]:
        """Add this mould's streams to an output; the output's streams by the numbers of the units for them."""
        made: dict[int, Stream] = {}
        video = self._video.stream
        made[video.index] = added = out.add_stream_from_template(video, opaque=True)
        words = carry_shape(added, format, self.info.sample_aspect_ratio)
        if words and words not in self._told:  # Each connection casts anew, long after the warnings were read.
            self._told.add(words)
            _log.warning("%s", words)
        for forms in self.taps:
            chosen = self._form(forms, format)
            if chosen is not None:
                made[chosen.stream.index] = out.add_stream_from_template(chosen.stream, opaque=True)
        return made

    def close(self) -> None:
        with contextlib.suppress(FFmpegError, ValueError):
            self._out.close()

    def _form(self, forms: Sequence[Tap], format: str) -> Tap | None:
        """The copy where the format holds it, else AAC."""
        return next((tap for tap in forms if _holds(format, tap.stream)), None)

    def _encoder(self, source: Template, settings: EncoderSettings) -> VideoTrack:
        first = source.first_picture(self.info.stream)
        settings = live_settings(resolved(settings, _NOWHERE, self.info, self.warnings), self.info)
        track = VideoTrack(self._out, _NOWHERE, self.info, first, settings, self.warnings)
        context = track.stream.codec_context
        # Parameter sets apart, so that each output can begin with them; threads over slices hold no picture back.
        context.flags |= Flags.global_header
        context.thread_type = "SLICE"
        return track

    def _plan(
        self, info: AudioInfo, source: Stream, formats: Sequence[str]
    ) -> list[tuple[type[Tap], AudioStream, AudioInfo]]:
        """The forms that these outputs need of one stream."""
        audio = cast(AudioStream, source)
        forms: list[tuple[type[Tap], AudioStream, AudioInfo]] = []
        silent = silent_packet(info.codec, info.rate, info.layout, info.extradata)
        copied = [f for f in formats if silent is not None and _holds(f, audio)]
        if copied:
            forms.append((Tap, cast(AudioStream, add_copy(self._out, audio)), info))
        if len(copied) < len(formats):
            forms.append((AacTap, aac_stream(self._out, info), info))
            self.warnings.append(f"audio stream #{info.stream} ({info.codec}) is encoded anew as aac")
        return forms

    def _start(self) -> None:
        try:
            self._out.start_encoding()
        except FFmpegError as error:
            raise ConfigError(
                f"the encoder refuses what was asked for ({error.strerror}); check codec, preset, pixel format and "
                "options"
            ) from error
        left = self._video.stream.codec_context.options
        if left:
            raise ConfigError(f"the encoder does not take {', '.join(left)} as given")

    def _check(self, formats: Sequence[str]) -> None:
        for format in formats:
            if not _holds(format, self._video.stream):
                codec = self._video.stream.codec_context.codec.canonical_name
                raise ConfigError(f"the format {format} does not hold {codec} video; choose another codec or output")


def live_settings(settings: EncoderSettings, info: VideoInfo) -> EncoderSettings:
    """What live needs where nothing else was asked for: no waiting in the encoder, regular key frames, 4:2:0."""
    encoder = usual_encoder(settings, _NOWHERE, info).name
    options = dict(settings.options)
    for name, value in _HABITS.get(encoder, {}).items():
        options.setdefault(name, value)
    if settings.bit_rate is not None:
        options.setdefault("maxrate", str(settings.bit_rate))
        options.setdefault("bufsize", str(settings.bit_rate))
    even = info.width % 2 == 0 and info.height % 2 == 0
    rate = info.average_rate or FALLBACK_RATE
    return replace(
        settings,
        options=options,
        gop=settings.gop or max(round(GOP_SECONDS * rate), 1),
        pix_fmt=settings.pix_fmt or ("yuv420p" if encoder in _HABITS and even else None),
    )


_HABITS: Mapping[str, Mapping[str, str]] = {
    "libx264": {"tune": "zerolatency", "forced-idr": "1"},
    "libx265": {"tune": "zerolatency", "forced-idr": "1"},
    **{
        f"{codec}_nvenc": {"tune": "ll", "zerolatency": "1", "delay": "0", "forced-idr": "1"}
        for codec in ("h264", "hevc", "av1")
    },
}


def _tap(kind: type[Tap], stream: AudioStream, info: AudioInfo) -> Tap:
    if kind is AacTap:
        return AacTap(stream, info)
    silent = silent_packet(info.codec, info.rate, info.layout, info.extradata)
    return Tap(stream, silent, info.rate)


def _holds(format: str, stream: Stream) -> bool:
    """Whether the format takes the stream as it is, and its players know what it holds."""
    codec = stream.codec_context.codec.canonical_name
    if stream.type == "audio" and codec not in COPIES.get(format, {codec}):
        return False
    if format in FRAGMENTED and codec == "aac" and not stream.codec_context.extradata:
        return False  # From a transport stream (ADTS): the muxer learns its setup after the header is written.
    # HLS would write files; its segments are transport streams.
    return holds("mpegts" if format == "hls" else format, stream)


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, data: Any) -> int:
        return len(data)


def differs(video: VideoInfo, audio: Sequence[AudioInfo], source: Template) -> str:
    """Why a source's frames and packets cannot go on in streams made for another one; empty when they can."""
    new = source.info.video
    if (new.width, new.height, new.pix_fmt) != (video.width, video.height, video.pix_fmt):
        return (
            f"the picture was {video.width}x{video.height} {video.pix_fmt} and is {new.width}x{new.height} "
            f"{new.pix_fmt}"
        )
    if (new.colour.range, new.colour.matrix, new.rotation) != (video.colour.range, video.colour.matrix, video.rotation):
        return "the picture's colour tags or rotation changed"
    was, now = video.average_rate, new.average_rate
    if was and now and min(was, now) * RATE_APART <= max(was, now) <= LIKELY_RATE:
        return f"the source sent {float(was):.4g} pictures a second and sends {float(now):.4g}"
    before = [(a.codec, a.rate, a.layout, a.extradata) for a in audio]
    after = [(a.codec, a.rate, a.layout, a.extradata) for a in source.audio]
    return "" if before == after else f"the sound was {_words(audio)} and is {_words(source.audio)}"


def _words(audio: Sequence[AudioInfo]) -> str:
    return ", ".join(f"{a.codec} {a.rate} Hz {a.layout}" for a in audio) or "none"
