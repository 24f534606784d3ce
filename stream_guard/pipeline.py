"""The runner: three threads, two bounded queues, one failure policy, and one way to end.

    decode --frames, packets--> stages --frames, packets--> encode and mux

Packets of the other streams take the same queues as the frames, so the sink gets all in the source's order.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from time import perf_counter
from typing import Any, Protocol

from .config import PipelineConfig
from .crew import Crew
from .errors import SinkError, SourceError, StageError, StoppedError
from .lane import Lane
from .metrics import Metrics
from .outcome import Progress, RunReport, Tally
from .queues import AbortedError, FrameQueue
from .tracing import OFF, Tracing
from .types import Frame

POLL_SECONDS = 0.1
"""How often the caller's thread looks at the stop event and reports progress."""
STAGES_SECONDS = 10.0
"""How long a run that is given up waits for its stages: an engine may hang, and no thread can be ended from outside."""

log = logging.getLogger(__name__)


class Readable(Protocol):
    """What the runner asks of a source: frames and whatever else is to be copied, in demux order."""

    @property
    def info(self) -> Any:
        """`info.videos` has one item a video stream, with its number `stream` and `frames`; and `info.warnings`."""

    @property
    def report(self) -> Any: ...

    @property
    def truncation(self) -> str:
        """What is missing at the end, in a sentence; known once `read` has ended."""

    def read(self) -> Iterator[Any]: ...


class Writable(Protocol):
    """What the runner asks of a sink: `close` finishes the output, `abort` leaves nothing of it."""

    @property
    def report(self) -> Any: ...

    def write(self, frame: Frame, /) -> None: ...

    def write_packet(self, packet: Any, /) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


def run(
    config: PipelineConfig,
    source: Readable,
    make_sink: Callable[[], Writable],
    *,
    metrics: Metrics | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    starts_anew: Callable[[Frame], bool] = lambda frame: False,
    on_open: Callable[[dict[str, dict[str, str]]], None] = lambda engines: None,
    tracing: Tracing = OFF,
) -> RunReport:
    """Take every frame of `source` through the stages into the sink; the caller closes the source afterwards.

    All stages are open before `make_sink` is called and before the first frame is read. On an error, on `stop` and on
    an interrupt all threads are joined and the sink is aborted. `on_progress` is called on the caller's thread.
    `starts_anew` is asked of every frame of the source, in order: where it says so, the stages give out what they hold,
    and they and the failure policy forget what was before. `on_open` is told what the stages
    loaded, before `make_sink`. `tracing` follows a frame now and then; it is the caller's to close.

    Raises what a stage's `open` or `make_sink` raised; StageError for the first error of the run, naming the stage
    (`decode` and `encode` among them) and the frame's time; StoppedError when `stop` was set before the end.
    """
    asked = _Run(config, source, metrics or Metrics(), stop or threading.Event(), starts_anew, tracing)

    def opened() -> Writable:
        on_open(dict(asked.tally.engines))
        return make_sink()

    return asked.go(opened, on_progress)


class _Run:
    def __init__(
        self,
        config: PipelineConfig,
        source: Readable,
        metrics: Metrics,
        stop: threading.Event,
        starts_anew: Callable[[Frame], bool],
        tracing: Tracing,
    ) -> None:
        self.starts_anew = starts_anew
        self.config, self.source, self.metrics, self.stop = config, source, metrics, stop
        self.tally = Tally(metrics, config.on_failure, tracing=tracing)
        announced = [video.frames for video in source.info.videos]
        self.total_frames = None if None in announced else sum(announced)
        self.lanes = {video.stream: Lane(config, self.tally) for video in source.info.videos}
        self.decoded: FrameQueue[Any] = FrameQueue(config.queue)
        self.processed: FrameQueue[Any] = FrameQueue(config.queue)
        self.sink: Writable | None = None
        self.finished = False
        self.opened = threading.Event()
        self.ended = threading.Event()
        self.born: dict[tuple[int, int], float] = {}  # when each frame in flight was decoded, by stream and index
        self.crew = Crew(self._wake)

    def go(self, make_sink: Callable[[], Writable], on_progress: Callable[[Progress], None]) -> RunReport:
        started = perf_counter()
        self.metrics["active_streams"].inc()
        try:
            self.crew.start("stages", self._stages, daemon=True)
            self._wait(self.opened)
            if self.crew.error is None and not self.stop.is_set():
                self.sink = make_sink()
                started = perf_counter()
                self.crew.start("decode", self._decode)
                self.crew.start("encode", self._encode)
                self._wait(self.ended, lambda: on_progress(self._progress(started)))
        finally:
            self._end()
        self._raise()
        on_progress(self._progress(started))
        return self.tally.report(self.config.name, perf_counter() - started, self.source, self.sink)

    def _wait(self, event: threading.Event, tick: Callable[[], None] = lambda: None) -> None:
        """Wait on the caller's thread, where signals arrive, until `event`, a stop or an error."""
        while not event.wait(POLL_SECONDS) and not self.stop.is_set():
            tick()

    def _end(self) -> None:
        """Every way out comes through here: wake all, join all, and leave no half output."""
        if not self.finished:
            self.decoded.abort()
            self.processed.abort()
        try:
            self.crew.join("decode", "encode")
            if self.crew.join("stages", seconds=STAGES_SECONDS):
                log.warning("the stages did not answer for %g s and are left behind: an engine hangs", STAGES_SECONDS)
        finally:  # also where an impatient user ends the waiting
            self.metrics["active_streams"].dec()
            self.metrics["queue_frames"].labels("decoded").set(0)
            self.metrics["queue_frames"].labels("processed").set(0)
            if not self.finished and not self.crew.join("encode", seconds=0):
                self._abort_sink()

    def _abort_sink(self) -> None:
        try:
            if self.sink is not None:
                self.sink.abort()
        except Exception as exc:  # the first error is the one to raise
            log.warning("the unfinished output could not be removed: %s", exc)

    def _raise(self) -> None:
        if self.crew.error is not None:
            raise self.crew.error
        if not self.finished:
            raise StoppedError("stopped; no output was left")

    def _wake(self) -> None:
        self.decoded.abort()
        self.processed.abort()
        self.opened.set()
        self.ended.set()

    def _decode(self) -> None:
        reader = self.source.read()
        last: float | None = None
        while True:
            started = perf_counter()
            try:
                item = next(reader, None)
            except Exception as exc:
                raise StageError("decode", last, exc) from exc
            if item is None:
                break
            is_frame = isinstance(item, Frame)
            if is_frame:
                last = item.time_seconds
                decoded = perf_counter()
                self.tally.spent("decode", decoded - started)
                self.tally.came_in()
                self.born[item.stream, item.index] = decoded
                self.tally.tracing.came_in(item, started)
                self.tally.tracing.part(item, "decode", started, decoded)
            self.decoded.put(item, is_frame=is_frame)
        self.decoded.end()

    def _stages(self) -> None:
        with ExitStack() as opened:
            for lane in self.lanes.values():
                opened.enter_context(lane.chain)
            self.opened.set()
            while (item := self.decoded.get()) is not None:
                if isinstance(item, Frame):
                    lane = self.lanes[item.stream]
                    if self.starts_anew(item):
                        self._deliver(lane.flush())
                        lane.restart()
                    self._deliver(lane.process(item))
                else:
                    self.processed.put(item, is_frame=False)
            for lane in self.lanes.values():
                self._deliver(lane.flush())
        self.processed.end()  # only now: a stage that fails to close must not find the output finished

    def _deliver(self, frames: Iterator[Frame]) -> None:
        for frame in frames:
            self.processed.put(frame, is_frame=True)

    def _encode(self) -> None:
        sink = self.sink
        if sink is None:
            raise SinkError("there is no output to write to")
        time: float | None = None
        try:
            while (item := self.processed.get()) is not None:
                if isinstance(item, Frame):
                    time = item.time_seconds
                    self._write(sink, item)
                else:
                    sink.write_packet(item)
            if self.tally.frames_out == 0:
                raise SourceError("no picture could be decoded from the input; there is nothing to protect")
            sink.close()
        except (AbortedError, SourceError):
            raise
        except Exception as exc:
            raise StageError("encode", time, exc) from exc
        self.finished = True
        self.ended.set()

    def _write(self, sink: Writable, frame: Frame) -> None:
        with self.tally.timed("encode", frame):
            sink.write(frame)
        self.tally.went_out(frame, perf_counter() - self.born.pop((frame.stream, frame.index)))

    def _progress(self, started: float) -> Progress:
        self.metrics["queue_frames"].labels("decoded").set(self.decoded.frames)
        self.metrics["queue_frames"].labels("processed").set(self.processed.frames)
        self.tally.follow(self.source.report, self.sink.report if self.sink is not None else None)
        return self.tally.progress(self.total_frames, perf_counter() - started)
