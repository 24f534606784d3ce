"""Following on gray copies: shifts to a fraction of a sample, cuts, and what is never followed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.stages.detectors import Detection
from stream_guard.stages.tracking import SURE, Copies, cut_template, find_template, is_cut
from stream_guard.stages.tracks import Tracker, trace
from stream_guard.types import Box

from ..support.scenes import backdrop, with_heads

ROWS, COLUMNS = 180, 320


def gray(rgb: np.ndarray) -> np.ndarray:
    return (rgb @ [0.299, 0.587, 0.114]).round().astype(np.uint8)


def texture(dx: float = 0.0, dy: float = 0.0, seed: int = 0) -> np.ndarray:
    """Waves of 16 samples and more, moved by a fraction of a sample exactly."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:ROWS, 0:COLUMNS].astype(float)
    total = np.zeros((ROWS, COLUMNS))
    for _ in range(12):
        fx, fy = rng.uniform(-0.06, 0.06, 2)
        total += np.cos(2 * np.pi * (fx * (x - dx) + fy * (y - dy)) + rng.uniform(0, 7))
    return (128 + 25 * total).clip(0, 255).round().astype(np.uint8)


@settings(max_examples=40, deadline=None)
@given(side=st.integers(12, 90), dx=st.floats(-0.3, 0.3), dy=st.floats(-0.3, 0.3), seed=st.integers(0, 5))
def test_a_shift_is_found_to_a_fraction_of_a_sample(side: int, dx: float, dy: float, seed: int) -> None:
    box = Box(120.3, 40.7, 120.3 + side, 40.7 + side)
    template = cut_template(Copies(texture(seed=seed)), box)
    match = find_template(template, Copies(texture(dx * side, dy * side, seed)), box)
    tolerance = 0.4 + side / 40
    assert match.dx == pytest.approx(dx * side, abs=tolerance)
    assert match.dy == pytest.approx(dy * side, abs=tolerance)
    assert match.likeness > 0.8


def test_following_for_long_does_not_drift() -> None:
    box = Box(100.4, 50.2, 130.4, 84.2)
    tracker = Tracker()
    tracker.confirm(Copies(texture()), [_unit(box)], 0.5)
    for step in range(1, 60):
        tracker.follow(Copies(texture(0.7 * step, 0.31 * step)))
    (track,) = tracker.tracks
    assert track.box.x0 == pytest.approx(box.x0 + 0.7 * 59, abs=1)
    assert track.box.y0 == pytest.approx(box.y0 + 0.31 * 59, abs=1)


def test_a_still_face_does_not_tremble_in_noise() -> None:
    rng = np.random.default_rng(0)
    box, still = Box(100, 50, 140, 90), texture().astype(int)
    tracker = Tracker()
    tracker.confirm(Copies(texture()), [_unit(box)], 0.5)
    for _ in range(20):
        noisy = (still + rng.normal(0, 3, still.shape)).clip(0, 255).astype(np.uint8)
        tracker.follow(Copies(noisy))
        assert tracker.tracks[0].box == box


def test_another_picture_is_not_like_the_face() -> None:
    box = Box(100, 50, 140, 90)
    template = cut_template(Copies(texture(seed=1)), box)
    assert find_template(template, Copies(texture(seed=2)), box).likeness < SURE
    flat = np.full((ROWS, COLUMNS), 90, np.uint8)
    assert find_template(template, Copies(flat), box).likeness < 0.1


@pytest.mark.parametrize("box", [Box(10, 10, 13, 13), Box(400, 10, 440, 50), Box(-60, 10, -20, 50)])
def test_what_is_tiny_or_outside_has_no_template(box: Box) -> None:
    assert cut_template(Copies(texture()), box) is None


def test_what_is_flat_has_no_template() -> None:
    assert cut_template(Copies(np.full((ROWS, COLUMNS), 90, np.uint8)), Box(10, 10, 50, 50)) is None


def test_a_face_at_the_border_is_followed_by_its_visible_part() -> None:
    box = Box(-15, 60, 25, 100)
    tracker = Tracker()
    tracker.confirm(Copies(texture()), [_unit(box)], 0.5)
    tracker.follow(Copies(texture(6, 0)))
    assert tracker.tracks[0].box.x0 == pytest.approx(-9, abs=1)


def test_a_face_that_left_is_dropped_or_to_be_settled_by_a_detection() -> None:
    tracker = Tracker()
    tracker.confirm(Copies(texture()), [_unit(Box(280, 60, 319, 100))], 0.5)
    for step in range(1, 12):
        tracker.follow(Copies(texture(5.0 * step)))
    assert tracker.unsure or not tracker.tracks


def test_numbers_are_kept_by_overlap_and_never_used_twice() -> None:
    tracker, copies = Tracker(), Copies(texture())
    left, right = Box(20, 40, 60, 90), Box(200, 40, 240, 90)
    tracker.confirm(copies, [_unit(left), _unit(right, 0.8)], 0.5)
    tracker.confirm(copies, [_unit(right.moved(8, 3)), _unit(left.moved(-6, 2))], 0.5)
    assert {t.number: t.box.center[0] < 160 for t in tracker.tracks} == {1: True, 2: False}
    tracker.forget()
    tracker.confirm(copies, [_unit(left)], 0.5)
    assert [t.number for t in tracker.tracks] == [3]


def test_a_weak_find_continues_a_face_but_starts_none() -> None:
    tracker, copies = Tracker(), Copies(texture())
    box = Box(20, 40, 60, 90)
    assert tracker.confirm(copies, [_unit(box, 0.3)], 0.5) == []
    assert len(tracker.confirm(copies, [_unit(box, 0.6)], 0.5)) == 1
    for _ in range(4):
        assert tracker.confirm(copies, [_unit(box, 0.3)], 0.5) == []
        assert [t.number for t in tracker.tracks] == [1]


def test_a_face_is_held_for_one_missed_detection() -> None:
    tracker, copies = Tracker(grace=1), Copies(texture())
    tracker.confirm(copies, [_unit(Box(20, 40, 60, 90))], 0.5)
    tracker.confirm(copies, [], 0.5)
    assert len(tracker.tracks) == 1
    assert tracker.unsure
    tracker.confirm(copies, [], 0.5)
    assert tracker.tracks == []


def test_tracing_back_stops_where_the_face_was_not() -> None:
    scene = gray(backdrop(COLUMNS, ROWS))
    seen = [Copies(gray(with_heads(backdrop(COLUMNS, ROWS), [(60 + 3 * i, 0)]))) for i in range(5)]
    tracker = Tracker()
    (track,) = tracker.confirm(seen[-1], [_unit(Box(126, 64, 209, 177))], 0.5)
    boxes = trace(track.template, track.box, [*seen[-2::-1], Copies(scene), Copies(scene)])
    assert [box.x0 for box in boxes] == pytest.approx([123, 120, 117, 114], abs=1)


def test_another_face_in_the_same_place_is_a_new_track() -> None:
    box, tracker = Box(100, 50, 140, 90), Tracker()
    tracker.confirm(Copies(texture(seed=1)), [_unit(box)], 0.5)
    tracker.follow(Copies(texture(0.5, seed=1)))
    assert not tracker.unsure
    tracker.follow(Copies(texture(seed=2)))
    assert tracker.unsure
    (fresh,) = tracker.confirm(Copies(texture(seed=2)), [_unit(box)], 0.5)
    assert (fresh.number, fresh.former) == (2, (1, 1))
    tracker.follow(Copies(texture(seed=2)))
    assert tracker.confirm(Copies(texture(seed=2)), [_unit(box)], 0.5) == []
    assert [track.number for track in tracker.tracks] == [2]


@given(st.integers(0, 50), st.integers(1, 50))
@settings(max_examples=25, deadline=None)
def test_other_places_are_cuts(seed: int, other: int) -> None:
    assert is_cut(gray(backdrop(COLUMNS, ROWS, seed)), gray(255 - backdrop(COLUMNS, ROWS, seed + other) // 3))


def test_motion_noise_and_slow_fades_are_no_cuts() -> None:
    rng = np.random.default_rng(0)
    scene, moved = (gray(with_heads(backdrop(COLUMNS, ROWS), [(x, 0)])) for x in (60, 68))
    assert not is_cut(scene, moved)
    assert not is_cut(scene, (scene.astype(int) + rng.normal(0, 8, scene.shape)).clip(0, 255).astype(np.uint8))
    assert not is_cut(scene, (scene * 0.94).astype(np.uint8))
    assert is_cut(scene, scene[::2, ::2])


@pytest.mark.parametrize(("shift", "numbers"), [(20, [1]), (30, [1, 2])])
def test_a_find_is_a_followed_face_from_a_quarter_of_overlap_on(shift: int, numbers: list[int]) -> None:
    """Of two boxes 40 wide, 20 apart, a third overlaps; 30 apart, a seventh does."""
    box, copies, tracker = Box(100, 50, 140, 90), Copies(texture()), Tracker()
    tracker.confirm(copies, [_unit(box)], 0.5)
    tracker.confirm(copies, [_unit(box.moved(shift, 0))], 0.5)
    assert [track.number for track in tracker.tracks] == numbers


def test_a_face_that_a_detection_missed_is_followed_by_what_it_looked_like_when_it_was_found() -> None:
    box, copies, tracker = Box(100, 50, 140, 90), Copies(texture()), Tracker(grace=1)
    tracker.confirm(copies, [_unit(box)], 0.5)
    found = tracker.tracks[0].template
    tracker.confirm(Copies(255 - texture()), [], 0.5)
    assert tracker.tracks[0].template is found


def _unit(box: Box, score: float = 0.9) -> Detection:
    return Detection(Box(box.x0 / COLUMNS, box.y0 / ROWS, box.x1 / COLUMNS, box.y1 / ROWS), score)
