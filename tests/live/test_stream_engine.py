"""A live stream whose engine's backend is lost in mid-stream: no picture is, and it is told and counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from stream_guard.errors import EngineError
from stream_guard.inference.standby import Choice, StandbySession
from stream_guard.types import Frame

from ..support.fakes import FindOne, ProtectAll, spec
from ..support.live_fakes import FakeConnection, clip
from .faked import running


class Lost:
    """A session that fails from its third run on, when it is the GPU's."""

    inputs, outputs = ("face",), ("delta",)

    def __init__(self, backend: str) -> None:
        self.backend, self.runs = backend, 0

    def run(self, feeds: dict[str, Any]) -> dict[str, Any]:
        self.runs += 1
        if self.backend == "gpu" and self.runs > 2:
            raise EngineError("can't run on the GPU: it has fallen off the bus")
        return feeds

    def close(self) -> None:
        """Holds nothing."""


class OnStandby(ProtectAll):
    """Runs its session on every frame."""

    def open(self) -> None:
        self.session = StandbySession([Choice("gpu", lambda: Lost("gpu")), Choice("cpu", lambda: Lost("cpu"))])

    def about(self) -> dict[str, str]:
        return {"engine": "tiny", "backend": self.session.backend, "sha256": "0"}

    def process(self, frame: Frame) -> Iterable[Frame]:
        self.session.run({"face": np.zeros((1, 3, 4, 4), np.float32)})
        return super().process(frame)

    def close(self) -> None:
        self.session.close()


def test_a_lost_gpu_costs_no_picture_and_is_told(caplog: Any) -> None:
    caplog.set_level("CRITICAL", "stream_guard.inference.standby")  # its warning is not the point here
    with running([FakeConnection(clip(6), then="stall")], spec(FindOne), spec(OnStandby)) as run:
        run.until(lambda status: status.frames_out == 6)
        (engine,) = run.status.engines.values()
        assert engine["backend"] == "cpu"
        stage = OnStandby.name
        assert run.value("engine_fallbacks_total", stage=stage, reason="run_failed") == 1
        assert run.value("engine_state", stage=stage, state="fallen_back") == 1
        run.stop.set()
        status = run.end()
    assert (status.unprotected, status.blocked) == ({}, {})
    assert run.words("engine") == (
        f"{stage}: can't run on the GPU: it has fallen off the bus; the engine goes on with cpu"
    )
