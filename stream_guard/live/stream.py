"""One live stream from its source to its outputs: three threads, bounded queues, and one way to end.

read --frames, packets--> stages --frames, packets--> encode, push, and fill the gaps
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from contextlib import closing
from time import monotonic, perf_counter
from typing import Any

from ..config import OnFailure
from ..crew import Crew
from ..errors import EngineError, SourceError, StageError, StreamGuardError
from ..inference.watch import EngineEvent
from ..media.live import LiveReader
from ..metrics import Family, Metrics, families
from ..outcome import Tally
from ..queues import FrameQueue
from ..tracing import OFF, Tracing
from ..types import Frame, Protection
from .connection import POLL_SECONDS, Lost, OpenSource, Reader
from .delivery import CLOSE_SECONDS, Delivery, MakeSink
from .guard import Guard, Reopened
from .ledger import LATE, STOPPED, Ledger
from .limits import Watch
from .parts import make_live_sink, open_live_source
from .pressure import SECONDS, Pressure
from .snapshots import Kind, Snapshots
from .spec import LiveEvent, LivePhase, LiveSpec, LiveStatus
from .splice import Splice
from .state import State
from .watching import Watching

DRAIN_SECONDS = 5.0
"""How long what is in flight may take to leave when the stream is asked to drain."""
PROCESSED_FRAMES = 2
"""Few: pictures that wait for the encoder can't be dropped any more."""


class LiveStream:
    """Made once, run once. `status`, `snapshot` and `drain` may be called from any thread at any time."""

    def __init__(
        self,
        spec: LiveSpec,
        metrics: Metrics,
        on_event: Callable[[LiveEvent], None] = lambda event: None,
        open_source: OpenSource = open_live_source,
        make_sink: MakeSink = make_live_sink,
        tracing: Tracing = OFF,
    ) -> None:
        """`on_event` is called on the stream's threads, one call at a time; it must not wait."""
        self.spec, self.metrics = spec, metrics
        self._tracing = tracing
        self._tally = Tally(metrics, spec.on_failure, tracing=tracing)
        self._state = State(metrics, on_event, tracing)
        self._tally.on_engine = self._engine_told
        self._ledger = Ledger(metrics, self._tally)
        self._pressure = Pressure()
        self._snapshots = Snapshots()
        self._splice = Splice()
        self._decoded: FrameQueue[Any] = FrameQueue(spec.pipeline.queue)
        self._processed: FrameQueue[Any] = FrameQueue(PROCESSED_FRAMES)
        self._discard = threading.Event()
        self._drain_until: float | None = None
        self._opened = threading.Event()
        self._finished = threading.Event()
        self._crew = Crew(self._wake, daemon=True)
        self._reader = Reader(
            spec,
            self._traced(open_source),
            self._decoded,
            state=self._state,
            splice=self._splice,
            ledger=self._ledger,
            pressure=self._pressure,
            metrics=metrics,
        )
        self._delivery = Delivery(
            spec,
            make_sink,
            self._processed,
            state=self._state,
            splice=self._splice,
            ledger=self._ledger,
            snapshots=self._snapshots,
            tally=self._tally,
            metrics=metrics,
            discard=self._discard,
        )
        self._watching = Watching(metrics, self._tally, self._state, self._pressure)

    def _engine_told(self, stage: str, event: EngineEvent) -> None:
        """A stream's events say of its engines what a person would ask: what it runs on now, and why."""
        if event.kind in ("swapped", "fallback", "build_failed"):
            words = f"{stage}: {event.message}"
            if event.kind == "fallback":
                words += f"; the engine goes on with {event.backend}"
            self._state.tell("engine", words, stage=stage, backend=event.backend, what=event.kind)

    def run(self, stop: threading.Event) -> LiveStatus:
        """Until the stream ends by itself, fails, is drained, or `stop` is set; blocks.

        With `stop` what is in flight is dropped and counted as `stopped`; the outputs are closed properly either way.
        Raises StreamGuardError when the stream failed: the first error, in words without URLs' secrets.
        """
        self.metrics["active_streams"].inc()
        try:
            self._begin(stop)
            self._go(stop)
        finally:
            self._end()
            self.metrics["active_streams"].dec()
        return self._conclude()

    def drain(self, within_seconds: float = DRAIN_SECONDS) -> None:
        """Read no more, let what is in flight leave, close the outputs. Returns at once; `run` then returns soon.

        What has not left after `within_seconds` is dropped; closing the outputs may take CLOSE_SECONDS more.
        """
        if self._drain_until is None:
            self._drain_until = monotonic() + within_seconds

    def followed(self) -> None:
        """To be said before `drain`: another stream to the same outputs follows, which players may wait for.

        So it is taken to be where this one fails: who knows that nobody starts it again says so with `end_playlists`.
        """
        self._delivery.followed = True

    def status(self) -> LiveStatus:
        counts, tally, reader = self._ledger.counts(), self._tally, self._reader
        faces = dict(tally.faces)
        return LiveStatus(
            phase=self._state.phase,
            frames_in=counts.frames_in,
            frames_out=counts.frames_out,
            in_flight=counts.in_flight,
            filled=self._delivery.filled,
            dropped=counts.dropped,
            unprotected=dict(tally.unprotected),
            blocked=dict(tally.blocked),
            faces=sum(faces.values()),
            protected_faces=faces.get(Protection.PROTECTED, 0),
            fps=counts.fps,
            latency_seconds=counts.latency_seconds,
            reconnects=reader.reconnects,
            width=reader.size[0],
            height=reader.size[1],
            outputs=self._delivery.outputs,
            recording=self._delivery.recording,
            engines=dict(tally.engines),
            verdicts=dict(tally.verdicts),
            error=self._state.error,
        )

    def families(self) -> list[Family]:
        """The metrics of one moment: frames in are those out, dropped and in flight."""
        with self._ledger.still():
            return families(self.metrics.registry)

    def snapshot(self, kind: Kind) -> bytes:
        """A JPEG of the newest picture, a second old at most: `original`, `protected` or the amplified `difference`.

        Raises NoPictureError before the first picture.
        """
        return self._snapshots.jpeg(kind)

    def _begin(self, stop: threading.Event) -> None:
        self._state.enter(LivePhase.LOADING)
        self._crew.start("stages", self._protect)
        while not self._opened.wait(POLL_SECONDS) and not stop.is_set() and self._drain_until is None:
            pass
        gc.collect()
        gc.freeze()  # as in `protect`: the collector need not walk in mid-stream what is here to stay

    def _go(self, stop: threading.Event) -> None:
        if self._crew.error is not None or stop.is_set() or self._drain_until is not None:
            self._finished.set()
            return
        self._state.enter(LivePhase.CONNECTING)
        self._crew.start("read", self._reader.run)
        self._crew.start("encode", self._encode)
        watch, started, next_look = Watch(self.spec.limits), monotonic(), monotonic()
        while not self._finished.wait(POLL_SECONDS) and not stop.is_set() and self._drain_until is None:
            self._look()
            if monotonic() >= next_look:
                next_look += 1.0
                self._enforce(watch, monotonic() - started)

    def _enforce(self, watch: Watch, ran_seconds: float) -> None:
        """Ends the stream where its time is up, and fails it where it takes too much."""
        spec, away = self.spec, self._reader.away_seconds
        if words := watch.exceeded():
            self._state.tell("limit", words)
            self._crew.fail(StreamGuardError(words))
        elif 0 < spec.limits.duration_seconds <= ran_seconds:
            self._state.tell("limit", f"the stream has run for limits.duration, {spec.limits.duration_seconds:g} s")
            self.drain()
        elif 0 < spec.end_after_gap_seconds <= away:
            words = f"the source has been away for {away:.1f} s; end_after_gap is {spec.end_after_gap_seconds:g} s"
            if self._reader.connections:
                self.drain()
            else:
                self._crew.fail(SourceError(f"{words}, and no picture ever came: {self._state.error}"))

    def _look(self) -> None:
        self.metrics["queue_frames"].labels("decoded").set(self._decoded.frames)
        self.metrics["queue_frames"].labels("processed").set(self._processed.frames)
        delivery = self._delivery
        places = {str(number): output for number, output in enumerate(delivery.outputs)}
        if delivery.recording is not None:
            places["record"] = delivery.recording
        self._watching.look(self._reader.report, delivery.report, places)

    def _protect(self) -> None:
        """The stages thread."""
        guard = Guard(
            self.spec.pipeline, self.spec.on_failure, self._tally, self.spec.backoff, self._state.tell, self._forgot
        )
        with closing(guard):
            guard.open()
            self._opened.set()
            while (item := self._next()) is not None:
                if isinstance(item, Frame):
                    self._protect_one(guard, item)
                    continue
                if isinstance(item, Lost):
                    self._deliver(guard.pause())
                self._processed.put(item, is_frame=False)
            if not self._discard.is_set():
                self._deliver(guard.flush())
        self._processed.end()

    def _forgot(self) -> None:
        self._processed.put(Reopened(), is_frame=False)

    def _next(self) -> Any:
        began = perf_counter()
        item = self._decoded.get()
        self._pressure.rested(perf_counter() - began)
        return item

    def _protect_one(self, guard: Guard, frame: Frame) -> None:
        if self._discard.is_set():
            self._ledger.dropped(frame.index, STOPPED)
            return
        waited = self._ledger.waited(frame.index)
        now = perf_counter()
        self._tracing.came_in(frame, now - waited)
        self._tracing.part(frame, "wait", now - waited, now)
        late = waited > self.spec.max_delay_seconds
        self.metrics["frame_wait_seconds"].observe(waited)
        self._pressure.note(late=late)
        if self.spec.on_failure is OnFailure.DISCONNECT and self._pressure.too_slow:
            raise EngineError(f"the machine was too slow for {SECONDS:g} s, and on_failure is disconnect")
        if not late:
            self._snapshots.before(frame)
            self._deliver(guard.process(frame))
        elif self.spec.on_failure is OnFailure.PASS and not guard.holds and self._processed.frames < PROCESSED_FRAMES:
            self._deliver(iter((guard.bypass(frame),)))
        else:
            self._ledger.dropped(frame.index, LATE)

    def _traced(self, open_source: OpenSource) -> OpenSource:
        """Each attempt to connect is a span."""

        def attempt(spec: LiveSpec, cancelled: threading.Event) -> LiveReader:
            with self._tracing.lasting("connect"):
                return open_source(spec, cancelled)

        return attempt

    def _deliver(self, frames: Any) -> None:
        for frame in frames:
            self._processed.put(frame, is_frame=True)

    def _encode(self) -> None:
        self._delivery.run()
        self._finished.set()

    def _wake(self) -> None:
        self.followed()
        self._decoded.abort()
        self._processed.abort()
        self._reader.wake()
        self._opened.set()
        self._finished.set()

    def _end(self) -> None:
        """Every way out comes through here."""
        if self._drain_until is None:
            self._discard.set()
        if self._crew.error is None and not self._finished.is_set():
            self._state.enter(LivePhase.DRAINING)
        self._reader.wake()
        if not self._reader.done.wait(POLL_SECONDS):
            # It is still connecting, or it never began: nothing more comes of it.
            self._decoded.end()
        if self._drain_until is not None:
            self._finished.wait(max(self._drain_until - monotonic(), 0.0))
            self._discard.set()
        if self._crew.join(seconds=CLOSE_SECONDS + POLL_SECONDS):
            self._decoded.abort()
            self._processed.abort()
            self._crew.join(seconds=CLOSE_SECONDS)
        self._ledger.drop_rest(STOPPED)
        self._look()
        gc.unfreeze()

    def _conclude(self) -> LiveStatus:
        error = self._crew.error
        if error is None:
            self._state.enter(LivePhase.ENDED)
            return self.status()
        ours = error if isinstance(error, StreamGuardError) else StageError("stream", None, error)
        self._state.tell("error", str(ours))
        self._state.enter(LivePhase.FAILED, str(ours))
        raise ours from (None if ours is error else error)
