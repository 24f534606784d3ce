"""Faces that come and go between two detections, and what else comes and goes there."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from stream_guard.stages.detectors import FaceDetector
from stream_guard.stages.faces import FacesOptions, FacesStage
from stream_guard.stages.glimpses import passing
from stream_guard.stages.looks import Look
from stream_guard.stages.tracking import Copies
from stream_guard.types import Box, Frame

from ..support.scenes import as_frame, frames

STEADY = (40, 80)
BESIDE = (400, 80)


def run(corners: Callable[[int], Iterable[tuple[float, float]]], monkeypatch: pytest.MonkeyPatch) -> tuple[list, int]:
    """What came out of 26 pictures, and how many detections that took."""
    seen, detect = [], FaceDetector.detect
    monkeypatch.setattr(FaceDetector, "detect", lambda *given: seen.append(1) or detect(*given))
    stage = FacesStage(FacesOptions(every=12, search_every=12))
    stage.open()
    done: list[Frame] = [ready for frame in frames(26, corners) for ready in stage.process(frame)]
    done += stage.flush()
    stage.close()
    return done, len(seen)


@pytest.mark.parametrize("others", [[STEADY], []], ids=["beside a steady face", "with nobody else in sight"])
def test_a_face_that_is_in_no_picture_of_a_detection_is_covered(
    others: list[tuple[float, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def corners(index: int) -> list[tuple[float, float]]:
        return [*others, BESIDE] if 16 <= index < 19 else others

    done, detections = run(corners, monkeypatch)
    assert [len(frame.faces) - len(others) for frame in done] == [int(16 <= index < 19) for index in range(26)]
    assert detections == 4 + 1


def test_a_face_that_was_there_before_and_comes_back_for_a_moment_is_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    done, _ = run(lambda index: [STEADY, BESIDE] if index < 6 or 16 <= index < 19 else [STEADY], monkeypatch)
    assert [len(frame.faces) for frame in done[15:20]] == [1, 2, 2, 2, 1]


def test_where_nothing_comes_and_goes_nobody_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    _, detections = run(lambda index: [STEADY] if index < 16 else [STEADY, BESIDE], monkeypatch)
    assert detections == 4 + 1  # where the second is traced back to


def a_look(luma: np.ndarray, *faces: Box) -> Look:
    look = Look(as_frame(np.zeros((2, 2, 3), np.uint8)), Copies(luma))
    look.faces = {number: (box, 1.0) for number, box in enumerate(faces)}
    return look


def with_patch(luma: np.ndarray, x: int, side: int, change: int = 40) -> np.ndarray:
    patched = luma.copy()
    patched[60 : 60 + side, x : x + side] += np.uint8(change)
    return patched


def test_the_picture_that_shows_most_of_it_is_named() -> None:
    luma = np.full((180, 320), 100, np.uint8)
    between = [a_look(with_patch(luma, 200, side)) for side in (4, 16, 12)]
    assert passing(Copies(luma), Copies(luma), between) == 1


@pytest.mark.parametrize(("side", "change", "place"), [(12, 13, 0), (12, 12, None), (8, 40, None), (0, 0, None)])
def test_what_is_too_faint_or_too_small_is_not_named(side: int, change: int, place: int | None) -> None:
    luma = np.full((180, 320), 100, np.uint8)
    assert passing(Copies(luma), Copies(luma), [a_look(with_patch(luma, 200, side, change))]) == place


def test_what_stays_in_the_later_picture_was_seen_there() -> None:
    luma = np.full((180, 320), 100, np.uint8)
    patched = with_patch(luma, 200, 40)
    assert passing(Copies(luma), Copies(patched), [a_look(patched), a_look(luma)]) is None


def test_a_light_that_goes_up_is_nothing_that_comes_and_goes() -> None:
    start, middle, end = (np.full((180, 320), level, np.uint8) for level in (100, 120, 140))
    assert passing(Copies(start), Copies(end), [a_look(middle)]) is None


def test_what_changes_around_a_known_face_is_that_face() -> None:
    luma = np.full((180, 320), 100, np.uint8)
    patched, face = with_patch(luma, 200, 30), Box(195, 55, 235, 95)
    assert passing(Copies(luma), Copies(luma), [a_look(patched, face)]) is None
    assert passing(Copies(luma), Copies(luma), [a_look(patched, face.moved(-120, 0))]) == 0
