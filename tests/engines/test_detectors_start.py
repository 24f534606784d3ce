"""A detector may begin with another run's weights; its card says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engines.detectors import learner, widening
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


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "xception"])
def test_a_wider_network_begins_with_the_same_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widening, "NOISE", 0.0)
    torch.manual_seed(4)
    narrow, wide = (architecture(name).detector(width, 64) for width in (0.125, 0.25))
    for module in narrow.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    wide.load_state_dict(widening.widened(narrow.state_dict(), wide.state_dict(), torch.Generator()))
    pictures = torch.rand(4, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(narrow.eval()(pictures), wide.eval()(pictures), atol=1e-4)


def test_the_copies_of_a_unit_differ(tmp_path: Path) -> None:
    run_with(tmp_path / "a", 0.0625)
    fresh = architecture("resnet18").detector(0.125, 32)
    load_part(tmp_path / "a", "best", learner._Weights(fresh))  # type: ignore[arg-type]
    first, second = fresh.network.state_dict()["conv1.weight"].chunk(2)
    assert not torch.equal(first, second)
    assert torch.allclose(first, second, atol=float(first.abs().max()))


@pytest.mark.parametrize("width", [0.0625, 0.1875])
def test_a_width_that_is_no_multiple_is_refused(tmp_path: Path, width: float) -> None:
    run_with(tmp_path / "a", 0.125)
    fresh = architecture("resnet18").detector(width, 32)
    with pytest.raises(EngineError, match="the run in"):
        load_part(tmp_path / "a", "best", learner._Weights(fresh))  # type: ignore[arg-type]
