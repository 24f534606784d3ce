"""What one step of the disrupter's training does: the weights of its terms, its budget, its sign."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from engines.data.clips import Clip
from engines.disrupter import delivery, objective, train
from engines.disrupter.network import FLAT_SHARE, SIZE, oval, shrink, visibility_mask
from engines.disrupter.visible import seen
from tests.support.targets import Brightness, trainer


def test_detectors_that_are_asked_rarely_weigh_as_much_more(packed: tuple[Path, object]) -> None:
    """Eq. 7's C2 and C3 hold over the steps' mean, however many of them ask no detector."""
    made = trainer(packed[0], None, {"bright": Brightness()}, c2=0.5, c3=0.25, detect_every=3)
    rgb = made.batch()
    delivered = objective.deliver(rgb, torch.zeros(2, 3, 32, 32), delivery.random_channel(made.rng, 0.0))
    attempt = objective.random_attempt(made.targets[0], delivered, made.rng)
    (loss, said), (without, _) = made.against(attempt, made.detectors), made.against(attempt, [])
    assert float(loss - without) == pytest.approx(
        3 * (0.5 * said["edit called real"] + 0.25 * said["face called fake"])
    )


def test_each_step_is_held_to_its_own_budget(packed: tuple[Path, object]) -> None:
    made = trainer(packed[0], psnr_db=38.0, start_psnr_db=30.0)
    made.pull = lambda rgb, delta: (torch.zeros_like(delta), {})
    held = []
    for progress in (0.0, 0.25, 1.0):
        made.step(progress)
        held.append(made.p.psnr_db)
    assert held == [30.0, 34.0, 38.0]


def test_a_step_goes_against_the_gradient_that_generators_and_detectors_gave(packed: tuple[Path, object]) -> None:
    """What pulls every value of delta down lowers it: with no term of its own, P follows pull alone."""
    torch.manual_seed(0)
    made = trainer(packed[0], c1=0.0)
    made.pull = lambda rgb, delta: (torch.ones_like(delta), {})
    face = shrink(made.batch(), SIZE)
    before = float(made.p(face).detach().mean())
    for _ in range(3):
        made.step(1.0)
    assert float(made.p(face).detach().mean()) < before - 1e-4


def test_what_is_seen_beyond_its_budget_costs_its_weight(packed: tuple[Path, object]) -> None:
    made = trainer(packed[0], c1=0.0, seen=0.5, c_seen=3.0)
    rgb, delta = made.batch(), 0.05 * torch.randn(2, 3, 64, 64, generator=made.rng)
    much = seen(rgb, delta)
    assert float(much.min()) > 0.5
    loss, said = made.own(rgb, torch.zeros_like(delta), delta)
    assert float(loss) == pytest.approx(3 * float((much / 0.5 - 1).mean()), rel=1e-5)
    assert said["seen"] == pytest.approx(float(much.mean()), rel=1e-5)
    assert float(made.own(rgb, torch.zeros_like(delta), 0 * delta)[0]) == 0


def test_flicker_is_between_a_picture_and_its_neighbour(packed: tuple[Path, object], monkeypatch) -> None:
    made = trainer(packed[0], c1=0.0, steady=2.0)
    rgb, shown = made.batch(), []
    other, theta = objective.neighbour(rgb, torch.Generator().manual_seed(0), jitter=0.3)
    monkeypatch.setattr(objective, "neighbour", lambda image, rng: (other, theta))
    answer = made.p.forward

    def watched(face: Tensor) -> Tensor:
        shown.append(face)
        return answer(face)

    made.p.forward = watched
    delta = made.p.hold(made.p.draw(shrink(rgb, SIZE)))
    loss, _ = made.own(rgb, delta, delta)
    assert torch.equal(shown[0], shrink(other, SIZE))
    expected = 2 * objective.unsteadiness(delta, answer(shown[0]), theta)
    assert torch.allclose(loss, expected, rtol=1e-5)


def test_every_other_frame_of_a_clip_is_learned_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.full((5, 8, 8, 3), 10, np.uint8)
    clip = Clip("a", "train", frames, np.full((5, 66, 2), np.nan, np.float32))
    monkeypatch.setattr(train, "read_clips", lambda path, splits: [clip])
    found = train.clip_frames(tmp_path, 16, torch.device("cpu"))
    assert found.shape == (3, 3, 16, 16)
    assert found[:, 0, 8, 8].tolist() == [0, 20, 40]


def test_a_platforms_blur_is_a_gaussian_of_its_sigma() -> None:
    point = torch.zeros(1, 3, 33, 33)
    point[..., 16, 16] = 1
    soft, at = delivery.blurred(point, 1.2)[0, 2], torch.arange(33.0) - 16
    assert float(soft.sum()) == pytest.approx(1, abs=1e-5)
    for axis in (0, 1):
        assert float((soft.sum(axis) * at.square()).sum()) == pytest.approx(1.44, rel=0.05)
    even = torch.full((1, 3, 8, 8), 0.4)
    assert torch.allclose(delivery.blurred(even, 1.2), even)


def test_the_budgets_oval_is_higher_than_wide() -> None:
    """A head is: the full budget reaches 0.6 of the half side up and down, 0.54 to either side."""
    budget = oval(200)
    across, down = (budget[100] == 1).float().sum() / 200, (budget[:, 100] == 1).float().sum() / 200
    assert float(across) == pytest.approx(0.54, abs=0.01)
    assert float(down) == pytest.approx(0.6, abs=0.01)
    assert float((budget[:, 100] > 0).float().sum() / 200) == pytest.approx(0.85, abs=0.01)


def test_a_face_hides_as_much_at_its_border_as_inside() -> None:
    checks = ((torch.arange(32)[:, None] + torch.arange(32)[None]) % 2).float().expand(1, 3, 32, 32)
    assert torch.equal(visibility_mask(checks), torch.ones(1, 3, 16, 16))
    mask = visibility_mask(torch.full((1, 3, 32, 32), 0.9))
    for plane, flat in zip(mask[0], FLAT_SHARE, strict=True):
        assert torch.allclose(plane, torch.full_like(plane, flat), atol=5e-3)  # rounding leaves some texture
