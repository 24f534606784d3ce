"""The threshold of a trained detector: where it is set, and that every network can be moved there."""

from __future__ import annotations

import pytest
import torch

from engines.detectors import measure, operating
from engines.detectors.architectures import architecture
from engines.detectors.degrade import Path
from engines.detectors.registry import TRAINERS
from engines.detectors.seen import seen
from stream_guard.stages.classifier import CROP
from stream_guard.types import Box, centred_region, head_region


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


def test_it_is_set_and_measured_on_what_the_stage_cuts_out() -> None:
    """Of a head in its region the stage takes x1.3 of the face; generators edit x1.4."""
    head = head_region(Box(0, 0, 100, 140))
    stage = centred_region(Box(0, 0, 100, 140), CROP)
    side = round(head.x1 - head.x0)
    region = seen(torch.arange(float(side)).expand(1, 3, side, side))
    assert region.shape[-1] == pytest.approx(stage.x1 - stage.x0, abs=1)
    assert float(region[..., 0].min()) == pytest.approx(stage.x0 - head.x0, abs=1)
    detector = architecture("resnet18").detector(0.0625, 32).eval()
    plain = torch.rand(2, 3, 64, 64)
    framed = torch.ones(2, 3, 64, 64)
    framed[..., 2:-2, 2:-2] = plain[..., 2:-2, 2:-2]
    assert torch.equal(operating.logits(detector, plain, Path(64)), operating.logits(detector, framed, Path(64)))
    assert (measure.passing(detector, plain, Path(64)) == measure.passing(detector, framed, Path(64))).all()
