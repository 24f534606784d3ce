"""What is seen of a perturbation: CIELAB equals scikit-image's, and what the eye cannot resolve is hidden."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engines.disrupter import visible
from engines.disrupter.network import GRID

color = pytest.importorskip("skimage.color")


def _grey(level=0.5):
    return torch.full((1, 3, visible.SIZE, visible.SIZE), level)


def _stripes(plane, period, level=8 / 255):
    """A delta of one plane, +-level, in stripes of `period` cells."""
    delta = torch.zeros(1, 3, GRID, GRID)
    delta[:, plane] = level * torch.where(torch.arange(GRID) % period < period // 2, 1.0, -1.0)
    return delta


def test_cielab_is_scikit_images():
    rgb = torch.from_numpy(np.random.default_rng(0).random((2, 3, 5, 7), np.float32))
    xyz = torch.einsum("ij,njhw->nihw", torch.tensor(visible._XYZ), visible.linear(rgb))
    ours = visible.cielab(xyz).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(ours, color.rgb2lab(rgb.permute(0, 2, 3, 1).numpy()), atol=0.02)


def test_a_plain_patch_is_seen_as_cie94_sees_it():
    """Where nothing varies the eye's blur changes nothing. A small step: chroma's is taken along the first colour."""
    rng = torch.Generator().manual_seed(1)
    base = 0.2 + 0.6 * torch.rand(8, 3, 1, 1, generator=rng)
    other = base + 0.02 * torch.randn(8, 3, 1, 1, generator=rng)
    flat = [x.expand(-1, -1, visible.SIZE, visible.SIZE) for x in (base, other)]
    ours = visible.difference(*flat)[:, 30, 30].numpy()
    labs = [color.rgb2lab(x.permute(0, 2, 3, 1).numpy())[:, 30, 30] for x in flat]
    np.testing.assert_allclose(ours, color.deltaE_ciede94(*labs), rtol=0.03)


def test_nothing_added_is_not_seen():
    assert float(visible.seen(_grey(), torch.zeros(1, 3, GRID, GRID))) == pytest.approx(1e-3, abs=1e-6)


def test_fine_colour_is_seen_less_than_coarse_and_luma_hardly_so():
    share = []
    for plane in (0, 1):
        fine, coarse = (float(visible.seen(_grey(), _stripes(plane, period))) for period in (4, 32))
        share.append(fine / coarse)
    assert share[1] < 0.5
    assert share[1] < 0.7 * share[0]


def test_the_worst_place_counts_most():
    """The same energy in one spot is seen more than spread out."""
    spread, spot = torch.zeros(2, 1, 3, GRID, GRID).unbind(0)
    spread[:, 2] = 2 / 255
    spot[:, 2, 28:36, 28:36] = 2 / 255 * GRID / 8
    assert visible.seen(_grey(), spot) > 1.5 * visible.seen(_grey(), spread)


def test_it_has_a_gradient_everywhere():
    delta = torch.zeros(1, 3, GRID, GRID, requires_grad=True)
    visible.seen(torch.zeros(1, 3, 192, 192), delta + 1e-3).sum().backward()
    assert torch.isfinite(delta.grad).all()
    assert delta.grad.abs().sum() > 0
