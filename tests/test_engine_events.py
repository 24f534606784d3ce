"""A stage's engine that moves from one backend to another: counted, shown, and no picture is lost."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from stream_guard.chain import Chain
from stream_guard.config import OnFailure, StageSpec
from stream_guard.inference import backends
from stream_guard.metrics import Metrics
from stream_guard.outcome import ENGINE_STATES, Tally
from stream_guard.stages.disrupt import DisruptOptions, DisruptStage
from stream_guard.types import Box, Face, Frame, Protection

from .support.engines import write_disrupter
from .support.gpu import faked_gpu


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with faked_gpu(monkeypatch, tmp_path / "plans") as runtime:
        kept = tuple(each for each in backends.BACKENDS if each.name in ("tensorrt", "onnxruntime"))
        monkeypatch.setattr(backends, "BACKENDS", kept)
        yield runtime


def frame(index: int) -> Frame:
    picture = av.VideoFrame(128, 96, "yuv420p")
    for plane in picture.planes:
        plane.update(bytes([120]) * plane.buffer_size)
    face = Face(1, Box(30, 20, 90, 80), 0.9)
    return Frame(picture, pts=index, time_base=Fraction(1, 25), index=index, faces=(face,), faces_known=True)


def values(metrics: Metrics) -> dict[str, float]:
    found = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def state(metrics: Metrics) -> str:
    """The one state that the gauge shows; empty where it shows none."""
    found = values(metrics)
    shown = [s for s in ENGINE_STATES if found.get(f"stream_guard_engine_state{{stage=disrupt,state={s}}}")]
    assert len(shown) <= 1
    return "".join(shown)


def test_building_swapped_and_fallen_back_are_shown_and_counted(machine: Any, tmp_path: Path) -> None:
    engine = write_disrupter(tmp_path, "follows", size=32, grid=16)
    metrics, events = Metrics(), []
    tally = Tally(metrics, OnFailure.BLOCK, on_engine=lambda stage, event: events.append((stage, event.kind)))
    spec = StageSpec("disrupt", DisruptStage, DisruptOptions(engine=str(engine)))
    with Chain([spec], tally) as chain:
        index = 0

        def next_frame() -> Frame:
            nonlocal index
            (out,) = chain.process(frame(index))
            index += 1
            assert [face.protection for face in out.faces] == [Protection.PROTECTED]
            return out

        assert (state(metrics), tally.engines["disrupt"]["backend"]) == ("building", "onnxruntime")
        while tally.engines["disrupt"]["backend"] != "tensorrt":
            next_frame()
        assert state(metrics) == "ready"
        machine.lose()
        next_frame()
        machine.lose(False)
        assert (state(metrics), tally.engines["disrupt"]["backend"]) == ("fallen_back", "onnxruntime")
        assert values(metrics)["stream_guard_engine_fallbacks_total{reason=run_failed,stage=disrupt}"] == 1
    assert state(metrics) == ""
    kinds = [kind for stage, kind in events if stage == "disrupt" and kind != "building"]
    assert kinds == ["built", "swapped", "fallback"]
