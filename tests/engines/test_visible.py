"""What is seen of a perturbation: CIELAB equals scikit-image's, and what the eye cannot resolve is hidden."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from engines.data.heads import HEAD_SHARE
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


TABLE = (
    ((0.921, 0.0283), (0.105, 0.133), (-0.108, 4.336)),
    ((0.531, 0.0392), (0.330, 0.494)),
    ((0.488, 0.0536), (0.371, 0.386)),
)
"""Weights and spreads in degrees of luma, red-green and blue-yellow: table 1 of Zhang and Wandell. They stand in
exp(-(r / spread)^2): the authors' toolbox has full widths at half maximum of .05, .225 and 7 degrees for luma."""
OPPONENT = ((278.7336, 721.8031, -106.5520), (-448.7736, 289.8056, 77.1569), (85.9513, -589.9859, 501.1089))
"""From XYZ, in thousandths, as the authors' own code has it."""


def test_the_eye_resolves_what_its_paper_says():
    """Plane by plane, against scipy's Gaussians; 7.8 degrees are 128 px, and the widest blur is cut to 12 px."""
    rgb = np.random.default_rng(0).random((visible.SIZE, visible.SIZE, 3), np.float32)
    matrix = np.array(OPPONENT) / 1000
    planes = np.moveaxis(color.rgb2xyz(rgb) @ matrix.T, 2, 0)
    for k, parts in enumerate(TABLE):
        sigmas = [min(spread / math.sqrt(2) * 128 / 7.8, 12) for _, spread in parts]
        blurred = [
            weight * gaussian_filter(planes[k], sigma, mode="nearest", radius=max(1, round(3 * sigma)))
            for (weight, _), sigma in zip(parts, sigmas, strict=True)
        ]
        planes[k] = sum(blurred) / sum(weight for weight, _ in parts)
    expected = color.xyz2lab(np.moveaxis(planes, 0, 2) @ np.linalg.inv(matrix).T)
    ours = visible.s_cielab(torch.from_numpy(rgb).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours, expected, atol=0.05)


def test_a_face_is_the_4_norm_over_its_head():
    base, delta = _grey(), _stripes(1, 32)
    each = visible.difference(base, visible.apply_unrounded(base, delta))[0]
    side = round(visible.SIZE * HEAD_SHARE)
    assert abs(each.shape[0] - side) <= 1
    assert float(visible.seen(base, delta)) == pytest.approx(float((each.double() ** 4).mean() ** 0.25), rel=1e-5)


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
