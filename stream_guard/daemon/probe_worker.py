"""Opens the stages of pipelines once, so that the daemon knows that its engines can be loaded."""

from __future__ import annotations

from typing import Any

from ..chain import Chain
from ..errors import ExitCode
from ..metrics import Metrics
from ..outcome import Tally
from .channel import Channel
from .settings import StreamDefaults
from .specs import pipeline_config


def run_probe(spec: dict[str, Any], channel: Channel) -> int:
    """`spec["pipelines"]` holds `pipeline` and `options` of each. Raises what opening a stage raises."""
    for chosen in spec["pipelines"]:
        if channel.stop.is_set():
            return int(ExitCode.STOPPED)
        config = pipeline_config(StreamDefaults.model_validate(chosen))
        with Chain(config.stages, Tally(Metrics(), config.on_failure)):
            channel.send({"type": "probed", "pipeline": config.name})
    return int(ExitCode.DONE)
