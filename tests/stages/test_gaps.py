"""Faces between two detections: grown, run, cut in, and how many detections that takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from stream_guard.stages.detectors import FaceDetector
from stream_guard.stages.faces import FacesOptions, FacesStage
from stream_guard.types import Box, Frame

from ..support.scenes import FACE_IN_HEAD, as_frame, backdrop, frames, head

WIDTH, HEIGHT = 640, 360


@pytest.fixture
def detections(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seen: list[int] = []
    detect = FaceDetector.detect

    def counted(self: FaceDetector, rgb: np.ndarray, threshold: float) -> object:
        seen.append(1)
        return detect(self, rgb, threshold)

    monkeypatch.setattr(FaceDetector, "detect", counted)
    return seen


def run(source: Iterator[Frame], every: int = 12) -> list[Frame]:
    stage = FacesStage(FacesOptions(every=every, search_every=every))
    stage.open()
    done = [ready for frame in source for ready in stage.process(frame)] + list(stage.flush())
    stage.close()
    return done


def grown(count: int, place: Callable[[int], tuple[int, int, int] | None]) -> Iterator[Frame]:
    """Pictures with the head at `place(index)`: its corner and side."""
    for index in range(count):
        rgb, at = backdrop(WIDTH, HEIGHT).copy(), place(index)
        if at is not None:
            x, y, side = at
            part = np.asarray(Image.fromarray(head()).resize((side, side)))[: HEIGHT - y, : WIDTH - x]
            rgb[y : y + part.shape[0], x : x + part.shape[1]] = part
        yield as_frame(rgb, index)


def face_in(x: int, y: int, side: int) -> Box:
    box, scale = FACE_IN_HEAD, side / 200
    return Box(x + box.x0 * scale, y + box.y0 * scale, x + box.x1 * scale, y + box.y1 * scale)


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(lambda i: (200, 10, min(340, 120 + 20 * (i - 2))) if i >= 2 else None, id="comes nearer"),
        pytest.param(lambda i: (max(20, 420 - 45 * (i - 2)), 80, 200) if i >= 2 else None, id="runs"),
    ],
)
def test_a_face_that_changes_quickly_is_covered_from_where_it_comes_in(
    place: Callable[[int], tuple[int, int, int] | None], detections: list[int]
) -> None:
    for frame in run(grown(13, place)):
        at = place(frame.index)
        assert bool(frame.faces) == (at is not None), frame.index
        if at is not None:
            assert max(face.box.iou(face_in(*at)) for face in frame.faces) > 0.4, frame.index
    assert len(detections) <= 2 + 5


def test_a_face_that_cuts_in_takes_one_detection_more(detections: list[int]) -> None:
    done = run(frames(13, lambda i: [(200, 80)] if i >= 5 else []))
    assert [frame.index for frame in done if frame.faces] == list(range(5, 13))
    assert len(detections) == 2 + 1


def test_with_few_pictures_a_second_detections_are_half_a_second_apart(detections: list[int]) -> None:
    slow = Fraction(1, 10)
    run(replace(frame, time_base=slow) for frame in frames(21, lambda i: [(200, 80)]))
    assert len(detections) == 5


def test_where_another_face_takes_the_place_the_number_is_new_from_that_picture() -> None:
    def source() -> Iterator[Frame]:
        for index in range(16):
            rgb = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
            part = np.asarray(Image.fromarray(head()).resize((110, 110)))
            rgb[100:210, 200:310] = part if index < 7 else part[:, ::-1] // 2 + 60
            yield as_frame(rgb, index)

    numbers = [{face.track for face in frame.faces} for frame in run(source())]
    assert numbers[:7] == [{1}] * 7
    assert all(numbers[7:])
    assert all(1 not in found for found in numbers[7:])
