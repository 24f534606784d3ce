"""The face swap that the CycleGAN surrogate learns from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engines.data.heads import Heads
from engines.data.pack import Head
from engines.data.replacement import LEAST_CONTRAST, Donor, donor_of, most_ordinary, outline, replaced, tinted

SIZE = 96


@pytest.fixture
def points(face):
    return face * 0.7


def painted(seed: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 8, 8, generator=rng)
    return torch.nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic").clamp(0, 1)


@pytest.fixture
def donor(points):
    return Donor(painted(0), points, outline(points[0], SIZE))


def test_a_donor_in_its_own_place_stays_as_it_is(donor):
    assert (replaced(donor.rgb, donor.points, donor) - donor.rgb).abs().max() < 0.01


def test_only_the_face_changes_and_all_of_it_does(donor, points):
    picture = painted(1)
    after = replaced(picture, points, donor)
    mask = outline(points[0], SIZE)[0, 0]
    around = torch.nn.functional.max_pool2d(mask[None], 5, 1, 2)[0] == 0
    assert torch.equal(after[0, :, around], picture[0, :, around])
    assert (after - picture).abs().mean(1)[0][mask > 0.99].mean() > 0.05
    assert 0.02 < float(mask.mean()) < 0.5


def test_the_donor_follows_the_landmarks(donor, points):
    """Moved and made smaller, the picture's landmarks take the donor's face along."""
    grey = torch.full((1, 3, SIZE, SIZE), 0.5)
    one = replaced(grey, points, donor)
    moved = replaced(grey, points * 0.8 + 0.1, donor)
    changed = [(x - grey).abs().sum(1)[0] > 0.02 for x in (one, moved)]
    centres = [mask.nonzero().float().mean(0) / SIZE * 2 - 1 for mask in changed]
    assert torch.allclose(centres[1], centres[0] * 0.8 + 0.1, atol=0.06)
    assert changed[1].sum() < 0.85 * changed[0].sum()


def test_the_donor_takes_the_colours_of_the_face_that_it_covers(donor):
    """The mean exactly, the contrast as far as that is not ridiculous."""
    goal, alpha = 0.3 + 0.2 * painted(2), donor.alpha
    fitted = tinted(donor.rgb, goal, alpha)
    assert torch.allclose(mean(fitted, alpha), mean(goal, alpha), atol=1e-5)
    contrasts = [mean((x - mean(x, alpha)).square(), alpha).sqrt() for x in (fitted, donor.rgb)]
    assert bool((contrasts[0] / contrasts[1] > LEAST_CONTRAST - 1e-4).all())
    assert bool((contrasts[0] < contrasts[1]).all())


def mean(x: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    return (x * alpha).sum((2, 3), keepdim=True) / alpha.sum()


def heads(points: torch.Tensor, masked: set[int]) -> Heads:
    rows = []
    for k in range(5):
        shares = ((points[0] * (1, 1, 1.02, 1.1, 1.3)[k]) + 1) / 2
        shares[27:36, 0] += (0.0, 0.0, 0.001, 0.03, 0.1)[k]  # a turned head: the nose leaves the middle
        mask = np.full((SIZE, SIZE), int(k in masked), np.uint8)
        rgb = np.full((SIZE, SIZE, 3), 40 * k, np.uint8)
        rows.append(Head(str(k), "train", rgb, mask, (0.2, 0.2, 0.8, 0.8), shares.numpy()))
    return Heads(rows, torch.device("cpu"))


def test_the_most_ordinary_face_is_a_photograph_near_the_median(points):
    assert most_ordinary(heads(points, {3, 4})) == 3
    assert most_ordinary(heads(points, set())) in (0, 1, 2)
    assert float(donor_of(heads(points, set()), "4").rgb[0, 0, 0, 0]) == pytest.approx(160 / 255)
