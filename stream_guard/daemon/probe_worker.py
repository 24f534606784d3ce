"""Opens the stages of pipelines once, so that the daemon knows that its engines can be loaded.

Where a faster engine is compiled for the GPU in the background, the probe stays until that has ended, so that it is
done before any stream needs it: streams run on the next backend meanwhile, and their own sessions take the plan as
soon as it is there. What it says of it: {"type": "building", "serving", "message"}. `serving` is false while a stage
can't be opened before its engine is built, which is so where the configuration names the backend.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from ..chain import Chain
from ..errors import ExitCode, StreamGuardError
from ..inference.watch import EngineEvent
from ..metrics import Metrics
from ..outcome import Tally
from .channel import Channel
from .settings import StreamDefaults
from .specs import pipeline_config

WAIT_SECONDS = 0.2
SHARE = 0.05
"""A build is told of anew when it is this much further."""


def run_probe(spec: dict[str, Any], channel: Channel) -> int:
    """`spec["pipelines"]` holds `pipeline` and `options` of each; those that could be opened are told as `probed`.

    Raises what opening a stage raises, the first of all, when each was tried.
    """
    builds = _Builds(channel)
    failed: StreamGuardError | None = None
    with ExitStack() as kept:
        for chosen in spec["pipelines"]:
            if channel.stop.is_set():
                return int(ExitCode.STOPPED)
            try:
                _open(chosen, builds, kept)
            except StreamGuardError as exc:
                failed = failed or exc
            else:
                channel.send({"type": "probed", "chosen": chosen})
        if failed is not None:
            raise failed
        builds.opened()
        while builds.under_way:
            if channel.stop.wait(WAIT_SECONDS):
                return int(ExitCode.STOPPED)
    return int(ExitCode.DONE)


def _open(chosen: dict[str, Any], builds: _Builds, kept: ExitStack) -> None:
    """Open the stages of one pipeline, and close them; where something is being built they stay open with `kept`."""
    config = pipeline_config(StreamDefaults.model_validate(chosen))
    chain = Chain(config.stages, Tally(Metrics(), config.on_failure, on_engine=builds.told))
    chain.__enter__()
    if builds.under_way:
        kept.push(chain)
    else:
        chain.__exit__(None, None, None)


@dataclass(slots=True)
class _Builds:
    """What is being built, by stage. Thread-safe: each build has a thread of its own."""

    channel: Channel
    serving: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _running: dict[str, EngineEvent] = field(default_factory=dict)
    _said: tuple[bool, str, str, float] | None = None

    @property
    def under_way(self) -> bool:
        with self._lock:
            return bool(self._running)

    def told(self, stage: str, event: EngineEvent) -> None:
        with self._lock:
            if event.kind != "building":
                self._running.pop(stage, None)
                if event.kind == "build_failed":
                    self.channel.send({"type": "build_failed", "message": f"{stage}: {event.reason}"})
                return
            self._running[stage] = event
            self._say(stage, event)

    def opened(self) -> None:
        """Every stage is open: streams can run, whatever is still being built."""
        with self._lock:
            self.serving = True
            for stage, event in self._running.items():
                self._say(stage, event)

    def _say(self, stage: str, event: EngineEvent) -> None:
        step = round((event.fraction or 0.0) / SHARE) * SHARE
        news = (self.serving, stage, event.serving, step)
        if news != self._said:
            self._said = news
            self.channel.send({"type": "building", "serving": self.serving, "message": _words(stage, event)})


def _words(stage: str, event: EngineEvent) -> str:
    far = "" if event.fraction is None else f", {event.fraction:.0%} done"
    left = "" if event.left_seconds is None else f", about {max(1, round(event.left_seconds / 60))} min left"
    meanwhile = f"; streams run on {event.serving} meanwhile" if event.serving else ""
    return f"the engine of {stage} is being built for this GPU by {event.backend}{far}{left}{meanwhile}"
