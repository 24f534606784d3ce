"""Two networks as one: what it answers, whose weights it begins with, and what its card says of them."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from engines import card_words
from engines.detectors import learner, train_detector
from engines.detectors.architectures import PAIRED, architecture
from engines.detectors.detector import Detector
from engines.detectors.registry import ResNet18Settings, detector_of
from engines.training import Run, stored
from stream_guard.errors import UsageError
from tests.support.packs import with_deepfakes
from tests.support.targets import tinted

PAIR = "resnet18_residue_pair"
SETTINGS = ResNet18Settings(width=0.0625, size=32, batch=8, deepfakes=0.0)


def run_of(folder: Path, seed: int, name: str = PAIRED[PAIR], steps: int = 100) -> Detector:
    torch.manual_seed(seed)
    best = learner.Best(architecture(name).detector(SETTINGS.width, SETTINGS.size))
    best.published()
    for module in best.detector.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.3)
    Run(folder, asdict(SETTINGS), 0.0, steps, 60.0 * steps, name=name).save({"best": best})
    return best.detector


@pytest.fixture
def joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[Detector]]:
    monkeypatch.setattr(train_detector, "target_of", lambda *_: tinted())
    halves = [run_of(tmp_path / name, k, steps=100 * k) for k, name in enumerate("ab", 1)]
    data = with_deepfakes(tmp_path)
    fakes = Path(tmp_path / "fakes")
    Run(fakes, {}, 0.0, name="stargan").save({})
    train_detector.train(
        *(PAIR, data, tmp_path / "pair", 0.0, False, "cpu", SETTINGS, [fakes], [tmp_path / "a", tmp_path / "b"])
    )
    return tmp_path / "pair", halves


@torch.no_grad()
def test_it_answers_the_mean_of_the_two_but_for_its_threshold(joined: tuple[Path, list[Detector]]) -> None:
    folder, halves = joined
    pair, pictures = detector_of(folder), torch.rand(6, 3, 32, 32) * 2 - 1
    told = pair.logit_real(pictures) * pair.temperature
    mean = torch.stack([half.logit_real(pictures) for half in halves]).mean(0)
    moved = told - mean
    torch.testing.assert_close(moved, moved.mean().expand(6), atol=1e-4, rtol=1e-4)
    assert mean.std() > 10 * moved.std()
    assert float(moved[0]) == pytest.approx(float(pair.network.fc.bias[1]), abs=1e-4)


def test_it_counts_what_its_halves_learned_and_says_how_it_was_made(joined: tuple[Path, list[Detector]]) -> None:
    found = stored(joined[0])
    assert (found.step, found.seconds) == (300, pytest.approx(300 * 60, abs=60))
    slowly = replace(found, seconds=300 * 60 + 45)  # to look at val and set the threshold may take its time
    went_on = replace(slowly, step=310)
    for run, minutes in ((found, 0), (slowly, 0), (went_on, 1)):
        command = card_words.command(ResNet18Settings(), run)
        assert f"train {PAIR} --data PACK --minutes {minutes} --fakes runs/fakes --start runs/a runs/b" in command


def test_a_pair_may_go_on_from_a_pair(joined: tuple[Path, list[Detector]]) -> None:
    fresh = Idle(architecture(PAIR).detector(SETTINGS.width, SETTINGS.size), SETTINGS, torch.device("cpu"))
    fresh.start([joined[0]])
    for name, value in detector_of(joined[0]).network.state_dict().items():
        assert torch.equal(value, fresh.detector.network.state_dict()[name])


class Idle(learner.Learner):
    """Learns nothing."""

    def made(self) -> learner.Group:
        raise NotImplementedError

    def held_out(self, rng: torch.Generator) -> learner.Group:
        raise NotImplementedError


@pytest.mark.parametrize("count", [1, 3])
def test_it_takes_two_halves(tmp_path: Path, count: int) -> None:
    runs = [tmp_path / str(k) for k in range(count)]
    for k, folder in enumerate(runs):
        run_of(folder, k)
    idle = Idle(architecture(PAIR).detector(SETTINGS.width, SETTINGS.size), SETTINGS, torch.device("cpu"))
    with pytest.raises(UsageError, match=rf"begins with two runs of resnet18_residue, .* --start has {count}"):
        idle.start(runs)
