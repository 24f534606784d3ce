"""One encode, many outputs, and a recording beside them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from fractions import Fraction
from types import TracebackType

from av.error import FFmpegError

from ...backoff import Backoff
from ...errors import SinkError, UsageError
from ...types import Frame
from ..info import CopiedPacket, SinkReport
from ..settings import EncoderSettings
from .contract import Dial, LiveOutput, Tell, as_named
from .mould import Mould, Template, differs
from .output import Output
from .places import Place, Recording
from .units import Unit

CLOSE_SECONDS = 5.0
CONNECT_SECONDS = 1.0
"""How long the end of a stream waits for an output that has not connected yet."""
GIVE_UP_SECONDS = 2.0
"""What an output gets to end after it was given up: sockets look up ten times a second."""
KEY_SECONDS = 1.0
"""Key frames that outputs ask for are at least this far apart: they cost bits for all."""


class LiveSink:
    """Encodes once and hands the result to every output, each on a thread of its own; a context manager.

    Nothing of the source is kept: it may be closed and followed by another that `fits`. All methods from one thread,
    but `outputs` and `recording`. Raises ConfigError, UnknownNameError or UsageError for what cannot be written so, and
    SinkError where a system ffmpeg is missing and when encoding fails; a failing output raises nothing.
    """

    report: SinkReport

    def __init__(
        self,
        source: Template,
        outputs: Sequence[LiveOutput],
        settings: EncoderSettings | None = None,
        *,
        record: str = "",
        retry: Backoff | None = None,
        on_event: Tell = lambda kind, words, /, *, state="": None,
        dial: Dial = as_named,
    ) -> None:
        retry = retry or Backoff()
        places = [Place(output, dial) for output in outputs]
        recording = Recording(record) if record else None
        everywhere = [*places, *([recording] if recording else [])]
        if not everywhere:
            raise UsageError("a live sink needs at least one output or a recording; give a URL to push to")
        self.report = SinkReport()
        self._mould = Mould(source, settings or EncoderSettings(), [place.format for place in everywhere])
        self._on_event = on_event
        self._tell()
        self._outputs = [Output(place, self._mould, retry, on_event) for place in places]
        self._recording = Output(recording, self._mould, retry, on_event, "record") if recording else None
        self._slots = {info.stream: number for number, info in enumerate(self._mould.audio)}
        self._first: Fraction | None = None
        self._key_time = 0.0
        self._closed = False
        for output in self._all:
            output.start()

    @property
    def outputs(self) -> tuple[dict[str, object], ...]:
        """The state of each output, in the order given; the recording, which is none of them, is `recording`."""
        return tuple(output.status() for output in self._outputs)

    @property
    def recording(self) -> dict[str, object] | None:
        return None if self._recording is None else self._recording.status()

    def fits(self, source: Template) -> str:
        """Empty when this source's frames and packets may be written on; else why not.

        When it fits, packets are from now on told apart by this source's stream numbers.
        """
        why = differs(self._mould.info, self._mould.audio, source)
        if not why:
            self._slots = {info.stream: number for number, info in enumerate(source.audio)}
        return why

    def write(self, frame: Frame) -> None:
        """Encode one frame. Its time must lie above all before it, over all sources. Never waits for an output."""
        if self._first is None:
            self._first = frame.pts * frame.time_base
        try:
            self._hand_on(self._mould.encode(frame, key=self._key_is_due()))
        except (FFmpegError, ValueError) as error:
            raise SinkError(f"the encoder failed: {getattr(error, 'strerror', None) or error}") from error
        self.report.frames += 1
        self._tell()

    def write_packet(self, copied: CopiedPacket) -> None:
        """Hand on one packet of sound; packets of other streams are left out."""
        slot = self._slots.get(copied.stream)
        if slot is None:
            self.report.packets_left_out += 1
            return
        for tap in self._mould.taps[slot]:
            self._hand_on(tap.write(copied.packet))
        self.report.packets_copied += 1

    def write_silence(self, until_seconds: float) -> None:
        """Fill each stream of sound from where it ends up to this time on the output's clock."""
        until = Fraction(until_seconds)
        for taps in self._mould.taps:
            for tap in taps:
                begin = self._first if self._first is not None else until
                self._hand_on(tap.silence(begin, until))

    def close(self, timeout_seconds: float = CLOSE_SECONDS, *, for_good: bool = True) -> None:
        """Drain the encoder and the outputs within this time; an output that takes longer is given up.

        Where it is not `for_good`, another sink follows at once: a playlist does not say that it is at its end.

        One that is not open by then gets CONNECT_SECONDS at most: it must not hold up those that are.
        """
        if self._closed:
            return
        begun = time.monotonic()
        with contextlib.suppress(FFmpegError, ValueError):  # Nothing was encoded yet, or nothing more can be.
            self._hand_on(self._mould.encode(None))
        for output in self._all:
            output.end(for_good=for_good)
        for output in self._all:
            seconds = timeout_seconds if output.state == "open" else min(timeout_seconds, CONNECT_SECONDS)
            output.join(begun + seconds - time.monotonic())
        self.abort()

    def abort(self) -> None:
        """End at once. Safe to call more than once."""
        if self._closed:
            return
        self._closed = True
        for output in self._all:
            output.abort()
        deadline = time.monotonic() + GIVE_UP_SECONDS
        for output in self._all:
            output.join(deadline - time.monotonic())
        self._mould.close()
        self.report.bytes = sum(output.bytes for output in self._all)

    def __enter__(self) -> LiveSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()

    @property
    def _all(self) -> list[Output]:
        return [*self._outputs, *([self._recording] if self._recording else [])]

    def _hand_on(self, units: Iterable[Unit]) -> None:
        for unit in units:
            for output in self._all:
                output.put(unit)

    def _tell(self) -> None:
        """Each warning once; some come only when the pictures change."""
        new = self._mould.warnings[len(self.report.warnings) :]
        self.report.warnings += new
        for words in new:
            self._on_event("warning", words)

    def _key_is_due(self) -> bool:
        wanting = [output for output in self._all if output.want_key]
        now = time.monotonic()
        if not wanting or now < self._key_time + KEY_SECONDS:
            return False
        self._key_time = now
        for output in wanting:
            output.want_key = False
        return True
