"""Protect one file in segments, going on where a killed run left off.

The result does not depend on where a run was killed: segments begin at times that the source alone decides, and nothing
is carried from one to the next: stages and failure policy start anew and each has an encoder of its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from ... import __version__
from ...config import PipelineConfig
from ...errors import SinkError, SourceError, StoppedError
from ...media import Source, open_source
from ...media.info import VideoInfo
from ...media.join import JoinedSink, SegmentEncoder, mark_of, same_file
from ...media.segment import Place, SegmentSource, open_segments
from ...media.stills import Guard
from ...outcome import RunReport
from ...pipeline import run
from ...protect import protect_file
from ...stills import still_guard
from ...tracing import OFF, Tracing
from ...types import Frame
from ...wording import counted
from ..settings import JobSettings
from ..specs import unprotecting
from .counts import Counts
from .planning import encoder_of, settings_hash
from .report import joined_report
from .segments import LAYOUT, Folder, differences, identity
from .sink import SegmentSink, settings_with_threads
from .telling import Emit, Teller

ENCODED = 0.97
"""The share of progress that is not joining."""

Check = Callable[[VideoInfo, "float | None"], None]
"""Raises UsageError for a video that is more than the limits allow."""


class _OtherEnginesError(Exception):
    """The stages have loaded other engines than those that made the segments."""


class Protecting:
    """One attempt at a job. `folder` is the job's own; what is in it from attempts before is gone on with."""

    def __init__(
        self,
        settings: JobSettings,
        config: PipelineConfig,
        token: str,
        folder: Path,
        segment_seconds: float,
        emit: Emit,
        stop: threading.Event,
        tracing: Tracing = OFF,
    ) -> None:
        self.settings = settings
        self.config = config
        self._token = token
        self._folder = Folder(folder)
        self._seconds = segment_seconds
        self._emit = emit
        self._stop = stop
        self._tracing = tracing
        self._segment_began = 0.0
        self._encoder = encoder_of(settings)
        self._teller = Teller(emit, ENCODED)

    def run(self, check: Check) -> RunReport:
        """Raises what `protect_file` raises, but goes on with what is there; StoppedError after `stop`."""
        try:
            return self._attempt(check)
        finally:
            self._teller.end()  # also of an attempt that was stopped or failed: its whole segments are not made again

    def _attempt(self, check: Check) -> RunReport:
        self._pin_threads()
        started = perf_counter()
        now = self._identity()
        done = self._finished_before(now)
        if done is not None:
            return done
        with open_source(self.settings.source) as source:
            check(source.info.video, source.info.duration_seconds)
            with_segments = self._try_output(source, now)
        if not with_segments:
            return self._without_segments()
        report = self._segments(now)
        if report is not None:  # its source was read from the start, also for segments of attempts before
            self._teller.media_whole("source", report.source)
        with self._tracing.lasting("join"):
            return self._join(started, report)

    def _pin_threads(self) -> None:
        """As many as the first attempt had."""
        threads = (self._folder.plan() or {}).get("threads") or ((os.cpu_count() or 1) * 3 + 1) // 2
        self._encoder = settings_with_threads(self._encoder, int(threads))

    def _identity(self) -> dict[str, Any]:
        stages = [(spec.name, spec.options.model_dump(mode="json")) for spec in self.config.stages]
        words = json.dumps([stages, self.config.on_failure.value, self._seconds], sort_keys=True)
        return {
            "version": f"{__version__} {LAYOUT}",
            "source": identity(self.settings.source),
            "settings": settings_hash(self.settings, result_only=True) + hashlib.sha256(words.encode()).hexdigest(),
        }

    def _finished_before(self, now: Mapping[str, Any]) -> RunReport | None:
        """The report of a run that was killed after its output had got its name."""
        whole, plan = self._folder.whole(), self._folder.plan()
        if (
            whole is None
            or plan is None
            or differences(plan, now)
            or not same_file(self.settings.output, whole["file"])
        ):
            return None
        return _told_before(whole["report"])

    def _try_output(self, source: Source, now: dict[str, Any]) -> bool:
        """Check place, container and encoder before anything is computed; whether segments can be made."""
        with_segments = True
        sink = self._output(source)
        try:
            with_segments = sink.segmentable
            now["parameters"] = sink.parameters
        finally:
            sink.abort()
        return with_segments

    def _output(self, source: Source, guard: Guard | None = None) -> JoinedSink:
        settings = self.settings
        return JoinedSink(
            settings.output, source, self._encoder, overwrite=settings.overwrite, token=self._token, guard=guard
        )

    def _without_segments(self) -> RunReport:
        self._note("this kind of video is protected in one go: after a kill it starts anew")
        report = protect_file(
            Path(self.settings.source),
            Path(self.settings.output),
            self.config,
            encoder=self._encoder,
            overwrite=self.settings.overwrite,
            metrics=self._teller.metrics,
            stop=self._stop,
            on_progress=lambda progress: self._teller.tell(progress),
            tracing=self._tracing,
        )
        self._teller.all_whole()
        return report

    def _segments(self, now: dict[str, Any]) -> RunReport | None:
        """Make the segments that are missing; the report of this attempt's run, None where none was missing."""
        plan = self._folder.plan()
        changed = differences(plan, now) if plan is not None else []
        if plan is None or changed:
            self._begin(now, changed)
        try:
            return self._missing()
        except _OtherEnginesError:
            self._begin(now, ["an engine"])
            return self._missing()

    def _begin(self, now: dict[str, Any], changed: list[str]) -> None:
        if changed:
            self._note(f"started anew: {', '.join(changed)} changed since the segments were made")
        self._folder.begin({**now, "threads": self._encoder.threads})

    def _missing(self) -> RunReport | None:
        done = self._folder.segments()
        if done and done[-1].last:
            return None
        place = Place.from_json(done[-1].record["next"]["place"]) if done else None
        if place is not None:
            self._note(f"going on after {counted(len(done), 'whole segment')}, at picture {place.index}")
        source = open_segments(self.settings.source, self._seconds, place, self._stop)
        try:
            return self._run(source, place.index if place is not None else 0)
        finally:
            source.close()

    def _run(self, source: SegmentSource, before: int) -> RunReport:
        info, first = source.info.video, source.source.first_picture(source.info.video.stream)
        self._segment_began = perf_counter()

        def encoder() -> SegmentEncoder:
            return SegmentEncoder(self.settings.output, info, first, self._encoder)

        return run(
            self.config,
            source,
            lambda: SegmentSink(
                self._folder, source, encoder, self.config.on_failure, self.config.protects, self._segment_done
            ),
            metrics=self._teller.metrics,
            stop=self._stop,
            on_progress=lambda progress: self._teller.tell(progress, before),
            starts_anew=_Boundaries(source),
            on_open=self._check_engines,
            tracing=self._tracing,
        )

    def _check_engines(self, engines: dict[str, dict[str, str]]) -> None:
        """The first attempt writes down what was loaded; later ones must have loaded the same."""
        plan = self._folder.plan() or {}
        if "engines" not in plan:
            self._folder.begin({**plan, "engines": engines})
        elif plan["engines"] != engines:
            raise _OtherEnginesError

    def _join(self, started: float, report: RunReport | None) -> RunReport:
        segments = self._folder.segments()
        if not segments or not segments[-1].last:
            raise SourceError("the segments of the job are gone; was its folder changed? Try again")
        if any(one.record["parameters"] != (self._folder.plan() or {}).get("parameters") for one in segments):
            self._folder.clear()
            raise SinkError("the encoder wrote segments that do not fit together; the next attempt starts anew")
        with open_source(self.settings.source) as source, self._output(source, still_guard(self.config)) as sink:

            def whole(path: str) -> None:
                done = {**dataclasses.asdict(sink.report), "bytes": sink.written}
                engines = (self._folder.plan() or {}).get("engines", {})
                spent, unprotected = perf_counter() - started, unprotecting(self.config)
                warnings = (*([unprotected] if unprotected else []), *source.info.warnings)
                made = joined_report(self.config, segments, report, done, engines, spent, warnings)
                self._folder.set_whole({"file": mark_of(path), "report": made.to_json()})

            sink.on_whole = whole
            sink.join(source, [one.path for one in segments], self._joined)
        joined = _told_before((self._folder.whole() or {})["report"])
        self._teller.media_whole("sink", joined.sink)
        return joined

    def _joined(self, written: int, total: int) -> None:
        if self._stop.is_set():
            raise StoppedError("stopped while the segments were joined; they are kept")
        self._teller.send(ENCODED + (1 - ENCODED) * written / max(total, 1), {"frames": written, "total_frames": total})

    def _segment_done(self, number: int, counts: Counts) -> None:
        counts.count_in(self._teller.whole, self.config.on_failure)
        self._teller.end()  # now: after a kill nobody else could
        self._tracing.lasted("segment", self._segment_began, attributes={"segment.number": number})
        self._segment_began = perf_counter()
        self._emit({"type": "segment", "number": number})

    def _note(self, message: str) -> None:
        self._emit({"type": "note", "message": message})


def _told_before(report: Mapping[str, Any]) -> RunReport:
    return RunReport(**{**report, "warnings": tuple(report["warnings"])})


class _Boundaries:
    """Says at which frames a segment begins; asked of every frame in order."""

    def __init__(self, source: SegmentSource) -> None:
        self._source = source
        self._number: int | None = None

    def __call__(self, frame: Frame) -> bool:
        number = self._source.number(frame)
        before, self._number = self._number, number
        return before is not None and before != number
