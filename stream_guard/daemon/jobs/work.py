"""What runs inside a job's process: protect a file segment by segment, or screen it. `run_job` is the entry."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from ...errors import ExitCode, StreamGuardError, UnprotectedError, UsageError
from ...media.info import VideoInfo
from ...otlp import traced
from ...tracing import Tracing
from ..settings import JobSettings, LimitSettings
from ..specs import unprotecting
from .planning import pipeline_of
from .protecting import Protecting
from .screening import screen
from .telling import Emit


def run_job(spec: dict[str, Any], emit: Emit, stop: threading.Event) -> int:
    """Do the job of `spec`: `id`, `settings` (JobSettings), `folder`, `segment_seconds` and, if wished, `tracing`.

    Emits {"type": "progress", "progress": 0..1, ...}, {"type": "segment", "number": n}, {"type": "note", "message"},
    at the end {"type": "report", "report"}, and for a failure {"type": "error", "message", "permanent"}. Returns the
    exit code.
    """
    try:
        with traced(spec.get("tracing"), lambda words: emit({"type": "note", "message": words, "warning": True})) as on:
            return int(_run(spec, emit, stop, on))
    except StreamGuardError as exc:
        if exc.exit_code is not ExitCode.STOPPED:
            emit({"type": "error", "message": str(exc), "permanent": is_permanent(exc)})
        return int(exc.exit_code)


def is_permanent(error: BaseException) -> bool:
    """Whether another attempt would fail alike: wrong usage, a bad input, a face that the policy lets nobody see."""
    if isinstance(error, UnprotectedError) or isinstance(error.__cause__, UnprotectedError):
        return True
    return isinstance(error, StreamGuardError) and error.exit_code is ExitCode.USAGE


def _run(spec: dict[str, Any], emit: Emit, stop: threading.Event, tracing: Tracing) -> ExitCode:
    settings = JobSettings.model_validate(spec["settings"])
    tracing.phase("job", attributes={"job.id": str(spec["id"]), "job.kind": settings.kind})
    config = pipeline_of(settings)

    def checked(info: VideoInfo, seconds: float | None) -> None:
        check_limits(info, seconds, settings.limits)

    if settings.kind == "screen":
        return screen(settings, config, checked, emit, stop, tracing)
    if words := unprotecting(config):
        emit({"type": "note", "message": words, "warning": True})
    job = Protecting(
        settings,
        config,
        str(spec["id"]),
        Path(spec["folder"]),
        float(spec["segment_seconds"]),
        emit,
        stop,
        tracing,
    )
    report = job.run(checked)
    emit({"type": "report", "report": report.to_json()})
    if report.truncation:
        message = f"{report.truncation}; what is there was protected and written"
        emit({"type": "error", "message": message, "permanent": True})
        return ExitCode.ERROR
    return ExitCode.DONE


def check_limits(info: VideoInfo, seconds: float | None, limits: LimitSettings) -> None:
    """Raises UsageError, naming the limit, for a video that is larger, faster or longer than allowed."""
    rate = float(info.average_rate or 0)
    for what, came, most in (
        ("pixels wide", info.width, limits.width),
        ("pixels high", info.height, limits.height),
        ("pictures a second", rate, limits.frame_rate),
        ("seconds long", seconds or 0.0, limits.duration),
    ):
        if most and came > most:
            raise UsageError(f"the input is {came:g} {what}; limits allow {most:g}")
