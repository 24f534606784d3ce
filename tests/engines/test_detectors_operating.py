"""The threshold of a trained detector: where it is set, and that every network can be moved there."""

from __future__ import annotations

import pytest
import torch

from engines.detectors import operating
from engines.detectors.architectures import architecture
from engines.detectors.degrade import Path
from engines.detectors.registry import TRAINERS


def test_as_many_reals_are_lost_as_fakes_pass() -> None:
    rng = torch.Generator().manual_seed(0)
    reals, fakes = torch.randn(4000, generator=rng) * 2 + 4, torch.randn(4000, generator=rng) - 1
    at = operating.equal_error(reals, fakes)
    lost, passed = (reals <= at).float().mean(), (fakes > at).float().mean()
    assert abs(float(lost - passed)) < 0.002
    # Two normals meet alike where both are as many deviations away: (4 - t) / 2 = (t + 1) / 1.
    assert at == pytest.approx(2 / 3, abs=0.1)


def test_between_two_classes_that_are_apart_it_lies_in_the_middle() -> None:
    assert operating.equal_error(torch.tensor([3.0, 5.0]), torch.tensor([-4.0, -1.0])) == 1.0
    assert operating.equal_error(torch.tensor([3.0]), torch.tensor([1.0])) == 2.0


@pytest.mark.parametrize("name", sorted(TRAINERS))
def test_every_network_is_moved_alike(name: str) -> None:
    """By so much in the calibrated logit of `real`, whatever its order of classes and its temperature."""
    settings = TRAINERS[name].Settings()
    torch.manual_seed(0)
    detector = architecture(name).detector(settings.width, 64).eval()
    detector.temperature.fill_(2.0)
    picture = torch.rand(3, 3, 64, 64)
    before = operating.logits(detector, picture, Path(64))
    operating.move(detector, 0.7)
    assert torch.allclose(before - operating.logits(detector, picture, Path(64)), torch.full((3,), 0.7), atol=1e-3)
