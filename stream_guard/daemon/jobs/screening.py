"""Jobs of kind screen: look at a file, write none, keep the verdicts."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import Any

from ...config import PipelineConfig
from ...errors import ExitCode
from ...media import open_source
from ...media.info import VideoInfo
from ..settings import JobSettings

Emit = Callable[[dict[str, Any]], None]


def screen(
    settings: JobSettings,
    config: PipelineConfig,
    check: Callable[[VideoInfo, float | None], None],
    emit: Emit,
    stop: threading.Event,
) -> ExitCode:
    """Screen the file and emit the report; REJECTED where its verdicts say so. Raises what `screen_file` raises."""
    with open_source(settings.source) as source:
        check(source.info.video, source.info.duration_seconds)
    screening = importlib.import_module("stream_guard.screen")
    report = screening.screen_file(settings.source, config, stop=stop)
    emit({"type": "report", "report": report.to_json()})
    return ExitCode.REJECTED if report.rejected else ExitCode.DONE
