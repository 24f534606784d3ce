"""PSNR, SSIM and flicker against numbers that can be computed by hand or by another implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from stream_guard.audit.flicker import Flicker
from stream_guard.audit.quality import Quality, SquaredError, difference, luma, pixels_of, psnr_db, ssim
from stream_guard.types import Box

RNG = np.random.default_rng(5)
PICTURE = np.clip(RNG.normal(128, 40, (48, 64, 3)), 0, 255).astype(np.uint8)


def shifted(levels: int) -> np.ndarray:
    return (PICTURE.astype(int).clip(20, 235) + levels).astype(np.uint8)


def test_psnr_of_a_constant_shift() -> None:
    error = SquaredError()
    error.add(difference(shifted(3), shifted(0)))
    assert psnr_db(error.mse) == pytest.approx(20 * math.log10(255 / 3))
    assert psnr_db(error.luma_mse) == pytest.approx(20 * math.log10(255 / 3), abs=1e-4)


def test_one_error_over_the_clip_is_not_a_mean_of_decibels() -> None:
    error = SquaredError()
    error.add(difference(shifted(0), shifted(0)))
    error.add(difference(shifted(4), shifted(0)))
    assert error.mse == pytest.approx(8.0)


def test_no_pixels_and_no_difference_have_no_psnr() -> None:
    error = SquaredError()
    assert psnr_db(error.mse) is None
    error.add(difference(PICTURE, PICTURE))
    assert error.mse == 0
    assert psnr_db(error.mse) is None


def test_the_transcodes_own_loss_is_subtracted() -> None:
    plain, protected = Quality(), Quality()
    plain.error.add(difference(shifted(3), shifted(0)))
    protected.error.add(difference(shifted(5), shifted(0)))
    summary = protected.summary(plain)
    assert summary["net_psnr_db"] == pytest.approx(20 * math.log10(255 / 4))  # 5 squared less 3 squared is 4 squared
    assert plain.summary(protected)["net_psnr_db"] is None


def test_ssim_follows_wang_2004() -> None:
    """The definition, written out: Gaussian 11x11 window with sigma 1.5, without the border that it cannot reach."""
    other = np.clip(PICTURE + RNG.normal(0, 12, PICTURE.shape), 0, 255).astype(np.uint8)
    x, y = luma(PICTURE).astype(float), luma(other).astype(float)

    def blur(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, 1.5, radius=5)

    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    value = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim(PICTURE, other) == pytest.approx(value[5:-5, 5:-5].mean(), abs=1e-6)


def test_ssim_of_the_same_is_one_and_of_too_little_is_nothing() -> None:
    assert ssim(PICTURE, PICTURE) == pytest.approx(1.0)
    assert ssim(PICTURE[:10], PICTURE[:10]) is None


def test_a_region_is_cut_at_the_picture() -> None:
    assert pixels_of(Box(-10.5, 2.2, 20.1, 99), 64, 48) == (slice(2, 48), slice(0, 21))
    assert pixels_of(Box(70, 0, 80, 10), 64, 48) is None


def pattern(x: int, y: int) -> np.ndarray:
    change = np.zeros((48, 64, 3), np.int16)
    change[y : y + 8, x : x + 8] = np.arange(8)[:, None, None]
    return change


def test_a_change_that_moves_with_the_face_does_not_flicker() -> None:
    flicker = Flicker()
    for frame, (x, y) in enumerate([(10, 12), (13, 11), (20, 18)]):
        flicker.add(frame, 1, Box(x, y, x + 8, y + 8), pattern(x, y))
    assert flicker.levels == 0


def test_a_change_that_stays_while_the_face_moves_does() -> None:
    flicker = Flicker()
    flicker.add(0, 1, Box(10, 12, 18, 20), pattern(10, 12))
    flicker.add(1, 1, Box(10, 15, 18, 23), pattern(10, 12))
    warped_from, now = pattern(10, 12)[12:20, 10:18], pattern(10, 12)[15:23, 10:18]
    assert flicker.levels == pytest.approx(np.abs(now - warped_from).mean())


def test_a_gap_in_a_track_starts_anew_and_tracks_do_not_mix() -> None:
    flicker = Flicker()
    box = Box(10, 12, 18, 20)
    flicker.add(0, 1, box, pattern(10, 12))
    flicker.add(1, 2, box, 3 * pattern(10, 12))
    flicker.add(2, 1, box, 2 * pattern(10, 12))
    assert flicker.levels is None


def test_a_face_that_leaves_the_picture_is_compared_where_it_still_is() -> None:
    flicker = Flicker()
    flicker.add(0, 1, Box(50, 12, 60, 22), pattern(50, 12))
    flicker.add(1, 1, Box(58, 12, 68, 22), pattern(58, 12)[:, :64])
    assert flicker.levels is not None
    flicker.add(2, 1, Box(200, 12, 210, 22), pattern(0, 0))
