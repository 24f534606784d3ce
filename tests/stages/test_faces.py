"""The faces stage on scenes with a real portrait: found, followed, lost, cut, turned."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from stream_guard.errors import EngineError, UnknownNameError
from stream_guard.media import pixels
from stream_guard.stages.detectors import FaceDetector
from stream_guard.stages.faces import FacesOptions, FacesStage
from stream_guard.types import Frame

from ..support.engines import disrupter_model
from ..support.pictures import raw_samples
from ..support.scenes import face_at, frames

GOOD_IOU = 0.6


@pytest.fixture
def detections(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the copies that detectors were given, in order."""
    seen: list[tuple[int, ...]] = []
    detect = FaceDetector.detect

    def counted(self: FaceDetector, rgb: np.ndarray, threshold: float) -> object:
        seen.append(rgb.shape)
        return detect(self, rgb, threshold)

    monkeypatch.setattr(FaceDetector, "detect", counted)
    return seen


def run(source: Iterable[Frame], **options: object) -> list[Frame]:
    stage = FacesStage(FacesOptions(**options))
    stage.open()
    try:
        out = [done for frame in source for done in stage.process(frame)]
        return out + list(stage.flush())
    finally:
        stage.close()


def tracks(frame: Frame) -> set[int]:
    return {face.track for face in frame.faces}


def still(*corners: tuple[float, float]) -> Callable[[int], Iterable[tuple[float, float]]]:
    return lambda index: corners


def test_two_faces_are_followed_with_stable_numbers_and_few_detections(detections: list[tuple[int, ...]]) -> None:
    def paths(index: int) -> list[tuple[float, float]]:
        return [(40 + 5 * index, 50), (400, 100 - 2 * index)]

    done = run(frames(25, paths))
    assert [frame.index for frame in done] == list(range(25))
    assert all(frame.faces_known for frame in done)
    for frame in done:
        assert tracks(frame) == {1, 2}
        corners = sorted(paths(frame.index), key=lambda c: c[0])
        for face, corner in zip(sorted(frame.faces, key=lambda f: f.box.x0), corners, strict=True):
            assert face.box.iou(face_at(corner)) > GOOD_IOU
    assert len(detections) <= 5
    assert set(detections) == {(256, 480, 3)}


def test_with_nobody_in_sight_frames_pass_and_are_known(detections: list[tuple[int, ...]]) -> None:
    done = run(frames(12, still()), search_every=4)
    assert len(done) == 12
    assert all(frame.faces_known and not frame.faces for frame in done)
    assert len(detections) == 4


@pytest.mark.parametrize("lookahead", [True, False])
def test_a_face_that_comes_in_is_covered_from_the_start_with_lookahead(lookahead: bool) -> None:
    def enters(index: int) -> list[tuple[float, float]]:
        return [(220, 80)] if index >= 10 else []

    done = run(frames(30, enters), every=8, search_every=8, lookahead=lookahead)
    seen = [frame.index for frame in done if frame.faces]
    assert seen == list(range(10 if lookahead else 16, 30))
    assert all(frame.faces[0].box.iou(face_at((220, 80))) > GOOD_IOU for frame in done if frame.faces)


def test_without_lookahead_each_frame_comes_at_once() -> None:
    stage = FacesStage(FacesOptions(lookahead=False))
    stage.open()
    for frame in frames(10, still((100, 50))):
        assert [done.index for done in stage.process(frame)] == [frame.index]
    assert list(stage.flush()) == []
    stage.close()


def test_lookahead_holds_no_more_than_one_round() -> None:
    stage = FacesStage(FacesOptions(every=6))
    stage.open()
    held = 0
    for frame in frames(40, still((100, 50))):
        held += 1 - len(stage.process(frame))
        assert 0 <= held <= 6
    assert len(list(stage.flush())) == held
    stage.close()


def test_a_face_that_leaves_is_dropped_after_a_short_grace() -> None:
    def leaves(index: int) -> list[tuple[float, float]]:
        return [(200, 80)] if index < 12 else []

    done = run(frames(40, leaves), every=8)
    assert all(frame.faces for frame in done[:12])
    assert not any(frame.faces for frame in done[28:])


def test_a_face_that_one_detection_misses_stays_protected(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    detect = FaceDetector.detect

    def blind_once(self: FaceDetector, rgb: np.ndarray, threshold: float) -> object:
        calls.append(1)
        return [] if len(calls) == 3 else detect(self, rgb, threshold)

    monkeypatch.setattr(FaceDetector, "detect", blind_once)
    done = run(frames(40, lambda index: [(100 + 3 * index, 80)]))
    assert [tracks(frame) for frame in done] == [{1}] * 40


def test_a_face_that_walks_out_of_the_picture_is_cut_to_it_and_ends() -> None:
    done = run(frames(40, lambda index: [(420 + 8 * index, 80)]))
    for frame in done:
        for face in frame.faces:
            assert face.box.x1 <= 640
            assert face.box.x0 >= 0
    assert done[5].faces
    assert not done[-1].faces


@pytest.mark.parametrize("lookahead", [True, False])
def test_a_cut_keeps_no_stale_box_and_gives_new_numbers(lookahead: bool) -> None:
    def corners(index: int) -> list[tuple[float, float]]:
        return [(20, 40)] if index < 13 else [(400, 120)]

    done = run(frames(26, corners, place=lambda index: index // 13), lookahead=lookahead)
    for frame in done:
        assert tracks(frame) == ({1} if frame.index < 13 else {2})
        assert frame.faces[0].box.iou(face_at(corners(frame.index)[0])) > GOOD_IOU


def test_a_cut_to_an_empty_scene_drops_the_face_at_once() -> None:
    done = run(frames(20, lambda i: [(200, 80)] if i < 11 else [], place=lambda i: int(i >= 11)))
    assert [bool(frame.faces) for frame in done] == [True] * 11 + [False] * 9


def test_a_face_that_came_in_just_before_a_cut_is_covered() -> None:
    def corners(index: int) -> list[tuple[float, float]]:
        return [(200, 80)] if 10 <= index < 13 else []

    done = run(frames(24, corners, place=lambda i: int(i >= 13)), search_every=8)
    assert [frame.index for frame in done if frame.faces] == [10, 11, 12]


def test_small_copies_keep_the_picture_as_it_is() -> None:
    source = list(frames(9, still((100, 50))))
    before = [raw_samples(frame.picture) for frame in source]
    for frame, kept in zip(run(source), before, strict=True):
        assert all(np.array_equal(samples, kept[role]) for role, samples in raw_samples(frame.picture).items())


@pytest.mark.parametrize("format", ["yuv420p10le", "nv12", "gray", "rgb24", "pal8", "yuv444p"])
def test_faces_are_found_in_any_format(format: str) -> None:
    source = frames(2, still((200, 80)), format="rgb24" if format == "pal8" else format)
    if format == "pal8":
        source = (_paletted(frame) for frame in source)
    assert all(len(frame.faces) == 1 for frame in run(source))


@pytest.mark.parametrize(("width", "height"), [(641, 361), (200, 200), (202, 360)])
def test_odd_small_and_upright_pictures(width: int, height: int) -> None:
    done = run(frames(3, still((0, 0)), size=(width, height)))
    assert all(frame.faces[0].box.iou(face_at((0, 0))) > 0.5 for frame in done)


def test_a_picture_size_that_changes_in_mid_stream() -> None:
    first = list(frames(5, still((200, 80))))
    second = list(frames(5, still((20, 20)), size=(320, 240)))
    done = run(first + second)
    assert [len(frame.faces) for frame in done] == [1] * 10
    assert done[7].faces[0].box.iou(face_at((20, 20))) > GOOD_IOU


def test_a_file_detector_can_be_named(shared: Path) -> None:
    yunet = shared / "weights" / "yunet_n_320_320.onnx"
    done = run(frames(6, still((200, 80))), detector=str(yunet), threshold=0.6)
    assert all(frame.faces[0].box.iou(face_at((200, 80))) > 0.5 for frame in done)


def test_a_detector_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(disrupter_model())
    for name, error, message in [
        (str(tmp_path / "other.onnx"), EngineError, r"no face detector that is understood \(CenterFace, YuNet\)"),
        (str(tmp_path / "missing.onnx"), EngineError, "can't read the detector .*missing.onnx: No such file"),
        ("centreface", UnknownNameError, "unknown engine 'centreface'; choose one of: centerface"),
    ]:
        with pytest.raises(error, match=message):
            FacesStage(FacesOptions(detector=name)).open()


def test_it_says_which_detector_it_runs() -> None:
    stage = FacesStage(FacesOptions(backend="onnxruntime"))
    assert stage.about() == {}
    stage.open()
    about = stage.about()
    assert (about["engine"], about["backend"], len(about["sha256"])) == ("centerface", "onnxruntime", 64)
    stage.close()
    assert stage.about() == {}


def test_every_option_is_described() -> None:
    for name, option in FacesOptions.model_fields.items():
        assert option.description, name


def _paletted(frame: Frame) -> Frame:
    from dataclasses import replace

    import av

    rgb = pixels.small_rgb(frame.picture, 640, 360)
    picture = av.VideoFrame(640, 360, "pal8")
    lines = np.frombuffer(picture.planes[0], np.uint8).reshape(360, -1)
    lines[:, :640] = rgb[:, :, 1]
    np.frombuffer(picture.planes[1], "<u4")[:] = 0xFF000000 + np.arange(256) * 0x010101
    return replace(frame, picture=picture)
