"""Screen one file: take its pictures through the judging stages, write nothing, and say whether it is rejected."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from .chain import Chain
from .config import PipelineConfig
from .errors import ConfigError, SourceError, StoppedError
from .media import open_source
from .metrics import Metrics
from .outcome import Progress, Tally
from .tracing import OFF, Tracing
from .types import Frame, Verdict

UNKNOWN = "unknown"
HELD = 0.25
"""A label counts against a face that held it in this share of its judged pictures, or for HELD_SECONDS."""
MOSTLY = 0.5
"""`unknown`, where it rejects, counts against a face that has it in more than this share of all its pictures."""
HELD_SECONDS = 1.0
BRIEF_SECONDS = 0.5
"""A face in sight for less does not make content unknown; it may still make it fake or perturbed."""


@dataclass(frozen=True)
class TrackVerdict:
    """What one stage said of one face over the whole file; `track` is None for pictures without a face.

    `label` is the word that counts: one that rejects, where it was held long enough, else the one held most. All else
    is of the pictures with that label: `score` and `confidence` the mean of those that have one, None where none has;
    `reason` and `region` what most of them have.
    """

    stage: str
    track: int | None
    label: str
    score: float | None
    reason: str
    region: str
    confidence: float | None
    pictures: dict[str, int]
    first_seconds: float
    last_seconds: float

    def to_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "track": self.track,
            "label": self.label,
            "score": None if self.score is None else round(self.score, 4),
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "region": self.region,
            "reason": self.reason,
            "pictures": self.pictures,
            "first_seconds": round(self.first_seconds, 3),
            "last_seconds": round(self.last_seconds, 3),
        }


@dataclass(frozen=True)
class ScreenReport:
    """`outcome` is rejected, undecided (nothing rejects, but something is unknown) or passed."""

    source: str
    pipeline: str
    outcome: str
    verdicts: tuple[TrackVerdict, ...]
    causes: tuple[str, ...]
    """Why it is rejected or undecided, a sentence each."""
    frames: int
    seconds: float
    engines: dict[str, dict[str, str]]
    truncation: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def rejected(self) -> bool:
        return self.outcome == "rejected"

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`."""
        return {
            "source": self.source,
            "pipeline": self.pipeline,
            "outcome": self.outcome,
            "rejected": self.rejected,
            "causes": list(self.causes),
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
            "frames": self.frames,
            "seconds": round(self.seconds, 2),
            "engines": self.engines,
            "truncation": self.truncation,
            "warnings": list(self.warnings),
        }


@dataclass
class _Said:
    """What came with one label of one face."""

    scores: list[float] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    regions: Counter[str] = field(default_factory=Counter)

    def add(self, verdict: Verdict) -> None:
        if verdict.measured:
            self.scores.append(verdict.score)
        if verdict.confidence is not None:
            self.confidences.append(verdict.confidence)
        self.reasons[verdict.reason] += 1
        self.regions[verdict.region] += 1


@dataclass
class _Track:
    """Everything one stage said of one face."""

    first: float
    last: float
    labels: Counter[str] = field(default_factory=Counter)
    said: dict[str, _Said] = field(default_factory=lambda: defaultdict(_Said))

    def add(self, verdict: Verdict, time_seconds: float) -> None:
        self.last = time_seconds
        self.labels[verdict.label] += 1
        self.said[verdict.label].add(verdict)


Tracks = dict[tuple[str, int | None], _Track]
"""Everything that was said, by stage and face."""


def note(tracks: Tracks, frame: Frame) -> None:
    """Write the verdicts of one picture down."""
    for verdict in frame.verdicts:
        key = (verdict.stage, verdict.track)
        tracks.setdefault(key, _Track(frame.time_seconds, 0.0)).add(verdict, frame.time_seconds)


def screen_file(
    source: Path | str,
    config: PipelineConfig,
    *,
    metrics: Metrics | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    tracing: Tracing = OFF,
) -> ScreenReport:
    """Take every picture of `source` through the stages of `config` and judge by its `reject`.

    Raises ConfigError for a pipeline that judges nothing, SourceError for the file, StageError for a stage that fails,
    StoppedError when `stop` was set before the end. A truncated file is judged as far as it goes, and the report says.
    """
    if not any(spec.factory.labels for spec in config.stages):
        stages = ", ".join(spec.name for spec in config.stages)
        raise ConfigError(f"the pipeline {config.name!r} judges nothing (its stages: {stages}); add detect or magdr")
    tally = Tally(metrics or Metrics(), config.on_failure, tracing=tracing, screening=True)
    tracks: Tracks = {}
    started = perf_counter()
    with open_source(str(source), hwaccel=config.hwaccel) as opened, Chain(config.stages, tally) as chain:
        total = opened.info.video.frames
        for frame in _judged(opened.read(), chain, stop, tally):
            tally.judged(frame, None)
            tally.went_out(frame)
            note(tracks, frame)
            on_progress(tally.progress(total, perf_counter() - started))
        if not tally.frames_out:
            raise SourceError("no picture could be decoded from the input; there is nothing to screen")
        verdicts, causes, outcome = judge(tracks, dict(config.reject))
        return ScreenReport(
            source=str(source),
            pipeline=config.name,
            outcome=outcome,
            verdicts=verdicts,
            causes=causes,
            frames=tally.frames_out,
            seconds=perf_counter() - started,
            engines=dict(tally.engines),
            truncation=opened.truncation,
            warnings=tuple(opened.info.warnings),
        )


def _judged(items: Iterator[Any], chain: Chain, stop: threading.Event | None, tally: Tally) -> Iterator[Frame]:
    for item in items:
        if stop is not None and stop.is_set():
            raise StoppedError("stopped; the file was not judged to its end")
        if isinstance(item, Frame):
            tally.came_in()
            tally.tracing.came_in(item, perf_counter())
            yield from chain.process(item)
    yield from chain.flush()


def judge(tracks: Tracks, reject: dict[str, tuple[str, ...]]) -> tuple[tuple[TrackVerdict, ...], tuple[str, ...], str]:
    """(the verdict of every stage on every face, why it is not passed, the outcome)."""
    verdicts = tuple(_verdict(key, track, reject.get(key[0], ())) for key, track in sorted(tracks.items(), key=_order))
    relevant = [v for v in verdicts if not _beside_the_point(v, verdicts)]
    against = [v for v in relevant if v.label in reject.get(v.stage, ())]
    if against:
        return verdicts, tuple(_sentence(v) for v in against), "rejected"
    unsure = [v for v in relevant if v.label == UNKNOWN]
    return verdicts, tuple(_sentence(v) for v in unsure), "undecided" if unsure else "passed"


def _order(item: tuple[tuple[str, int | None], _Track]) -> tuple[str, int]:
    (stage, track), _ = item
    return stage, -1 if track is None else track


def _verdict(key: tuple[str, int | None], track: _Track, rejects: tuple[str, ...]) -> TrackVerdict:
    label = _label(track, rejects)
    said = track.said[label]
    return TrackVerdict(
        stage=key[0],
        track=key[1],
        label=label,
        score=_mean(said.scores),
        reason=said.reasons.most_common(1)[0][0],
        region=said.regions.most_common(1)[0][0],
        confidence=_mean(said.confidences),
        pictures=dict(track.labels),
        first_seconds=track.first,
        last_seconds=track.last,
    )


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _label(track: _Track, rejects: tuple[str, ...]) -> str:
    known = {label: n for label, n in track.labels.items() if label != UNKNOWN}
    if not known:
        return UNKNOWN
    pictures = sum(known.values())
    a_second = HELD_SECONDS * track.labels.total() / max(track.last - track.first, 1e-3)
    held = [label for label, n in known.items() if label in rejects and (n >= HELD * pictures or n >= a_second)]
    # What is known against a face says more than that the rest is unknown, so that comes first.
    if not held and UNKNOWN in rejects and track.labels[UNKNOWN] > MOSTLY * track.labels.total():
        return UNKNOWN
    return max(held or known, key=lambda label: known[label])


def _beside_the_point(verdict: TrackVerdict, verdicts: tuple[TrackVerdict, ...]) -> bool:
    """Pictures without a face where others have one, and faces seen too briefly to say anything of."""
    if verdict.label != UNKNOWN:
        return False
    others = [v for v in verdicts if v.stage == verdict.stage and v.track is not None and v is not verdict]
    if verdict.track is None:
        return bool(others)
    brief = verdict.last_seconds - verdict.first_seconds < BRIEF_SECONDS
    return brief and any(v.label != UNKNOWN for v in others)


def _sentence(verdict: TrackVerdict) -> str:
    who = "the content" if verdict.track is None else f"face {verdict.track}"
    score = "" if verdict.score is None else f" (score {verdict.score:.2f})"
    reason = f": {verdict.reason}" if verdict.reason else ""
    return f"{verdict.stage}: {who} is {verdict.label}{score}{reason}"
