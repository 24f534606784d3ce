"""Perturbations at the picture's border, beyond a byte, and kept from picture to picture; see also `test_pixels.py`."""

from __future__ import annotations

import av
import numpy as np
import pytest

from stream_guard.media.pixels import Perturbation, add_perturbation, hold_budget, snapshot
from stream_guard.types import Box

from ..support.pictures import raw_samples

EPSILON = 8 / 255


def grey(format: str, side: int = 200, range: int = 0, level: int = 128) -> av.VideoFrame:
    picture = av.VideoFrame(side, side, format)
    picture.color_range = range
    for plane in picture.planes:
        np.frombuffer(plane, np.uint16 if format.startswith("p0") else np.uint8)[:] = level << 8 * ("p0" in format)
    return picture


def a_delta(peak: float = EPSILON) -> np.ndarray:
    return np.random.default_rng(3).uniform(-peak, peak, (3, 16, 16)).astype(np.float32)


@pytest.mark.parametrize("format", ["yuv420p", "p010le"])
def test_what_the_border_cuts_is_the_part_that_lies_within(format: str) -> None:
    cut, whole = grey(format), grey(format)
    add_perturbation(cut, Box(-30, -20, 50, 60), a_delta(), 1.0, EPSILON)
    add_perturbation(whole, Box(10, 20, 90, 100), a_delta(), 1.0, EPSILON)
    left, all_of_it = raw_samples(cut), raw_samples(whole)
    assert not np.array_equal(left["Y"], raw_samples(grey(format))["Y"])
    assert np.array_equal(left["Y"][:60, :50], all_of_it["Y"][40:100, 40:90])
    assert np.array_equal(left["Cb"][:30, :25], all_of_it["Cb"][20:50, 20:45])


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_change_that_no_signed_byte_holds(sign: int) -> None:
    picture = grey("gray", level=0 if sign > 0 else 255)
    add_perturbation(picture, Box(0, 0, 200, 200), np.full((3, 4, 4), 0.8 * sign, np.float32), 1.0, 1.0, feather=0)
    assert set(raw_samples(picture)["Y"].ravel()) == {204 if sign > 0 else 51}


def test_one_that_is_kept_follows_another_size_range_and_format() -> None:
    kept = Perturbation(a_delta(), 1.0, EPSILON)
    square, high = Box(20, 20, 80, 80), Box(20, 20, 80, 120)
    for format, range, box in (("gray", 1, square), ("gray", 1, high), ("gray", 2, high), ("yuv444p", 2, high)):
        one, other = grey(format, range=range), grey(format, range=range)
        kept.add(one, box)
        add_perturbation(other, box, a_delta(), 1.0, EPSILON)
        found, wanted = raw_samples(one), raw_samples(other)
        assert all(np.array_equal(found[role], wanted[role]) for role in wanted)


def test_the_budget_is_held_in_the_high_bits_of_p010_too() -> None:
    picture, box = grey("p010le"), Box(20, 20, 120, 120)
    before, kept = raw_samples(picture), snapshot(picture, box)
    for _ in range(2):
        add_perturbation(picture, box, np.full((3, 4, 4), EPSILON, np.float32), 1.0, EPSILON)
    hold_budget(picture, kept, EPSILON)
    assert (raw_samples(picture)["Y"] - before["Y"]).max() == round(EPSILON * 876)
