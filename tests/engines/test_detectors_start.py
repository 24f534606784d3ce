"""A detector may begin with another run's weights; its card says so."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from engines.detectors import learner, widening
from engines.detectors.architectures import architecture
from engines.detectors.detector import Detector
from engines.training import IMPORTED, Run, load_part
from stream_guard.errors import EngineError


def run_with(folder: Path, width: float, more: float = 0.0) -> Detector:
    torch.manual_seed(3)
    detector = architecture("resnet18").detector(width, 32)
    for parameter in detector.parameters():
        parameter.data += more
    best = learner.Best(detector)
    best.published()
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
    weights = fresh.network.state_dict()["conv1.weight"]
    first, second = weights[::2], weights[1::2]
    assert not torch.equal(first, second)
    assert torch.allclose(first, second, atol=float(first.abs().max()))


def test_a_residue_begins_beside_a_network_that_had_none_and_changes_no_answer(tmp_path: Path) -> None:
    plain = run_with(tmp_path / "a", 0.0625).eval()
    plain.temperature.fill_(1.0)
    beside = architecture("resnet18_residue").detector(0.0625, 32)
    load_part(tmp_path / "a", "best", learner._Weights(beside))  # type: ignore[arg-type]
    pictures = torch.rand(4, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(plain(pictures), beside.eval()(pictures), atol=1e-5)
    beside.train()(pictures).sum().backward()
    assert beside.network.residue_fc.weight.grad.abs().max() > 0


def test_a_residue_is_not_thrown_away(tmp_path: Path) -> None:
    best = learner.Best(architecture("resnet18_residue").detector(0.0625, 32))
    Run(tmp_path / "a", {"width": 0.0625, "size": 32}, 0.0, name="perturbation").save({"best": best})
    with pytest.raises(EngineError, match="the run in"):
        load_part(tmp_path / "a", "best", learner._Weights(architecture("resnet18").detector(0.0625, 32)))  # type: ignore[arg-type]


class Idle(learner.Learner):
    """Learns nothing."""

    def made(self) -> learner.Group:
        raise NotImplementedError

    def held_out(self, rng: torch.Generator) -> learner.Group:
        raise NotImplementedError


def test_of_several_runs_it_begins_with_the_mean(tmp_path: Path) -> None:
    first, second = run_with(tmp_path / "a", 0.0625), run_with(tmp_path / "b", 0.0625, 0.3)
    fresh = architecture("resnet18").detector(0.0625, 32)
    trainer = Idle(fresh, learner.Settings(width=0.0625, size=32), torch.device("cpu"))
    trainer.start([tmp_path / "a", tmp_path / "b"])
    for network in (trainer.detector, trainer.mean.module):
        for name, value in network.network.state_dict().items():
            both = [part.network.state_dict()[name] for part in (first, second)]
            torch.testing.assert_close(value.float(), (both[0].float() + both[1].float()) / 2)
    assert float(trainer.detector.temperature) == 1.0


class Bright(Idle):
    """Learns from pictures that no norm has seen."""

    def made(self) -> learner.Group:
        pictures = 0.8 + 0.2 * torch.rand(learner.GROUP, 3, 32, 32, generator=self.rng)
        return pictures, torch.zeros(learner.GROUP, dtype=torch.long)


def test_norms_of_a_network_out_of_the_zoo_are_settled_on_what_is_learned_from(tmp_path: Path) -> None:
    """With other statistics its first step in train mode was another network's, and undid what it knew."""
    torch.manual_seed(3)
    best = learner.Best(architecture("resnet18").detector(0.0625, 32))
    best.published()
    settings = learner.Settings(width=0.0625, size=32)
    Run(tmp_path / "a", asdict(settings), 0.0, name="resnet18", notes={IMPORTED: {}}).save({"best": best})
    trainer = Bright(architecture("resnet18").detector(0.0625, 32), settings, torch.device("cpu"))
    trainer.start([tmp_path / "a"])
    pictures = torch.cat([trainer.made()[0] for _ in range(8)])
    with torch.no_grad():
        told = best.detector.eval()(pictures)
        unsettled = (best.detector.train()(pictures) - told).abs().mean()
        torch.testing.assert_close(trainer.detector.eval()(pictures), told, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(trainer.mean.module.eval()(pictures), told, atol=1e-4, rtol=1e-4)
        assert (trainer.detector.train()(pictures) - told).abs().mean() < 0.3 * unsettled


def test_a_run_that_was_stopped_before_its_first_look_at_val_has_no_best_weights(tmp_path: Path) -> None:
    """Its part of that name is the network as it began."""
    fresh = architecture("resnet18").detector(0.0625, 32)
    settings = learner.Settings(width=0.0625, size=32)
    Run(tmp_path / "a", asdict(settings), 1.0, name="resnet18").tick({}, {"best": learner.Best(fresh)})
    with pytest.raises(EngineError, match="before its weights were judged"):
        learner.load(tmp_path / "a", learner.Settings)
    with pytest.raises(EngineError, match="before its weights were judged"):
        Idle(fresh, settings, torch.device("cpu")).start([tmp_path / "a"])
    resumed = Idle(fresh, settings, torch.device("cpu"))
    resumed.renew()
    assert resumed.best.loss == math.inf, "what it began with does not become the best by being resumed"


def test_a_run_that_was_stopped_before_its_end_is_not_calibrated(tmp_path: Path) -> None:
    """Its weights are good enough for another run to begin with."""
    fresh = architecture("resnet18").detector(0.0625, 32)
    settings = learner.Settings(width=0.0625, size=32)
    best = learner.Best(fresh)
    best.offer(fresh, 0.5, 1)
    Run(tmp_path / "a", asdict(settings), 1.0, name="resnet18").tick({}, {"best": best})
    with pytest.raises(EngineError, match="before its end, where temperature and threshold are set"):
        learner.load(tmp_path / "a", learner.Settings)
    Idle(fresh, settings, torch.device("cpu")).start([tmp_path / "a"])


@pytest.mark.parametrize("width", [0.0625, 0.1875])
def test_a_width_that_is_no_multiple_is_refused(tmp_path: Path, width: float) -> None:
    run_with(tmp_path / "a", 0.125)
    fresh = architecture("resnet18").detector(width, 32)
    with pytest.raises(EngineError, match="the run in"):
        load_part(tmp_path / "a", "best", learner._Weights(fresh))  # type: ignore[arg-type]
