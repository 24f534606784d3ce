"""What the runner of a live stream and its media agree on: data and protocols, no machinery."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

import av

from ...types import Frame
from ..info import CopiedPacket, SourceInfo, SourceReport

Dial = Callable[[str, Mapping[str, str]], tuple[str, dict[str, str]]]
"""Asked before each connection: given a URL and its options, it says what FFmpeg gets of both. Raises MediaError."""


def as_named(url: str, options: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The `Dial` that changes nothing."""
    return url, dict(options)


@dataclass(frozen=True, slots=True)
class LiveOutput:
    """One place that the encoded stream goes to. An empty `format` takes what the URL implies.

    rtmp(s)://: flv; udp:// and srt://: mpegts; a path that ends in .m3u8: hls; other paths: their suffix.
    """

    url: str = field(repr=False)
    format: str = ""
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """One audio stream. `stream` is its index in the source; `extradata` sets its decoder up, and a copy keeps it."""

    stream: int
    codec: str
    rate: int
    layout: str
    time_base: Fraction
    extradata: bytes = field(default=b"", repr=False)


class LiveReader(Protocol):
    """One connection to a live source: what `open_live` returns (`LiveSource`). A context manager."""

    info: SourceInfo
    report: SourceReport

    @property
    def audio(self) -> tuple[AudioInfo, ...]:
        """The audio streams, in the source's order. They arrive as `CopiedPacket`s."""
        ...

    def first_picture(self, stream: int) -> av.VideoFrame:
        """The first picture of the stream with this index, as it was decoded. Before `read` has begun."""
        ...

    def read(self) -> Iterator[Frame | CopiedPacket]:
        """Once. Ends at a clean end of the stream.

        Raises SourceError, in words and without secrets, on a time-out, a stall, a changed picture size, a size or
        rate above the limits, a lost connection and after `interrupt`.
        """
        ...

    def interrupt(self) -> None:
        """From any thread: a read that goes on or begins ends soon, at the latest after the read time-out."""

    def close(self) -> None:
        """From the reader's thread."""


class Tell(Protocol):
    """Called from any thread. `kind` is `warning`, or `output` or `record` with the `state` that it is in now."""

    def __call__(self, kind: str, words: str, /, *, state: str = ...) -> None: ...


class LiveWriter(Protocol):
    """One encode, many outputs: `LiveSink`. All methods from one thread; any may ask for `outputs` and `recording`.

    LiveSink(source: LiveSource, outputs: Sequence[LiveOutput], settings: EncoderSettings, *, record: str = "",
    retry: Backoff = Backoff(), on_event: Tell = ...). Copies what it needs: the source may be closed and replaced.
    """

    @property
    def outputs(self) -> tuple[dict[str, object], ...]:
        """Each: {"url": redacted, "state": "open"|"waiting"|"failed", "bytes", "reconnects", "dropped", "error"}."""
        ...

    @property
    def recording(self) -> dict[str, object] | None:
        """The same of the recording; None without one."""
        ...

    def fits(self, source: LiveReader) -> str:
        """Empty when frames and packets of this new connection may be written on; else why not (make a new sink).

        When it fits, packets are from now on told apart by this source's stream numbers.
        """
        ...

    def write(self, frame: Frame) -> None:
        """Encode one frame; `pts` must rise over all connections and gaps. Never waits for an output."""

    def write_packet(self, copied: CopiedPacket) -> None:
        """Hand on one audio packet; `copied.stream` as in the source that the sink was made for (or that fits it)."""

    def write_silence(self, until_seconds: float) -> None:
        """Fill every audio stream from where it ends up to this time on the output's clock. Nothing without audio."""

    def close(self, timeout_seconds: float = 5.0, *, for_good: bool = True) -> None:
        """Drain the encoder and the outputs within this time; what does not end by then is dropped.

        Where it is not `for_good`, another writer to the same outputs follows at once.
        """

    def abort(self) -> None:
        """End at once. A recording stays as NAME.partial. Safe after close."""
