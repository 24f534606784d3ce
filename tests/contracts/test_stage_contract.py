"""What every stage promises. A new built-in stage is tested by being in BUILT_IN; how to make one stands in MAKERS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from stream_guard.stages.base import Stage, StageOptions
from stream_guard.stages.detect import DetectOptions, DetectStage
from stream_guard.stages.disrupt import DisruptOptions, DisruptStage
from stream_guard.stages.faces import FacesOptions, FacesStage
from stream_guard.stages.magdr import MagdrOptions, MagdrStage
from stream_guard.stages.registry import BUILT_IN
from stream_guard.types import Face, Frame

from ..support.detector_engines import write_detector
from ..support.engines import write_disrupter
from ..support.magdr_engines import write_engines
from ..support.scenes import face_at, frames

CORNER = (100, 60)

MAKERS: dict[str, Callable[[Path], Stage]] = {
    "faces": lambda folder: FacesStage(FacesOptions(size=320)),
    "magdr": lambda folder: magdr_stage(folder),
    "detect": lambda folder: DetectStage(DetectOptions(engine=str(write_detector(folder)), max_batch=3)),
    "disrupt": lambda folder: DisruptStage(DisruptOptions(engine=str(write_disrupter(folder)))),
}


def magdr_stage(folder: Path) -> Stage:
    made = write_engines(folder)
    return MagdrStage(
        MagdrOptions(
            parser=str(made["parser"]), probes=[str(made["probe"])], calibration=str(made["calibration"]), every=5
        )
    )


@pytest.fixture(params=[name for name, _ in BUILT_IN])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    return MAKERS[request.param](tmp_path)


@pytest.fixture
def opened(stage: Stage) -> Iterator[Stage]:
    stage.open()
    yield stage
    stage.close()


def source(count: int) -> Iterator[Frame]:
    """Frames as a stage in the middle of a pipeline gets them, with the face already known."""
    for frame in frames(count, lambda index: [CORNER], size=(320, 256)):
        yield replace(frame, faces=(Face(1, face_at(CORNER), 0.9),), faces_known=True)


def fed(stage: Stage, count: int) -> list[Frame]:
    return [*(done for frame in source(count) for done in stage.process(frame)), *stage.flush()]


def test_it_is_named_described_and_its_options_too(stage: Stage) -> None:
    assert stage.name
    assert stage.description.endswith(".")
    assert issubclass(stage.Options, StageOptions)
    assert all(option.description for option in stage.Options.model_fields.values())


def test_unknown_options_are_refused_and_known_ones_frozen(stage: Stage) -> None:
    with pytest.raises(ValidationError):
        stage.Options(no_such_option=1)
    with pytest.raises(ValidationError):
        stage.options.backend = "other"


def test_every_frame_comes_out_once_in_order_with_its_time(opened: Stage) -> None:
    done = fed(opened, 20)
    assert [(frame.index, frame.pts, frame.time_base) for frame in done] == [
        (frame.index, frame.pts, frame.time_base) for frame in source(20)
    ]
    assert all(frame.faces_known for frame in done)


def test_the_picture_keeps_its_format_size_and_tags(opened: Stage) -> None:
    for before, after in zip(source(3), fed(opened, 3), strict=True):
        for trait in ("width", "height", "pts", "time_base", "colorspace", "color_range"):
            assert getattr(after.picture, trait) == getattr(before.picture, trait)
        assert after.picture.format.name == before.picture.format.name


def test_an_empty_stream_flushes_to_nothing(opened: Stage) -> None:
    assert list(opened.flush()) == []


def test_flushing_leaves_nothing_behind(opened: Stage) -> None:
    fed(opened, 5)
    assert list(opened.flush()) == []


def test_two_streams_one_after_the_other_do_not_meet(stage: Stage) -> None:
    runs = []
    for _ in range(2):
        stage.open()
        runs.append([frame.faces for frame in fed(stage, 6)])
        stage.close()
    assert [[f.box for f in faces] for faces in runs[0]] == [[f.box for f in faces] for faces in runs[1]]


def test_closing_is_fine_without_opening_and_twice(stage: Stage) -> None:
    stage.close()
    stage.open()
    stage.close()
    stage.close()
    assert stage.about() == {}


def test_it_says_what_it_loaded(opened: Stage) -> None:
    assert set(opened.about()) <= {"engine", "backend", "sha256"}
