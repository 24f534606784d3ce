"""The disrupt stage: the budget, the reasons, the held perturbation, and the lossless round trip."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from stream_guard.errors import ConfigError, EngineError, ExitCode, UnknownNameError
from stream_guard.inference import Array
from stream_guard.media.colour import colour_of
from stream_guard.media.layouts import find_layout
from stream_guard.media.pixels import snapped
from stream_guard.stages.disrupt import UNPROTECTED_REASONS, DisruptOptions, DisruptStage
from stream_guard.types import Box, Face, Frame, Protection, guard_region

from ..support.engines import EPSILON, write_disrupter
from ..support.pictures import noise, paint, raw_samples
from ..support.scenes import TIME_BASE

FACE = Box(90, 60, 130, 110)


def framed(picture: av.VideoFrame, *boxes: Box, index: int = 0) -> Frame:
    faces = tuple(Face(number, box, 0.9) for number, box in enumerate(boxes, 1))
    return Frame(picture, pts=index, time_base=TIME_BASE, index=index, faces=faces, faces_known=True)


def opened(tmp_path: Path, behaviour: str = "waves", **options: object) -> DisruptStage:
    stage = DisruptStage(DisruptOptions(engine=str(write_disrupter(tmp_path, behaviour)), **options))
    stage.open()
    return stage


def one(stage: DisruptStage, frame: Frame) -> Frame:
    (done,) = stage.process(frame)
    return done


def moved(picture: av.VideoFrame, before: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {role: np.abs(samples - before[role]) for role, samples in raw_samples(picture).items()}


def check_budget(picture: av.VideoFrame, before: dict[str, np.ndarray], boxes: list[Box], budget: float) -> None:
    """Every sample within the budget, and none changed outside the guard regions of the boxes."""
    layout = find_layout(picture.format.name)
    colour = colour_of(picture, layout)
    for component in layout.components:
        change = moved(picture, before)[component.role]
        assert 0 < change.max() <= round(budget * colour.span(component)), component.role
        for box in boxes:
            region = snapped(picture, guard_region(box))
            x0, x1 = (max(0, x >> component.sub_x) for x in (region.x0, region.x1))
            y0, y1 = (max(0, y >> component.sub_y) for y in (region.y0, region.y1))
            change[y0:y1, x0:x1] = 0
        assert not change.any()


class TestLossless:
    """What a lossless encoder delivers: inside the budget, outside the very samples of the input."""

    @pytest.mark.parametrize(
        ("codec", "format", "size"),
        [
            ("libx264", "yuv420p", (256, 192)),
            ("libx264", "yuv422p", (256, 192)),
            ("libx264", "yuv444p", (256, 192)),
            ("libx264", "yuv420p10le", (256, 192)),
            ("libx264", "yuv422p10le", (256, 192)),
            ("libx264", "nv12", (256, 192)),
            ("libx264", "yuvj420p", (256, 192)),
            ("ffv1", "yuv420p", (255, 191)),
            ("ffv1", "yuv420p10le", (255, 191)),
            ("ffv1", "yuv444p16le", (255, 191)),
            ("ffv1", "yuv411p", (257, 190)),
            ("ffv1", "bgr0", (255, 191)),
            ("ffv1", "gbrp10le", (256, 192)),
            ("rawvideo", "nv12", (254, 190)),
        ],
    )
    def test_outside_is_exact_and_inside_within_the_budget(
        self, tmp_path: Path, codec: str, format: str, size: tuple[int, int]
    ) -> None:
        boxes = [FACE, Box(200, 120, 240, 175)]
        source = [noise(format, *size, seed) for seed in range(3)]
        original = _round_trip(source, codec, format)
        stage = opened(tmp_path)
        done = [one(stage, framed(picture, *boxes, index=i)) for i, picture in enumerate(source)]
        assert all(face.protection is Protection.PROTECTED for frame in done for face in frame.faces)
        delivered = _round_trip([frame.picture for frame in done], codec, format)
        for picture, before in zip(delivered, original, strict=True):
            assert picture.format.name == before.format.name
            check_budget(picture, raw_samples(before), boxes, EPSILON)


class TestFaces:
    @pytest.mark.parametrize("strength", [0.25, 1.0, 2.0])
    def test_strength_scales_the_budget(self, tmp_path: Path, strength: float) -> None:
        picture = paint("yuv444p", 256, 192)
        before = raw_samples(picture)
        one(opened(tmp_path, strength=strength), framed(picture, FACE))
        check_budget(picture, before, [FACE], strength * EPSILON)
        assert moved(picture, before)["Y"].max() >= round(strength * EPSILON * 219) - 1

    def test_an_engine_that_exceeds_its_card_is_held_to_it(self, tmp_path: Path) -> None:
        picture = paint("yuv420p", 256, 192)
        before = raw_samples(picture)
        one(opened(tmp_path, "overrun"), framed(picture, FACE))
        check_budget(picture, before, [FACE], EPSILON)

    def test_overlapping_regions_hold_the_budget_together(self, tmp_path: Path) -> None:
        boxes = [Box(60, 60, 110, 120), Box(85, 60, 135, 120), Box(72, 80, 122, 140)]
        picture = paint("yuv420p", 256, 192)
        before = raw_samples(picture)
        done = one(opened(tmp_path, "overrun"), framed(picture, *boxes))
        assert not done.unprotected
        check_budget(picture, before, boxes, EPSILON)

    def test_the_perturbation_follows_what_is_in_the_face(self, tmp_path: Path) -> None:
        dark, light = (paint("yuv444p", 256, 192, colours=_flat(level)) for level in (0.2, 0.8))
        stage = opened(tmp_path, "follows")
        changes = []
        for picture in (dark, light):
            before = raw_samples(picture)["Y"]
            one(stage, framed(picture, FACE))
            changes.append((raw_samples(picture)["Y"] - before)[85, 110])
        assert changes[0] < 0 < changes[1]

    def test_all_faces_of_a_picture_take_one_run(self, tmp_path: Path) -> None:
        stage = opened(tmp_path)
        batches = _counted(stage)
        one(stage, framed(paint("yuv420p", 256, 192), FACE, Box(10, 10, 50, 60), Box(180, 90, 230, 150)))
        assert batches == [(3, 3, 128, 128)]

    def test_without_faces_the_picture_passes_untouched(self, tmp_path: Path) -> None:
        stage = opened(tmp_path)
        batches = _counted(stage)
        frame = framed(noise("yuv420p", 64, 64))
        before = raw_samples(frame.picture)
        assert one(stage, frame) is frame
        assert not any(change.any() for change in moved(frame.picture, before).values())
        assert batches == []

    def test_a_picture_that_is_still_referred_to_elsewhere_keeps_its_pixels(self, tmp_path: Path) -> None:
        with av.open(io.BytesIO(_encoded([paint("yuv420p", 256, 192)] * 4, "libx264", "yuv420p"))) as container:
            pictures = list(container.decode(video=0))
        stage = opened(tmp_path)
        before = raw_samples(pictures[1])
        one(stage, framed(pictures[0], FACE))
        assert not any(change.any() for change in moved(pictures[1], before).values())


class TestReasons:
    def test_small_faces_are_left_and_counted(self, tmp_path: Path) -> None:
        small = Box(10, 10, 30, 33)
        picture = paint("yuv420p", 256, 192)
        before = raw_samples(picture)
        done = one(opened(tmp_path, min_face=24), framed(picture, small, FACE))
        assert [(face.protection.value, face.reason) for face in done.faces] == [
            ("unprotected", "too_small"),
            ("protected", ""),
        ]
        check_budget(picture, before, [FACE], EPSILON)

    @pytest.mark.parametrize("batch", [1, 2])
    @pytest.mark.parametrize(("longer", "word"), [(24, "protected"), (23, "unprotected")])
    def test_a_face_is_as_large_as_its_longer_side(self, tmp_path: Path, longer: int, word: str, batch: int) -> None:
        stage = opened(tmp_path, min_face=24, batch=batch)
        shown = framed(paint("yuv420p", 256, 192), Box(100, 80, 116, 80 + longer))
        (done,) = [*stage.process(shown), *stage.flush()]
        assert [face.protection.value for face in done.faces] == [word]

    @pytest.mark.parametrize("behaviour", ["nan", "zero"])
    def test_an_engine_that_gives_nothing_is_a_failure(self, tmp_path: Path, behaviour: str) -> None:
        picture = noise("yuv420p", 256, 192)
        before = raw_samples(picture)
        done = one(opened(tmp_path, behaviour), framed(picture, FACE))
        assert [face.reason for face in done.unprotected] == ["engine_failed"]
        assert not any(change.any() for change in moved(picture, before).values())

    def test_an_engine_that_raises_is_a_failure_said_once(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        stage = opened(tmp_path, hold=3)
        one(stage, framed(paint("yuv420p", 256, 192), FACE))
        run = stage._session.run

        def fails(feeds: dict[str, Array]) -> dict[str, Array]:
            raise EngineError("the device is gone")

        stage._session.run = fails
        reasons = [[f.reason for f in one(stage, framed(paint("yuv420p", 256, 192), FACE)).faces] for _ in range(5)]
        assert reasons == [[""], [""], ["engine_failed"], ["engine_failed"], ["engine_failed"]]
        assert [record.getMessage() for record in caplog.records].count(
            "the engine failed, faces stay unprotected: the device is gone"
        ) == 1
        stage._session.run = run
        assert not one(stage, framed(paint("yuv420p", 256, 192), FACE)).unprotected

    def test_what_rounds_to_nothing_is_no_protection(self, tmp_path: Path) -> None:
        for strength in (0.001, 0.05):
            done = one(opened(tmp_path, strength=strength), framed(paint("yuv420p", 256, 192), FACE))
            assert [face.reason for face in done.unprotected] == ["no_change"]

    def test_a_format_that_can_not_be_written(self, tmp_path: Path) -> None:
        done = one(opened(tmp_path), framed(av.VideoFrame(256, 192, "pal8"), FACE, Box(1, 1, 9, 9)))
        assert [face.reason for face in done.unprotected] == ["unsupported_pixel_format"] * 2

    def test_faces_must_have_been_looked_for(self, tmp_path: Path) -> None:
        frame = replace(framed(paint("yuv420p", 64, 64)), faces_known=False)
        with pytest.raises(ConfigError, match="put the stage 'faces' before 'disrupt'"):
            opened(tmp_path).process(frame)

    def test_the_reasons_are_a_closed_list_of_labels(self) -> None:
        assert set(UNPROTECTED_REASONS) == {"too_small", "engine_failed", "no_change", "unsupported_pixel_format"}


class TestHold:
    @pytest.mark.parametrize(("hold", "runs"), [(1, 7), (3, 3), (7, 1)])
    def test_a_perturbation_serves_for_some_pictures(self, tmp_path: Path, hold: int, runs: int) -> None:
        stage = opened(tmp_path, hold=hold)
        batches = _counted(stage)
        done = [one(stage, framed(paint("yuv420p", 256, 192), FACE, index=i)) for i in range(7)]
        assert len(batches) == runs
        assert not any(frame.unprotected for frame in done)

    def test_after_a_reset_a_number_is_another_face(self, tmp_path: Path) -> None:
        """The tracker counts from 1 again: on another connection the first face may be anybody's."""
        stage = opened(tmp_path, hold=10)
        batches = _counted(stage)
        for index in range(4):
            one(stage, framed(paint("yuv420p", 256, 192), FACE, index=index))
            if index == 1:
                stage.reset()
        assert len(batches) == 2

    def test_a_held_perturbation_moves_along(self, tmp_path: Path) -> None:
        stage = opened(tmp_path, "follows", hold=5)
        patches = []
        for shift in (0, 20, 40):
            picture = paint("yuv444p", 256, 192, colours=_flat(0.3))
            before = raw_samples(picture)["Y"]
            one(stage, framed(picture, FACE.moved(shift, 0)))
            patches.append((raw_samples(picture)["Y"] - before)[40:130, 60 + shift : 160 + shift])
        assert np.array_equal(patches[0], patches[1])
        assert np.array_equal(patches[0], patches[2])
        assert patches[0].any()

    def test_a_perturbation_does_not_outlive_the_meaning_of_the_samples(self, tmp_path: Path) -> None:
        stage = opened(tmp_path, hold=10)
        batches = _counted(stage)
        for matrix in (5, 5, 1, 1):
            picture = paint("yuv420p", 256, 192)
            picture.colorspace = matrix
            assert not one(stage, framed(picture, FACE)).unprotected
        assert len(batches) == 2

    def test_a_new_face_does_not_wait(self, tmp_path: Path) -> None:
        stage = opened(tmp_path, hold=10)
        batches = _counted(stage)
        one(stage, framed(paint("yuv420p", 256, 192), FACE))
        one(stage, framed(paint("yuv420p", 256, 192), FACE, Box(10, 10, 60, 60)))
        one(stage, framed(paint("yuv420p", 256, 192)))
        one(stage, framed(paint("yuv420p", 256, 192), FACE))
        assert [batch[0] for batch in batches] == [1, 1, 1]


class TestOpening:
    def test_it_says_what_it_runs(self, tmp_path: Path) -> None:
        stage = opened(tmp_path, backend="onnxruntime")
        about = stage.about()
        assert (about["engine"], about["backend"], len(about["sha256"])) == ("tiny", "onnxruntime", 64)
        stage.close()
        assert stage.about() == {}

    def test_an_engine_that_is_not_there(self) -> None:
        with pytest.raises(UnknownNameError, match="unknown engine 'no-such-engine'; choose one of: ") as caught:
            DisruptStage(DisruptOptions(engine="no-such-engine")).open()
        assert caught.value.exit_code is ExitCode.USAGE

    def test_a_damaged_engine_opens_nothing(self, tmp_path: Path) -> None:
        engine = write_disrupter(tmp_path)
        (engine / "model.onnx").write_bytes(b"x")
        with pytest.raises(EngineError, match="has the sha256"):
            DisruptStage(DisruptOptions(engine=str(engine))).open()

    def test_a_detector_is_no_disrupter(self) -> None:
        with pytest.raises(EngineError, match="a disrupter is needed here"):
            DisruptStage(DisruptOptions(engine="centerface")).open()

    def test_a_card_whose_face_is_not_square_is_refused(self, tmp_path: Path) -> None:
        card = write_disrupter(tmp_path) / "card.toml"
        card.write_text(card.read_text(encoding="utf-8").replace("[-1, 3, 128, 128]", "[-1, 3, 128, 64]"))
        with pytest.raises(EngineError, match=r"face \(-1, 3, 128, 64\); \(-1, 3, S, S\) is needed"):
            DisruptStage(DisruptOptions(engine=str(card))).open()

    def test_every_option_is_described(self) -> None:
        for name, option in DisruptOptions.model_fields.items():
            assert option.description, name


def _flat(level: float) -> object:
    return lambda x, y: np.full((*x.shape, 3), level)


def _counted(stage: DisruptStage) -> list[tuple[int, ...]]:
    """Record the shapes that the stage's session is run with."""
    shapes: list[tuple[int, ...]] = []
    run = stage._session.run

    def counted(feeds: dict[str, Array]) -> dict[str, Array]:
        shapes.append(feeds["face"].shape)
        return run(feeds)

    stage._session.run = counted
    return shapes


def _round_trip(pictures: list[av.VideoFrame], codec: str, format: str) -> list[av.VideoFrame]:
    with av.open(io.BytesIO(_encoded(pictures, codec, format))) as container:
        return list(container.decode(video=0))


def _encoded(pictures: list[av.VideoFrame], codec: str, format: str) -> bytes:
    buffer = io.BytesIO()
    options = {"qp": "0", "preset": "ultrafast"} if codec == "libx264" else {}
    with av.open(buffer, "w", format="nut") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = pictures[0].width, pictures[0].height, format
        for index, picture in enumerate(pictures):
            copy = av.VideoFrame(picture.width, picture.height, picture.format.name)
            for source, target in zip(picture.planes, copy.planes, strict=True):
                lines = min(source.line_size, target.line_size)
                np.frombuffer(target, np.uint8).reshape(target.height, -1)[:, :lines] = np.frombuffer(
                    source, np.uint8
                ).reshape(source.height, -1)[:, :lines]
            copy.pts, copy.colorspace, copy.color_range = index, picture.colorspace, picture.color_range
            container.mux(stream.encode(copy))
        container.mux(stream.encode(None))
    return buffer.getvalue()
