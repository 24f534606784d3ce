"""The reading side: connects, waits, connects again, and hands on what comes on the output's own timeline."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from time import monotonic
from typing import Any

from ..backoff import Waits
from ..errors import LimitError, SourceError
from ..media import CopiedPacket
from ..media.live import LiveReader
from ..metrics import Metrics
from ..queues import FrameQueue
from ..types import Frame
from ..wording import counted
from .ledger import DISORDERED, LATE, Ledger
from .pressure import Pressure
from .spec import LivePhase, LiveSpec
from .splice import Splice
from .state import State
from .totals import Totals

OpenSource = Callable[[LiveSpec, threading.Event], LiveReader]
"""Connects once; the event ends the wait. Raises SourceError, and whatever else it raises ends the stream."""
POLL_SECONDS = 0.1
QUEUE_BYTES = 256 * 1024**2
"""Pictures that wait for the stages hold at most this much."""
BYTES_PER_PIXEL = 1.5
LIKELY_RATE = 60
"""A rate above 120 is not a rate but a demuxer's guess: then this."""


@dataclass(slots=True)
class Connected:
    """In the queues before a connection's items; `ready` is set when the sink can take them."""

    source: LiveReader
    ready: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Lost:
    """In the queues after a connection's items."""

    words: str


class Reader:
    """Runs on the read thread. `wake` may be called from any thread, the properties asked likewise."""

    def __init__(
        self,
        spec: LiveSpec,
        open_source: OpenSource,
        queue: FrameQueue[Any],
        *,
        state: State,
        splice: Splice,
        ledger: Ledger,
        pressure: Pressure,
        metrics: Metrics,
    ) -> None:
        self._spec, self._open_source, self._queue = spec, open_source, queue
        self._state, self._splice, self._ledger, self._pressure = state, splice, ledger, pressure
        self._metrics = metrics
        self._waits = Waits(spec.backoff)
        self._totals = Totals()
        self._source: LiveReader | None = None
        self._halt = threading.Event()
        self._frames = 0  # of all connections: the next frame's index
        self._last = Fraction(-1)  # the time of the last frame
        self._away_since: float | None = None
        self._above_limits = False  # as the connection before this one ended
        self._followed = False  # whether this connection was told to those who write
        self.done = threading.Event()
        self.reconnects = 0
        self.connections = 0
        self.size = (0, 0)

    def run(self) -> None:
        try:
            self._away_since = monotonic()
            while not self._halt.is_set():
                self._once()
                if self._halt.is_set():
                    break
                self._wait()
        finally:
            self.done.set()
        self._queue.end()

    def wake(self) -> None:
        """Read no more: a read or a wait ends soon. What was read goes on."""
        self._halt.set()
        source = self._source
        if source is not None:
            source.interrupt()

    @property
    def away_seconds(self) -> float:
        """How long there has been no picture; 0 while the source is there."""
        since = self._away_since
        return 0.0 if since is None else monotonic() - since

    @property
    def report(self) -> Any:
        """The source's counters, added up over all connections."""
        return self._totals.now()

    def _once(self) -> None:
        """One connection, from its beginning to its end."""
        words = "the source ended its stream"
        before = self._frames
        self._followed = False
        try:
            with contextlib.closing(self._open_source(self._spec, self._halt)) as source:
                self._source = source
                self._totals.begin(lambda: source.report)
                try:
                    self._follow(source)
                finally:
                    self._source = None
                    self._totals.end()
            self._above_limits = False
        except LimitError as exc:
            if self._above_limits or self._frames == before:
                raise  # it would be as large or as fast the next time
            # In mid-stream damaged times may look like a high rate: another connection shows.
            self._above_limits, words = True, str(exc)
        except SourceError as exc:
            self._above_limits, words = False, str(exc)
        if not self._halt.is_set():
            self._lost(words, had_pictures=self._frames > before)

    def _follow(self, source: LiveReader) -> None:
        video = source.info.video
        self.size = (video.width, video.height)
        connected = Connected(source)
        self._queue.resize(self._waiting_frames(video))
        self._queue.put(connected, is_frame=False)
        self._followed = True
        while not connected.ready.wait(POLL_SECONDS):
            if self._halt.is_set():
                return
        self._splice.connect()
        self._pressure.forget()
        for item in source.read():
            if self._halt.is_set():
                return
            if isinstance(item, Frame):
                self._frame(item)
            else:
                self._packet(item)

    def _frame(self, came: Frame) -> None:
        base = came.time_base
        offset = self._place(came.stream, came.pts * base, came.duration * base)
        frame = replace(came, index=self._frames, pts=came.pts + round((offset or 0) / base))
        self._frames += 1
        self._ledger.came_in(frame.index)
        if offset is None or frame.pts * base <= self._last:
            self._ledger.dropped(frame.index, DISORDERED)
            return
        self._last = frame.pts * base
        if self._away_since is not None:
            self._arrived()
        pushed_out = self._queue.push(frame)
        if pushed_out is not None:
            self._ledger.dropped(pushed_out.index, LATE)
            self._pressure.note(late=True)

    def _packet(self, copied: CopiedPacket) -> None:
        packet = copied.packet
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None:
            return
        base = Fraction(packet.time_base)
        offset = self._place(copied.stream, stamp * base, (packet.duration or 0) * base)
        if offset is None:
            return
        ticks = round(offset / base)
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
        self._queue.put(copied, is_frame=False)

    def _place(self, stream: int, stamp: Fraction, duration: Fraction) -> Fraction | None:
        jumps = self._splice.jumps
        offset = self._splice.place(stream, stamp, duration)
        if self._splice.jumps > jumps:
            self._metrics["source_clock_jumps"].inc()
            self._state.tell("reconnect", "the source's clock jumped; its times go on where they were")
        return offset

    def _arrived(self) -> None:
        """The first picture of a connection."""
        away, self._away_since = self.away_seconds, None
        self._waits.reset()
        self.connections += 1
        if self.connections > 1:
            self.reconnects += 1
            self._metrics["reconnects"].inc()
            self._metrics["source_gap_seconds"].inc(away)
            self._state.tell("reconnect", f"the source is back after {away:.1f} s", seconds=round(away, 3))
        self._state.error = ""
        self._state.enter(LivePhase.RUNNING)

    def _lost(self, words: str, *, had_pictures: bool) -> None:
        if had_pictures:
            self._away_since = monotonic()
        if self._followed:  # Whoever heard of this connection stopped filling the gap for it.
            self._queue.put(Lost(words), is_frame=False)
        self._state.error = words
        if self.connections:
            self._state.enter(LivePhase.GAP, words)
        self._state.tell("error", words)

    def _wait(self) -> None:
        wait = self._waits.next()
        if self._waits.used_up:
            raise SourceError(
                f"the source gave no picture in {counted(self._waits.attempts, 'attempt')} in a row, "
                f"and backoff.attempts allows no more; the last one: {self._state.error}"
            )
        self._halt.wait(wait)

    def _waiting_frames(self, video: Any) -> int:
        """How many pictures come in `max_delay_seconds`; fewer where they are so large that memory would suffer."""
        rate = float(video.average_rate or LIKELY_RATE)
        frames = math.ceil(self._spec.max_delay_seconds * (rate if rate <= 120 else LIKELY_RATE)) + 1
        return max(min(frames, int(QUEUE_BYTES / (video.width * video.height * BYTES_PER_PIXEL))), 2)
