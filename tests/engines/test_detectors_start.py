"""A detector may begin with another run's weights; its card says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engines.detectors import learner
from engines.detectors.architectures import architecture
from engines.detectors.detector import Detector
from engines.training import Run, load_part
from stream_guard.errors import EngineError


def run_with(folder: Path, width: float) -> Detector:
    torch.manual_seed(3)
    detector = architecture("resnet18").detector(width, 32)
    best = learner.Best(detector)
    best.detector.temperature.fill_(2.5)
    Run(folder, {"width": width, "size": 32}, 0.0, name="resnet18").save({"best": best})
    return best.detector


def test_weights_are_taken_and_the_temperature_is_not(tmp_path: Path) -> None:
    found = run_with(tmp_path / "a", 0.0625)
    fresh = architecture("resnet18").detector(0.0625, 32)
    load_part(tmp_path / "a", "best", learner._Weights(fresh))  # type: ignore[arg-type]
    assert float(fresh.temperature) == 1.0
    for name, value in found.network.state_dict().items():
        assert torch.equal(value, fresh.network.state_dict()[name])


def test_another_width_is_refused(tmp_path: Path) -> None:
    run_with(tmp_path / "a", 0.125)
    fresh = architecture("resnet18").detector(0.0625, 32)
    with pytest.raises(EngineError, match="the run in"):
        load_part(tmp_path / "a", "best", learner._Weights(fresh))  # type: ignore[arg-type]
