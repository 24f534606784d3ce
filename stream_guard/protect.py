"""Protect one file: the source, the runner and the sink put together. What `stream-guard protect` calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from .config import PipelineConfig
from .errors import ConfigError
from .media import EncoderSettings, FileSink, open_source
from .media.hwaccel import NONE
from .metrics import Metrics
from .outcome import Progress, RunReport
from .pipeline import run
from .stills import still_guard
from .torch_gate import cuda_trouble
from .tracing import OFF, Tracing


def protect_file(
    source: Path,
    output: Path,
    config: PipelineConfig,
    *,
    encoder: EncoderSettings | None = None,
    overwrite: bool = False,
    all_video: bool = False,
    metrics: Metrics | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    tracing: Tracing = OFF,
) -> RunReport:
    """Protect the faces of the video `source` into `output`, which appears only when it is whole.

    A truncated source is protected as far as it goes; `RunReport.truncation` says what is missing. A pipeline that
    changes faces but protects none, as one that restores, is run as well, and the report's warnings say so. Raises
    ConfigError for one that changes none, SourceError and SinkError for the files, and what `pipeline.run` raises.
    """
    stages = f"the pipeline {config.name!r} protects no face (its stages: {', '.join(s.name for s in config.stages)})"
    if not any(spec.factory.changes(spec.options) for spec in config.stages):
        raise ConfigError(f"{stages}; add the stage disrupt")
    asked = config.hwaccel
    stays = asked != NONE and config.on_device and not cuda_trouble()
    with open_source(str(source), all_video=all_video, hwaccel=asked, on_device=stays) as opened:
        encoder = replace(encoder or EncoderSettings(), hwaccel=opened.acceleration.used)
        report = run(
            config,
            opened,
            lambda: FileSink(str(output), opened, encoder, overwrite=overwrite, guard=still_guard(config)),
            metrics=metrics,
            stop=stop,
            on_progress=on_progress,
            tracing=tracing,
        )
        warnings = () if config.protects else (f"{stages}: what was written is not protected",)
        return replace(report, warnings=(*warnings, *report.warnings))
