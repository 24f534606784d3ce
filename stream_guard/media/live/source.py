"""One connection to a live source: opened and read within time limits, decoded to its first picture."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, cast
from urllib.parse import urlsplit

import av
from av.audio.stream import AudioStream
from av.error import EOFError as EndOfStream
from av.error import InvalidDataError
from av.stream import Discard, Stream
from av.video.stream import VideoStream

from ...errors import SourceError, UsageError
from ...types import Frame
from ..channels import layout_of, unusable
from ..decoder import StreamDecoder
from ..hwaccel import NONE, choose
from ..source import MAX_THREADS, READ_ERRORS, Item, Source
from ..timeline import Timeline
from . import bridge
from .connecting import Connection
from .contract import AudioInfo, Dial, as_named
from .decoding import Limits, LiveDecoder, LiveTimeline, Pacer
from .native import protocols
from .protocols import BRIDGED, FILE, check_connects, incoming, scheme_of

_log = logging.getLogger(__name__)

SEGMENT_STALL_SECONDS = 20.0
"""The least stall limit of playlists, and their read limit: they are silent for the length of a segment."""
LIKELY_RATE = 240
"""A higher rate is a demuxer's guess from the first packets: then the pictures are counted."""


def open_live(
    url: str,
    *,
    options: Mapping[str, str] | None = None,
    open_timeout_seconds: float = 10.0,
    read_timeout_seconds: float = 10.0,
    stall_seconds: float = 5.0,
    max_width: int = 0,
    max_height: int = 0,
    max_rate: float = 0.0,
    allow_files: bool = False,
    threads: int = 0,
    hwaccel: str = NONE,
    cancelled: threading.Event | None = None,
    dial: Dial = as_named,
) -> LiveSource:
    """Connect to `url` and decode up to the first picture, within `open_timeout_seconds`.

    `options` are FFmpeg's, of the demuxer and the protocol; `rtsp_transport` is `tcp` unless given. Files are read at
    their own speed. `threads` for decoding; 0 chooses. `hwaccel` as `open_source` takes it. `cancelled` ends the
    wait for the first picture. `dial` says what FFmpeg connects to.
    Raises SourceError for what cannot be reached, read or allowed, LimitError where the size or the rate is above the
    limits, and UsageError for files without `allow_files` and for options that would make it listen.
    """
    rule = incoming(url, allow_files=allow_files)
    check_connects(url, options or ())
    native = rule is not None and scheme_of(url) in protocols(output=False) | {"rtsp", "rtsps"}
    segmented = urlsplit(url).path.lower().endswith((".m3u8", ".m3u"))
    stall_seconds = max(stall_seconds, SEGMENT_STALL_SECONDS) if segmented else max(stall_seconds, 0.1)
    connection = Connection(
        url=url,
        rule=rule if rule is not None and native else BRIDGED,
        options=dict(options or {}),
        open_seconds=open_timeout_seconds,
        read_seconds=stall_seconds if segmented else min(read_timeout_seconds, stall_seconds),
        bridged=not native,
        acceleration=choose(hwaccel),
        dial=dial,
    )
    limits = Limits(max_width, max_height, max_rate)
    container, pipe = connection.open()
    try:
        return LiveSource(container, connection, pipe, limits, stall_seconds, threads, cancelled or threading.Event())
    except BaseException:
        container.close()
        if pipe is not None:
            pipe.close()
        raise


class LiveSource(Source):
    """One connection being read. Made by `open_live`; a context manager that closes it.

    As `Source`, but pictures are handed on as soon as they are decoded, and `read` raises SourceError when the
    connection fails, falls silent, shows no new picture or changes its size.
    """

    def __init__(
        self,
        container: av.container.InputContainer,
        connection: Connection,
        pipe: bridge.BridgeReader | None,
        limits: Limits,
        stall_seconds: float,
        threads: int,
        cancelled: threading.Event,
    ) -> None:
        self._connection = connection
        self._pipe = pipe
        self._limits = limits
        self._cancelled = cancelled
        self._interrupted = threading.Event()
        self._stall = stall_seconds
        self._pacer = Pacer() if "hls" in container.format.name or connection.rule is FILE else None
        self._opened = self._pictured = time.monotonic()
        self._peeking = True
        self._chosen = 0
        count = threads or min(os.cpu_count() or 1, MAX_THREADS)
        try:
            super().__init__(
                container,
                connection.shown,
                all_video=False,
                strict=False,
                threads=count,
                acceleration=connection.acceleration,
            )
        except UsageError as error:
            raise SourceError(str(error)) from None
        self._peeking = False
        self._pictured = time.monotonic()
        if self.acceleration.warns:
            _log.warning("%s: %s", self.path, self.acceleration.words)
        for stream in self._sounds:
            if stream.codec_context is not None and (why := unusable(stream)):
                _log.warning("%s: audio stream #%d is left out: %s", self.path, stream.index, why)

    @property
    def audio(self) -> tuple[AudioInfo, ...]:
        """The audio streams, in the source's order."""
        return tuple(_audio_info(s) for s in self.copied if isinstance(s, AudioStream) and s.codec_context is not None)

    def read(self) -> Iterator[Item]:
        """Frames and packets as they come; ends at a clean end of the stream. May be called once."""
        self._pictured = time.monotonic()  # The time since it was opened is the reader's: outputs had to be opened.
        for item in super().read():
            if self._pacer is not None:
                self._pace(item)
            self._check_alive()
            given = time.monotonic()
            yield item
            # The time that the reader took is not the source's.
            self._pictured = time.monotonic() if isinstance(item, Frame) else self._pictured + time.monotonic() - given

    def interrupt(self) -> None:
        """From any thread: `read` ends with a SourceError, at the latest after the read time-out."""
        self._interrupted.set()
        if self._pipe is not None:
            self._pipe.abort()

    def close(self) -> None:
        super().close()
        if self._pipe is not None:
            self._pipe.close()

    @property
    def copied(self) -> list[Stream]:
        """The audio streams that can be handed on."""
        return [s for s in self._sounds if s.codec_context is None or not unusable(s)]

    @property
    def _sounds(self) -> list[AudioStream]:
        """All audio streams; of a playlist with several qualities, the one that belongs to the video."""
        videos = self.container.streams.video
        if len(videos) > 1:
            best = cast(AudioStream | None, self.container.streams.best("audio", related=videos[self._chosen]))
            return [] if best is None else [best]
        return list(self.container.streams.audio)

    def _choose(self, all_video: bool) -> list[VideoStream]:
        """The best picture within the limits: playlists and cameras offer several qualities of one."""
        offered = [s for s in self.container.streams.video if s.codec_context is not None]
        allowed = [s for s in offered if self._limits.takes(s.codec_context.width, s.codec_context.height)]
        if not allowed:
            return super()._choose(False)
        best = max(allowed, key=lambda s: s.codec_context.width * s.codec_context.height)
        if not best.codec_context.width:
            raise SourceError(
                f"the live source {self.path} showed no key frame within {self._connection.open_seconds:g} s; where "
                "they are further apart, open_timeout must be longer than their distance"
            )
        self._chosen = list(self.container.streams.video).index(best)
        for stream in offered:
            if stream is not best:
                stream.discard = Discard.all  # Else every quality of a playlist would be fetched.
        return [best]

    def _decoder(self, stream: VideoStream, threads: int) -> StreamDecoder:
        context = stream.codec_context
        self._limits.check_size(context.width, context.height)
        rate = stream.average_rate
        if rate is not None and rate.denominator and rate <= LIKELY_RATE:
            self._limits.check_rate(float(Fraction(rate.numerator, rate.denominator)) / 1.05)
        return LiveDecoder(stream, self.report, threads, self._limits)

    def _clock(self) -> Timeline:
        return LiveTimeline(self.report)

    def _pace(self, item: Item) -> None:
        at, pacer = item.time_seconds, self._pacer
        if at is not None and pacer is not None:
            wait = pacer.wait_seconds(at)
            self._pictured += wait
            self._interrupted.wait(wait)

    def _packets(self) -> Iterator[av.Packet[Any]]:
        failures = 0
        while True:
            try:
                with self._connection.translated("lost"):
                    for packet in self._demuxed():
                        failures = 0
                        self._check_alive()
                        yield packet
                return self._check_end()
            except _DamagedError:
                failures += 1
                self.report.read_errors += 1
                self._check_alive()
                if failures > READ_ERRORS:
                    raise SourceError(f"the live source {self.path} sends nothing that can be read") from None

    def _demuxed(self) -> Iterator[av.Packet[Any]]:
        try:
            yield from self.container.demux(self.container.streams.video[self._chosen], *self.copied)
        except EndOfStream:
            return
        except InvalidDataError:
            raise _DamagedError from None

    def _check_end(self) -> None:
        if self._pipe is not None and self._pipe.failure:
            raise SourceError(f"lost the live source {self.path}: {self._pipe.failure}")

    def _check_alive(self) -> None:
        now = time.monotonic()
        if self._interrupted.is_set() or self._cancelled.is_set():
            raise SourceError(f"reading the live source {self.path} was interrupted")
        if self._peeking and now > self._opened + self._connection.open_seconds:
            raise SourceError(
                f"the live source {self.path} showed no picture within {self._connection.open_seconds:g} s"
            )
        if not self._peeking and now > self._pictured + self._stall:
            raise SourceError(f"the live source {self.path} stalled: no new picture for {self._stall:g} s")


class _DamagedError(Exception):
    """A packet that the demuxer could not read; the next one may do."""


def _audio_info(stream: AudioStream) -> AudioInfo:
    context = stream.codec_context
    return AudioInfo(
        stream=stream.index,
        codec=context.codec.canonical_name,
        rate=stream.rate,
        layout=layout_of(stream),
        time_base=Fraction(stream.time_base or Fraction(1, stream.rate or 1)),
        extradata=bytes(context.extradata or b""),
    )
