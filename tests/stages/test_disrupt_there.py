"""The disrupt stage on pictures in a device's memory, here the processor's tensors: the same faces and samples."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from stream_guard.config import OnFailure
from stream_guard.media import device
from stream_guard.policy import FailurePolicy
from stream_guard.stages.disrupt import DisruptOptions, DisruptStage
from stream_guard.types import Box, Face, Frame

from ..support.engines import EPSILON, write_disrupter
from ..support.pictures import noise, paint, raw_samples
from ..support.scenes import TIME_BASE

torch = pytest.importorskip("torch")

FACES = (Box(90, 60, 130, 110), Box(190, 100, 240, 160), Box(20, 20, 25, 26))
"""The first two overlap once their guard regions are taken; the last is too small."""


def framed(picture: av.VideoFrame, *boxes: Box, index: int = 0) -> Frame:
    faces = tuple(Face(number, box, 0.9) for number, box in enumerate(boxes, 1))
    return Frame(picture, pts=index, time_base=TIME_BASE, index=index, faces=faces, faces_known=True)


def opened(folder: Path, behaviour: str = "follows", **options: Any) -> DisruptStage:
    stage = DisruptStage(DisruptOptions(engine=str(write_disrupter(folder, behaviour)), **options))
    stage.open()
    return stage


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every picture counts as lying on a device; its tensors are the processor's."""
    monkeypatch.setattr(device, "lies_on_device", lambda picture: True)


def both(
    folder: Path, monkeypatch: pytest.MonkeyPatch, behaviour: str, format: str, **options: Any
) -> tuple[list[Frame], list[Frame]]:
    """The same three moving pictures through the stage: here, and there."""
    runs = []
    for on_device in (False, True):
        stage = opened(folder, behaviour, **options)
        done = []
        with monkeypatch.context() as patch:
            patch.setattr(device, "lies_on_device", lambda picture, answer=on_device: answer)
            for index in range(3):
                boxes = [box.moved(3 * index, 2 * index) for box in FACES]
                done += stage.process(framed(paint(format, 320, 240), *boxes, index=index))
        stage.close()
        runs.append(done)
    return runs[0], runs[1]


@pytest.mark.parametrize("options", [{}, {"hold": 2, "strength": 1.5}], ids=str)
@pytest.mark.parametrize("format", ["nv12", "p010le", "yuv420p"])
def test_faces_and_samples_are_those_of_the_processor(
    format: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = both(tmp_path, monkeypatch, "follows", format, **options)
    before = raw_samples(paint(format, 320, 240))
    for expected, got in zip(here, there, strict=True):
        assert got.faces == expected.faces
        assert [face.reason for face in got.faces] == ["", "", "too_small"]
        wanted, found = raw_samples(expected.picture), raw_samples(got.picture)
        for role in wanted:
            off, changed = np.abs(found[role] - wanted[role]), wanted[role] != before[role]
            assert off.max() <= 1
            assert np.count_nonzero(off) <= 0.02 * np.count_nonzero(changed)


@pytest.mark.parametrize("behaviour", ["nan", "zero", "overrun"])
def test_engines_that_fail_or_exceed_are_judged_alike(
    behaviour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = both(tmp_path, monkeypatch, behaviour, "nv12")
    assert [frame.faces for frame in there] == [frame.faces for frame in here]
    moved = np.abs(raw_samples(there[0].picture)["Y"] - raw_samples(paint("nv12", 320, 240))["Y"])
    assert moved.max() == (round(EPSILON * 219) if behaviour == "overrun" else 0)


class _Fed:
    """A session that takes tensors; each time it gives the same small change, or raises."""

    backend, inputs, outputs = "fed", ("face",), ("delta",)

    def __init__(self, trouble: Exception | None = None) -> None:
        self.trouble, self.fed = trouble, 0

    def run_on_device(self, feeds: dict[str, Any]) -> dict[str, Any]:
        self.fed += 1
        if self.trouble is not None:
            raise self.trouble
        assert isinstance(feeds["face"], torch.Tensor)
        return {"delta": torch.full((len(feeds["face"]), 3, 8, 8), EPSILON)}

    def run(self, feeds: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError("the crops were downloaded")

    def close(self) -> None:
        self.fed = -1


@pytest.mark.usefixtures("there")
def test_a_session_that_takes_tensors_is_fed_on_the_device_and_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, fed = opened(tmp_path, hold=2), _Fed()
    monkeypatch.setattr(stage, "_session", fed)
    for index in range(3):
        (frame,) = stage.process(framed(paint("nv12", 320, 240), *FACES[:2], index=index))
        assert not frame.unprotected
    assert fed.fed == 2
    stage.reset()
    (frame,) = stage.process(framed(paint("nv12", 320, 240), *FACES[:1]))
    assert fed.fed == 3


@pytest.mark.usefixtures("there")
def test_a_gpu_that_is_lost_leaves_faces_unprotected_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stage = opened(tmp_path)
    monkeypatch.setattr(stage, "_session", _Fed(RuntimeError("CUDA error: the launch timed out\nmore")))
    for index in range(2):
        (frame,) = stage.process(framed(paint("nv12", 320, 240), *FACES[:2], index=index))
        assert [face.reason for face in frame.faces] == ["engine_failed"] * 2
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "the launch timed out" in caplog.messages[0]


@pytest.mark.usefixtures("there")
def test_a_format_that_can_not_be_shared_goes_the_processors_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "planes_of", lambda picture, writable=False: None)
    stage = opened(tmp_path)
    (frame,) = stage.process(framed(paint("yuv444p", 320, 240), *FACES[:2]))
    assert not frame.unprotected
    assert not np.array_equal(raw_samples(frame.picture)["Y"], raw_samples(paint("yuv444p", 320, 240))["Y"])


@pytest.mark.usefixtures("there")
def test_a_face_that_fails_there_is_replaced_by_the_last_safe_picture_or_by_black() -> None:
    policy = FailurePolicy(OnFailure.BLOCK, protects=True)
    first, second = paint("nv12", 64, 48), noise("nv12", 64, 48)
    assert policy.apply(framed(first, FACES[0])) is not None
    assert set(raw_samples(first)["Y"].flat) == {16}
    safe = Frame(noise("nv12", 64, 48, 3), 1, TIME_BASE, 1, faces_known=True)
    assert policy.apply(safe) is None
    policy.apply(framed(second, FACES[0], index=2))
    assert np.array_equal(raw_samples(second)["Cb"], raw_samples(safe.picture)["Cb"])
