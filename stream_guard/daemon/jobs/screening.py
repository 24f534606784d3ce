"""Jobs of kind screen: look at a file, write none, keep the verdicts. There is nothing to go on with after a kill."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ...config import PipelineConfig
from ...errors import ExitCode
from ...media import open_source
from ...media.info import VideoInfo
from ...tracing import Tracing
from ..protocol import OF_PROTECTION
from ..settings import JobSettings
from .telling import Emit, Teller


def screen(
    settings: JobSettings,
    config: PipelineConfig,
    check: Callable[[VideoInfo, float | None], None],
    emit: Emit,
    stop: threading.Event,
    tracing: Tracing,
) -> ExitCode:
    """Screen the file and emit the report; REJECTED where its verdicts say so. Raises what `screen_file` raises."""
    from ...screen import screen_file

    with open_source(settings.source) as source:
        check(source.info.video, source.info.duration_seconds)
    teller = Teller(emit, without=OF_PROTECTION)
    try:
        report = screen_file(
            settings.source, config, metrics=teller.metrics, stop=stop, on_progress=teller.tell, tracing=tracing
        )
        teller.all_whole()
    finally:
        teller.end()
    emit({"type": "report", "report": report.to_json()})
    return ExitCode.REJECTED if report.rejected else ExitCode.DONE
