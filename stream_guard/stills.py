"""Covers and the like: taken through the stages of the video that they lie beside, each as a clip of one picture."""

from __future__ import annotations

from functools import partial

from .chain import Chain
from .config import PipelineConfig
from .media.stills import Guard
from .metrics import Metrics
from .outcome import Tally
from .types import Frame


def still_guard(config: PipelineConfig) -> Guard | None:
    """What the sink asks of each still; None for a pipeline that protects nothing, whose stills are copied.

    Stages of its own are opened for each: those of the run are at work, and their tracks must not mix with it.
    """
    return partial(_through_stages, config) if config.protects else None


def _through_stages(config: PipelineConfig, still: Frame) -> Frame:
    # Counted apart: a still is no picture of the video.
    with Chain(config.stages, Tally(Metrics(), config.on_failure)) as chain:
        (seen,) = (*chain.process(still), *chain.flush())
    return seen
