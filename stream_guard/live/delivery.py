"""The writing side: the sink, what it is fed, and what it is fed while the source is away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from ..config import OnFailure
from ..errors import SinkError, StageError, StreamGuardError
from ..media.live import LiveReader, LiveWriter, Tell
from ..metrics import Metrics
from ..outcome import Tally
from ..policy import shortfall
from ..queues import AbortedError, FrameQueue
from ..types import Frame
from .connection import Connected, Lost
from .gap import Filler
from .guard import Reopened
from .ledger import STOPPED, Ledger
from .nowhere import Nowhere
from .snapshots import Snapshots
from .spec import LiveSpec, OnGap
from .splice import Splice
from .state import State
from .totals import Totals, written
from .verdicts import VerdictChanges

CLOSE_SECONDS = 3.0
"""How long the outputs may take to end."""

log = logging.getLogger(__name__)
MakeSink = Callable[[LiveSpec, LiveReader, Tell], LiveWriter]


class Delivery:
    """Runs on the encode thread, and alone touches the sink. Its properties may be asked from any thread."""

    def __init__(
        self,
        spec: LiveSpec,
        make_sink: MakeSink,
        queue: FrameQueue[Any],
        *,
        state: State,
        splice: Splice,
        ledger: Ledger,
        snapshots: Snapshots,
        tally: Tally,
        metrics: Metrics,
        discard: threading.Event,
    ) -> None:
        self._spec, self._make_sink, self._queue = spec, make_sink, queue
        self._state, self._ledger, self._snapshots = state, ledger, snapshots
        self._tally, self._metrics, self._discard = tally, metrics, discard
        self._filler = Filler(spec.on_gap, splice)
        self._changes = VerdictChanges()
        self._totals = Totals()
        self._sink: LiveWriter | None = None
        self._last: Frame | None = None
        self._fit = True
        """Whether the last picture of the source was fit to leave. With `pass` others leave too."""
        self._ended_outputs: tuple[dict[str, Any], ...] = ()
        self._ended_recording: dict[str, Any] | None = None
        self.filled = 0
        self.followed = False
        """Whether another stream to the same outputs follows, or may: no playlist then says that it is at its end."""

    def run(self) -> None:
        """Until the queue ends. The sink is closed properly also when another thread fails; aborted on its own error.

        Raises StageError for `encode`, or what the sink raised if it is ours.
        """
        try:
            self._loop()
        except AbortedError:
            self._close(for_good=not self.followed)
            raise
        except StreamGuardError:
            self._abort()
            raise
        except Exception as exc:
            self._abort()
            raise StageError("encode", None if self._last is None else self._last.time_seconds, exc) from exc
        self._close(for_good=not self.followed)

    @property
    def outputs(self) -> tuple[dict[str, Any], ...]:
        sink = self._sink
        return self._ended_outputs if sink is None else sink.outputs

    @property
    def recording(self) -> dict[str, Any] | None:
        sink = self._sink
        return self._ended_recording if sink is None else sink.recording

    @property
    def report(self) -> Any:
        """Bytes written to all outputs and recordings, also of sinks that are closed."""
        return self._totals.now()

    def _loop(self) -> None:
        while True:
            try:
                item = self._queue.get(self._filler.wait_seconds())
            except TimeoutError:
                self._fill()
                continue
            if item is None:
                return
            if isinstance(item, Frame):
                self._write(item)
            elif isinstance(item, Connected):
                self._connect(item)
            elif isinstance(item, Lost):
                self._lose()
            elif isinstance(item, Reopened):
                self._changes = VerdictChanges()
            elif self._sink is not None and not self._discard.is_set():
                self._sink.write_packet(item)

    def _connect(self, connected: Connected) -> None:
        self._filler.end()
        self._changes = VerdictChanges()  # the stages forgot, too: their faces are counted from one again
        if self._discard.is_set():
            return
        sink = self._sink
        why = "" if sink is None else sink.fits(connected.source)
        if why:
            self._state.tell("output", f"the outputs are opened anew: {why}")
            self._close(for_good=False)
        if self._sink is None:
            self._sink = sink = self._make_sink(self._spec, connected.source, self._state.tell)
            self._totals.begin(partial(written, sink))
            self._expect(connected.source)
        connected.ready.set()

    def _expect(self, source: LiveReader) -> None:
        """The next gap may come before any picture: it is filled in the new size. Nobody protected this picture."""
        if self._last is not None:
            first = source.first_picture(source.info.video.stream)
            self._last, self._fit = replace(self._last, picture=first), False

    def _lose(self) -> None:
        if self._spec.on_gap is OnGap.CLOSE:
            self._close()
        elif self._last is not None and not isinstance(self._sink, Nowhere):
            self._filler.begin(self._last, fit=self._fit)

    def _write(self, frame: Frame) -> None:
        if self._discard.is_set():
            self._ledger.dropped(frame.index, STOPPED)
            return
        if self._sink is None:
            raise SinkError("a picture came before the outputs were open")
        with self._tally.timed("encode", frame):
            self._sink.write(frame)
        self._ledger.went_out(frame)
        self._last, self._fit = frame, not self._passed(frame)
        self._snapshots.after(frame)
        for verdict in self._changes.news(frame.verdicts):
            words = f"{verdict.stage}: {verdict.label}" + ("" if verdict.track is None else f" (face {verdict.track})")
            self._state.tell(
                "verdict",
                words,
                stage=verdict.stage,
                label=verdict.label,
                score=verdict.score,
                track=verdict.track,
                time_seconds=frame.time_seconds,
            )

    def _passed(self, frame: Frame) -> bool:
        """Whether the frame left as it was although it should not have: other policies overwrite it."""
        return self._spec.on_failure is OnFailure.PASS and shortfall(frame, self._spec.pipeline.protects) is not None

    def _fill(self) -> None:
        if self._sink is None:
            self._filler.end()
            return
        frame = self._filler.picture()
        self._sink.write(frame)
        self._sink.write_silence(float((frame.pts + frame.duration) * frame.time_base))
        self._last = frame
        self.filled += 1
        self._metrics["filled_frames"].inc()

    def _close(self, *, for_good: bool = True) -> None:
        sink = self._sink
        if sink is None:
            return
        try:
            sink.close(CLOSE_SECONDS, for_good=for_good)
        finally:
            self._forget(sink)

    def _abort(self) -> None:
        sink = self._sink
        if sink is None:
            return
        try:
            sink.abort()
        except Exception as exc:  # the first error is the one to raise
            log.warning("the outputs could not be ended: %s", exc)
        self._forget(sink)

    def _forget(self, sink: LiveWriter) -> None:
        self._totals.end()
        self._ended_outputs = tuple({**output, "state": "closed"} for output in sink.outputs)
        self._ended_recording = {**sink.recording, "state": "closed"} if sink.recording else None
        self._sink = None
