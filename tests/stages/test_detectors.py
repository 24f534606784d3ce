"""Decoding, suppression, sizes and turns of face detectors."""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_guard.errors import EngineError
from stream_guard.stages.detectors import (
    decode_centerface,
    decode_yunet,
    detector_size,
    keep_best,
    open_detector,
    turned_back,
)
from stream_guard.stages.faces import FacesStage
from stream_guard.types import Box, Frame

from ..support.scenes import backdrop, face_at, with_heads


def test_centerface_is_decoded_as_its_authors_do() -> None:
    rng = np.random.default_rng(0)
    heat = rng.random((1, 1, 8, 12)).astype(np.float32)
    scale = rng.normal(1, 0.3, (1, 2, 8, 12)).astype(np.float32)
    offset = rng.normal(0, 0.3, (1, 2, 8, 12)).astype(np.float32)
    boxes, scores = decode_centerface({"537": heat, "538": scale, "539": offset}, (32, 48), 0.7)
    expected = []
    for row in range(8):
        for column in range(12):
            if heat[0, 0, row, column] > 0.7:
                height, width = (np.exp(scale[0, i, row, column]) * 4 for i in (0, 1))
                x = (column + offset[0, 1, row, column] + 0.5) * 4
                y = (row + offset[0, 0, row, column] + 0.5) * 4
                expected.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    np.testing.assert_allclose(boxes, expected, rtol=1e-5)
    assert (scores > 0.7).all()
    assert len(scores) == len(expected) > 5


def test_yunet_is_decoded_as_its_authors_do() -> None:
    outputs = {}
    for stride in (8, 16, 32):
        cells = (64 // stride) * (96 // stride)
        for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4)):
            outputs[f"{kind}_{stride}"] = np.zeros((1, cells, width), np.float32)
    outputs["cls_16"][0, 8], outputs["obj_16"][0, 8] = 0.81, 1.2  # row 1, column 2 of 4 x 6 cells
    outputs["bbox_16"][0, 8] = [0.5, 0.25, np.log(2), np.log(3)]
    boxes, scores = decode_yunet(outputs, (64, 96), 0.5)
    np.testing.assert_allclose(boxes, [[24, -4, 56, 44]], atol=1e-4)
    np.testing.assert_allclose(scores, [0.9], atol=1e-6)


@given(st.lists(st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 30)] * 2, st.floats(0, 1)), max_size=12))
def test_no_two_kept_boxes_overlap_and_none_is_dropped_without_cause(
    faces: list[tuple[int, int, int, int, float]],
) -> None:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in faces], np.float32).reshape(-1, 4)
    scores = np.array([face[4] for face in faces], np.float32)
    kept = keep_best(boxes, scores, 0.3)
    as_box = [Box(*(float(v) for v in row)) for row in boxes]
    for position, i in enumerate(kept):
        assert all(as_box[i].iou(as_box[j]) <= 0.3 + 1e-6 for j in kept[:position])
    for i in set(range(len(faces))) - set(kept):
        assert any(as_box[i].iou(as_box[j]) > 0.3 - 1e-6 and scores[j] >= scores[i] for j in kept)


@pytest.mark.parametrize(
    ("size", "copy"),
    [((1280, 720), (480, 256)), ((480, 908), (256, 480)), ((256, 256), (256, 256)), ((20, 3000), (32, 480))],
)
def test_the_copy_keeps_the_shape_in_multiples_of_32(size: tuple[int, int], copy: tuple[int, int]) -> None:
    assert detector_size(*size, 480) == copy


@given(
    st.integers(-4, 7),
    st.floats(0, 0.8),
    st.floats(0, 0.8),
    st.floats(0.05, 0.2),
    st.floats(0.05, 0.2),
)
def test_a_box_turns_back_as_the_picture_was_turned(
    quarters: int, x: float, y: float, width: float, height: float
) -> None:
    picture = np.zeros((200, 300), np.uint8)
    picture[round(y * 200) : round((y + height) * 200), round(x * 300) : round((x + width) * 300)] = 1
    turned = np.rot90(picture, quarters)
    rows, columns = np.nonzero(turned)
    seen = Box(
        columns.min() / turned.shape[1],
        rows.min() / turned.shape[0],
        (columns.max() + 1) / turned.shape[1],
        (rows.max() + 1) / turned.shape[0],
    )
    assert turned_back(seen, quarters).iou(Box(x, y, x + width, y + height)) > 0.75


def test_a_blank_picture_has_no_faces() -> None:
    detector = open_detector("centerface", "auto", 1)
    assert detector.detect(np.full((64, 96, 3), 128, np.uint8), 0.3) == []
    detector.close()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_no_empty_picture(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = open_detector("centerface", "onnxruntime", 1)
    run = detector._session.run
    monkeypatch.setattr(detector._session, "run", lambda feeds: {k: v * value for k, v in run(feeds).items()})
    with pytest.raises(EngineError, match="is not finite"):
        detector.detect(np.full((64, 96, 3), 128, np.uint8), 0.3)
    detector.close()


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_video_is_looked_at_upright_and_boxes_are_as_it_is_stored(quarters: int) -> None:
    upright = with_heads(backdrop(480, 360), [(40, 100)])
    stored = np.ascontiguousarray(np.rot90(upright, -quarters))
    shown = _decoded(_turned_file(stored, quarters))
    assert round(shown.picture.rotation / 90) % 4 == quarters
    stage = FacesStage()
    stage.open()
    (done,) = [*stage.process(shown), *stage.flush()]
    stage.close()
    box = face_at((40, 100))
    unit = Box(box.x0 / 480, box.y0 / 360, box.x1 / 480, box.y1 / 360)
    back = turned_back(unit, quarters)
    expected = Box(back.x0 * done.width, back.y0 * done.height, back.x1 * done.width, back.y1 * done.height)
    (face,) = done.faces
    assert face.box.iou(expected) > 0.6


def _turned_file(rgb: np.ndarray, quarters: int) -> bytes:
    """A one-picture mp4 whose track header says that a player must turn it counterclockwise by so many quarters."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *rgb.shape[:2], "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode(None))
    data = bytearray(buffer.getvalue())
    # ISO 14496-12: the matrix stands 40 bytes behind the version and flags of tkhd; 16.16 fixed point, row by row.
    cosine, sine = {1: (0, -1), 2: (-1, 0), 3: (0, 1)}[quarters]
    at = data.index(b"tkhd") + 4 + 40
    matrix = (cosine * 65536, sine * 65536, 0, -sine * 65536, cosine * 65536, 0, 0, 0, 1 << 30)
    data[at : at + 36] = struct.pack(">9i", *matrix)
    return bytes(data)


def _decoded(data: bytes) -> Frame:
    with av.open(io.BytesIO(data)) as container:
        picture = next(container.decode(video=0))
    return Frame(picture, pts=0, time_base=Fraction(1, 25), index=0)
