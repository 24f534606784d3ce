"""Video that a player turns or mirrors: networks see faces as the viewer does, and samples change where they look."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from stream_guard.audit.run import AuditOptions, audit
from stream_guard.magdr.engines import Parser
from stream_guard.media import device
from stream_guard.media.orientation import orientation_of
from stream_guard.stages.base import Stage
from stream_guard.stages.classifier import FaceClassifier
from stream_guard.stages.detect import DetectOptions, DetectStage
from stream_guard.stages.detectors import Detection
from stream_guard.stages.disrupt import DisruptOptions, DisruptStage
from stream_guard.stages.faces import FacesStage
from stream_guard.stages.magdr import MagdrOptions, MagdrStage
from stream_guard.talking_head import talking_head
from stream_guard.types import UPRIGHT, Box, Face, Frame, Orientation, centred_region, guard_region, head_region

from ..support.detector_engines import write_detector
from ..support.engines import EPSILON, write_disrupter
from ..support.magdr_engines import write_engines
from ..support.pictures import raw_samples
from ..support.scenes import TIME_BASE
from ..support.turned import MATRICES, Matrix, decoded, shown, stored_box, turned_file, turned_picture, with_matrix

SIZE = (288, 352)
FACE = Box(110, 80, 210, 200)
AS_STORED = MATRICES["as stored"]
all_matrices = pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES.keys())


def scene(seed: int | None = None) -> np.ndarray:
    """Bright at the top left, reddish to the right: no turn of it looks like it. With a seed there is coarse grain."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] / max(SIZE)
    rgb = np.stack([60 + 150 * x, 200 - 150 * y, 200 - 120 * x], axis=-1)
    if seed is not None:
        rgb += np.random.default_rng(seed).normal(0, 60, (*SIZE, 1))
    return rgb.clip(0, 255).astype(np.uint8)


def framed(rgb: np.ndarray, matrix: Matrix, box: Box = FACE) -> Frame:
    """As a source yields it, with the face where the stored picture has it."""
    faces = (Face(1, stored_box(box, rgb.shape[:2], matrix), 0.9),)
    return Frame(turned_picture(rgb, matrix), 0, TIME_BASE, 0, faces=faces, faces_known=True)


def brightness(picture: av.VideoFrame, matrix: Matrix) -> np.ndarray:
    """The picture's Y as a player shows it."""
    return shown(raw_samples(picture)["Y"], matrix)


def alike(crop: np.ndarray, other: np.ndarray) -> bool:
    """Equal but for a region's rounding to whole pixels."""
    return crop.shape == other.shape and float(np.abs(crop.astype(float) - other).mean()) < 1.5


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


class Corner:
    """A disrupter that brightens the upper left quarter of what it sees, whatever that is."""

    backend, inputs, outputs = "corner", ("face",), ("delta",)

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def run(self, feeds: dict[str, Any]) -> dict[str, Any]:
        self.seen += list(feeds["face"])
        delta = np.zeros((len(feeds["face"]), 3, 32, 32), np.float32)
        delta[:, 0, :16, :16] = EPSILON
        return {"delta": delta}

    def close(self) -> None:
        self.seen.clear()


class TestMatrix:
    @all_matrices
    def test_it_is_read_whole_and_after_the_picture_was_copied_too(self, matrix: Matrix) -> None:
        picture = turned_picture(scene(), matrix)
        found = orientation_of(picture)
        for side in (FACE, Box(10, 20, 90, 60)):
            kept = stored_box(side, SIZE, matrix)
            for region in (guard_region, head_region, lambda box, way=UPRIGHT: centred_region(box, 1.3, way)):
                upright, here = region(side), region(kept, found)
                rounded = stored_box(_grown(upright), _grown_size(), matrix).moved(-100, -100)
                assert here.iou(rounded) > 0.9
        picture.make_writable()
        assert orientation_of(picture) == found

    @pytest.mark.parametrize(("degrees", "turns"), [(0, 0), (30, 0), (80, 1), (100, 1), (180, 2), (-95, 3), (-20, 0)])
    def test_other_angles_go_to_the_nearest_quarter(self, degrees: float, turns: int) -> None:
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        data = turned_file(scene(), AS_STORED)
        assert orientation_of(decoded(with_matrix(data, (cosine, -sine, sine, cosine)))) == Orientation(turns)
        mirrored = decoded(with_matrix(data, (-cosine, -sine, -sine, cosine)))
        assert orientation_of(mirrored) == Orientation(turns, mirrored=True)

    def test_a_matrix_that_shows_nothing_turns_nothing(self) -> None:
        assert orientation_of(decoded(with_matrix(turned_file(scene(), AS_STORED), (0, 0, 0, 1)))) == UPRIGHT


@all_matrices
def test_the_detector_sees_the_picture_as_shown_and_boxes_are_as_it_is_stored(matrix: Matrix) -> None:
    rgb = np.full((*SIZE, 3), 90, np.uint8)
    rgb[80:200, 110:210] = 200
    rgb[80:120, 110:140] = 255
    seen: list[np.ndarray] = []

    class Bright:
        def detect(self, picture: np.ndarray, threshold: float) -> list[Detection]:
            seen.append(picture)
            rows, columns = np.nonzero(picture[:, :, 1] > 150)
            down, across = picture.shape[:2]
            box = Box(columns.min() / across, rows.min() / down, (columns.max() + 1) / across, (rows.max() + 1) / down)
            return [Detection(box, 0.9)]

    for way in (AS_STORED, matrix):
        stage = FacesStage()
        stage._detector = Bright()
        frame = replace(framed(rgb, way), faces=(), faces_known=False)
        (done,) = [*stage.process(frame), *stage.flush()]
        (face,) = done.faces
        assert face.box.iou(stored_box(FACE, SIZE, way)) > 0.9
    assert alike(seen[1], seen[0])


@all_matrices
@pytest.mark.parametrize("there", [False, True], ids=["processor", "device"])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_disrupter_sees_and_writes_upright(
    batch: int, there: bool, matrix: Matrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if there:
        pytest.importorskip("torch")
        monkeypatch.setattr(device, "lies_on_device", lambda picture: True)
    changes, session = [], Corner()
    for way in (AS_STORED, matrix):
        stage = DisruptStage(DisruptOptions(engine=str(write_disrupter(tmp_path)), batch=batch))
        stage.open()
        stage._session = session
        frame = framed(scene(), way)
        before = brightness(frame.picture, way)
        (done,) = [*stage.process(frame), *stage.flush()]
        assert not done.unprotected
        changes.append(brightness(done.picture, way) - before)
    plain, turned = (change > 0 for change in changes)
    assert alike(255 * session.seen[1], 255 * session.seen[0])
    assert overlap(plain, turned) > 0.95
    rows, columns = np.nonzero(turned)
    assert rows.min() < FACE.y0 - 20, "the region reaches over the hair"
    assert rows.max() < FACE.center[1] + 5
    assert columns.max() < FACE.center[0] + 10


@all_matrices
def test_the_deepfake_detector_sees_faces_upright(
    matrix: Matrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    monkeypatch.setattr(FaceClassifier, "log_odds", lambda self, crops: seen.extend(crops) or [0.0] * len(crops))
    for way in (AS_STORED, matrix):
        stage = DetectStage(DetectOptions(engine=str(write_detector(tmp_path)), backend="onnxruntime"))
        stage.open()
        stage.process(framed(scene(), way))
    assert alike(seen[1], seen[0])


class TestMagdr:
    @all_matrices
    def test_its_networks_see_faces_upright(
        self, matrix: Matrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen, classes = [], Parser.classes
        monkeypatch.setattr(Parser, "classes", lambda self, image: seen.append(image) or classes(self, image))
        for way in (AS_STORED, matrix):
            _magdr(tmp_path).process(framed(scene(), way))
        assert alike(127.5 * seen[1], 127.5 * seen[0])

    @all_matrices
    def test_what_it_restores_is_written_where_it_was_seen(self, matrix: Matrix, tmp_path: Path) -> None:
        changes = []
        for way in (AS_STORED, matrix):
            stage = _magdr(tmp_path, mode="restore")
            stage._recipe = lambda *ignored: Marking()
            frame = framed(scene(seed=1), way)
            before = brightness(frame.picture, way)
            (done,) = stage.process(frame)
            assert done.verdicts[0].reason == "restored"
            changes.append(np.abs(brightness(done.picture, way) - before) > 5)
        assert overlap(*changes) > 0.9
        rows, columns = np.nonzero(changes[1])
        assert rows.max() < FACE.center[1] + 5
        assert columns.max() < FACE.center[0] + 10


class Marking:
    """A recipe that darkens the upper left quarter."""

    changes = True

    def __call__(self, crop: np.ndarray, masks: np.ndarray) -> np.ndarray:
        half = len(crop) // 2
        made = crop.copy()
        made[:half, :half] //= 2
        return made


@all_matrices
def test_the_audit_lets_generators_edit_upright_heads(matrix: Matrix, tmp_path: Path) -> None:
    seen: list[list[np.ndarray]] = []

    class Probe:
        name, heading, surrogate, size, conditions, target = "p", "P", True, 64, ("c",), 0.8

        def edit(self, crops: list[np.ndarray]) -> list[np.ndarray]:
            seen.append(crops)
            return [crop[None].transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1 for crop in crops]

    class Still(Stage):
        name, description = "still", "one face"

        def process(self, frame: Frame) -> Iterable[Frame]:
            yield replace(frame, faces=(Face(1, stored_box(FACE, SIZE, way), 1.0),), faces_known=True)

    shapes = set()
    for way in (AS_STORED, matrix):
        path = tmp_path / "clip.mp4"
        path.write_bytes(turned_file(scene(), way))
        result = audit(path, path, [Probe()], options=AuditOptions(moments=1), faces=Still())
        shapes.add(tuple((p.width, p.height) for p in result.frame_pictures))
    assert all(alike(crop, seen[0][0]) for crops in seen for crop in crops)
    assert shapes == {((SIZE[1], SIZE[0]),) * 2}, "the report shows pictures as a player does"


@all_matrices
def test_the_shipped_disrupter_does_the_same_to_a_turned_portrait(matrix: Matrix) -> None:
    rgb, box = next(talking_head(512, 288, 0.1, 25)), Box(172, 36, 276, 172)
    changes = []
    for way in (AS_STORED, matrix):
        stage = DisruptStage()
        stage.open()
        frame = framed(rgb, way, box)
        before = brightness(frame.picture, way)
        (done,) = stage.process(frame)
        stage.close()
        assert not done.unprotected
        changes.append(brightness(done.picture, way) - before)
    upright, turned = changes
    assert np.abs(upright).mean() > 0.1
    assert np.abs(turned - upright).mean() < 0.35 * np.abs(upright).mean()


def _magdr(folder: Path, **options: Any) -> MagdrStage:
    made = write_engines(folder)
    values = {"parser": str(made["parser"]), "probes": [str(made["probe"])], "calibration": str(made["calibration"])}
    stage = MagdrStage(MagdrOptions(**{**values, "backend": "onnxruntime", **options}))
    stage.open()
    return stage


def _grown(box: Box) -> Box:
    """In whole pixels of a picture with a margin of 100, so that regions beyond the picture can be turned."""
    return Box(round(box.x0) + 100, round(box.y0) + 100, round(box.x1) + 100, round(box.y1) + 100)


def _grown_size() -> tuple[int, int]:
    return SIZE[0] + 200, SIZE[1] + 200
