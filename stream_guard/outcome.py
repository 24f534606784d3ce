"""What a run did: counted while it runs, reported when it ends."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from .config import OnFailure
from .inference.watch import EngineEvent
from .metrics import Metrics
from .tracing import OFF, Tracing
from .types import Frame, Protection

ENGINE_STATES = ("ready", "building", "fallen_back")

FOLLOWED = {
    "source_corrupt_packets": ("source", "corrupt_packets"),
    "source_corrupt_frames": ("source", "corrupt_frames"),
    "dts_repaired": ("sink", "dts_repaired"),
    "packets_copied": ("sink", "packets_copied"),
    "encoded_bytes": ("sink", "bytes"),
}
"""Counters that the media reports keep, by the metric that repeats them."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """The result of a run. `seconds` is wall time, `stage_seconds` the time inside each stage, decode and encode too.

    `engines` holds what each stage said it had loaded; `unprotected_frames` and `blocked_frames` count by reason.
    `truncation` says in a sentence what the source lacks at its end; empty when it is whole.
    """

    pipeline: str
    on_failure: str
    frames_in: int
    frames_out: int
    frames_without_face: int
    faces: int
    protected_faces: int
    unprotected_frames: dict[str, int]
    blocked_frames: dict[str, int]
    seconds: float
    fps: float
    stage_seconds: dict[str, float]
    source: dict[str, Any]
    sink: dict[str, Any]
    engines: dict[str, dict[str, str]]
    truncation: str = ""
    verdicts: dict[str, int] = field(default_factory=dict)
    """Verdicts of checking stages by `stage:label`."""
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: `time_seconds` is the source's time of the last picture that was encoded.

    `total_frames` is what the source announces, often an estimate; None where nobody knows.
    """

    frames: int
    total_frames: int | None
    faces: int
    time_seconds: float
    elapsed_seconds: float

    @property
    def fps(self) -> float:
        return self.frames / self.elapsed_seconds if self.elapsed_seconds > 0 else 0.0


@dataclass(slots=True)
class Tally:
    """The counts of one run, kept beside the metrics so that a report holds this run only.

    Each field is written by one thread only.
    """

    metrics: Metrics
    on_failure: OnFailure
    frames_in: int = 0
    frames_out: int = 0
    without_face: int = 0
    faces: Counter[Protection] = field(default_factory=Counter)
    unprotected: Counter[str] = field(default_factory=Counter)
    blocked: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    engines: dict[str, dict[str, str]] = field(default_factory=dict)
    engine_states: dict[str, str] = field(default_factory=dict)
    time_seconds: float = 0.0
    followed: Counter[str] = field(default_factory=Counter)
    tracing: Tracing = OFF
    screening: bool = False
    """Whether nothing is let out, so that there is nothing to tell of what became of the faces."""
    on_engine: Callable[[str, EngineEvent], None] = lambda stage, event: None
    """Told, with the stage's name, of what becomes of its engine; from any thread, and must not wait."""

    def came_in(self) -> None:
        self.frames_in += 1
        self.metrics["frames_in"].inc()

    def judged(self, frame: Frame, reason: str | None) -> None:
        """Count a frame that the stages and the policy are done with; `reason` as FailurePolicy.apply gives it."""
        self.tracing.judged(frame, reason)
        if frame.faces_known and not frame.faces:
            self.without_face += 1
            self.metrics["frames_without_face"].inc()
        for face in frame.faces:
            self.faces[face.protection] += 1
            if not self.screening:
                self.metrics["faces"].labels(face.protection.value).inc()
        for verdict in frame.verdicts:
            self.verdicts[f"{verdict.stage}:{verdict.label}"] += 1
            self.metrics["verdicts"].labels(verdict.stage, verdict.label).inc()
            if verdict.measured:
                self.metrics["verdict_score"].labels(verdict.stage).observe(verdict.score)
        if reason is None:
            return
        if self.on_failure is OnFailure.PASS:
            self.unprotected[reason] += 1
            self.metrics["unprotected_frames"].labels(reason).inc()
        else:
            self.blocked[reason] += 1
            self.metrics["blocked_frames"].labels(reason, self.on_failure.value).inc()

    def went_out(self, frame: Frame, latency_seconds: float | None = None) -> None:
        """`latency_seconds` is None where nothing is encoded."""
        self.frames_out += 1
        self.time_seconds = frame.time_seconds
        self.metrics["frames_out"].inc()
        if latency_seconds is not None:
            self.metrics["frame_latency_seconds"].observe(latency_seconds)
        self.tracing.went_out(frame)

    def spent(self, stage: str, seconds: float) -> None:
        """Add the time of one call of a stage; a stage that stands twice in a pipeline is added up."""
        self.stage_seconds[stage] = self.stage_seconds.get(stage, 0.0) + seconds
        self.metrics["stage_duration_seconds"].labels(stage).observe(seconds)

    @contextlib.contextmanager
    def timed(self, stage: str, frame: Frame | None) -> Iterator[None]:
        """The time of what happens inside, as of one call of `stage`; with a frame also for its trace."""
        started, error = perf_counter(), ""
        try:
            yield
        except BaseException as exc:
            error = type(exc).__name__
            raise
        finally:
            ended = perf_counter()
            self.spent(stage, ended - started)
            if frame is not None:
                self.tracing.part(frame, stage, started, ended, error)

    def loaded(self, stage: str, about: dict[str, str]) -> None:
        """Note what a stage has loaded; a stage without an engine says nothing."""
        if about:
            self.engines[stage] = about
            self.metrics["engine"].labels(stage).info(about)
            self.metrics["engine_loaded"].labels(stage).set(1)
            if self.engine_states.get(stage) is None:
                self._engine_is(stage, "ready")

    def engine_told(self, stage: str, event: EngineEvent) -> None:
        """What became of a stage's engine while it was in use; from any thread."""
        if event.kind == "building":
            self._engine_is(stage, "building")
        elif event.kind == "fallback":
            self.metrics["engine_fallbacks"].labels(stage, event.reason).inc()
            self._engine_is(stage, "fallen_back")
        else:
            self._engine_is(stage, "ready")
        self.on_engine(stage, event)

    def _engine_is(self, stage: str, state: str) -> None:
        if self.engine_states.get(stage) != state:
            self.engine_states[stage] = state
            for each in ENGINE_STATES:
                self.metrics["engine_state"].labels(stage, each).set(float(each == state))

    def unloaded(self, stage: str) -> None:
        if self.engine_states.pop(stage, None) is not None:
            for state in ENGINE_STATES:
                self.metrics["engine_state"].labels(stage, state).set(0)
        if stage in self.engines:
            self.metrics["engine_loaded"].labels(stage).set(0)

    def follow(self, source: Any, sink: Any) -> None:
        """Bring the metrics up to what the media reports count; called now and then from one thread."""
        reports = {"source": source, "sink": sink}
        for metric, (side, counter) in FOLLOWED.items():
            count = getattr(reports[side], counter, 0)
            self.metrics[metric].inc(count - self.followed[metric])
            self.followed[metric] = count
        self.metrics["source_missing_seconds"].set(getattr(source, "missing_seconds", 0.0))

    def progress(self, total_frames: int | None, elapsed_seconds: float) -> Progress:
        return Progress(self.frames_out, total_frames, sum(self.faces.values()), self.time_seconds, elapsed_seconds)

    def report(self, pipeline: str, seconds: float, source: Any, sink: Any) -> RunReport:
        """The report of a finished run; `source` and `sink` as the runner knows them."""
        return RunReport(
            pipeline=pipeline,
            on_failure=self.on_failure.value,
            frames_in=self.frames_in,
            frames_out=self.frames_out,
            frames_without_face=self.without_face,
            faces=sum(self.faces.values()),
            protected_faces=self.faces[Protection.PROTECTED],
            unprotected_frames=dict(self.unprotected),
            blocked_frames=dict(self.blocked),
            seconds=round(seconds, 3),
            fps=round(self.frames_out / seconds, 2) if seconds > 0 else 0.0,
            stage_seconds={name: round(value, 4) for name, value in self.stage_seconds.items()},
            source=dataclasses.asdict(source.report),
            sink=dataclasses.asdict(sink.report),
            engines=dict(self.engines),
            truncation=source.truncation,
            verdicts=dict(self.verdicts),
            warnings=(*source.info.warnings, *sink.report.warnings),
        )
