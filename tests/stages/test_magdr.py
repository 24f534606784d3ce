"""The magdr stage: labels, every reason for `unknown`, sampling, the budget, restoring, missing engines."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_guard.errors import ConfigError, EngineError, UnknownNameError
from stream_guard.magdr import panel, plausible
from stream_guard.magdr.detector import Score
from stream_guard.magdr.reconstructor import Learned, Recipe
from stream_guard.media import pixels
from stream_guard.stages import magdr, reasons
from stream_guard.stages.magdr import LABELS, UNKNOWN_REASONS, MagdrOptions, MagdrStage
from stream_guard.types import Box, Face, Frame
from tests.support.judged import FACE, SIZE, framed, soft, verdicts

from ..support.magdr_engines import write_engines

INNER = Box(120, 90, 180, 150)
BT709, BT601, BT2020 = 1, 5, 9
LIMITED, FULL = 1, 2
"""As FFmpeg numbers them."""


def rough(index: int = 0) -> np.ndarray:
    """The same with a strong pattern: blurring and compressing change it by very different amounts."""
    noise = np.random.default_rng(index).normal(0, 60, (SIZE[1], SIZE[0], 1))
    return (soft(index) + noise).clip(0, 255).astype(np.uint8)


def opened(folder: Path, faces: bool = True, **options: Any) -> MagdrStage:
    made = write_engines(folder, faces=faces)
    values = {"parser": str(made["parser"]), "probes": [str(made["probe"])], "calibration": str(made["calibration"])}
    stage = MagdrStage(MagdrOptions(**{**values, "backend": "onnxruntime", **options}))
    stage.open()
    return stage


class Alarmed:
    """A detector of perturbed inputs that is sure of every face."""

    def value(self, face: np.ndarray) -> float:
        return 0.99

    def close(self) -> None:
        pass


class TestLabels:
    def test_a_smooth_face_is_clean_and_a_rough_one_perturbed(self, tmp_path: Path) -> None:
        stage = opened(tmp_path)
        (clean,) = verdicts(stage, framed(soft()))
        stage.reset()
        (perturbed,) = verdicts(stage, framed(rough()))
        assert (clean.label, perturbed.label) == ("clean", "perturbed")
        assert clean.score < 0.5 <= perturbed.score
        assert clean.confidence == pytest.approx(1 - clean.score)
        assert perturbed.confidence == perturbed.score
        assert perturbed.region
        assert {clean.label, perturbed.label} < set(LABELS)

    def test_the_loudest_probe_decides(self, tmp_path: Path) -> None:
        class Probe:
            def __init__(self, value: float) -> None:
                self.value = value

            def score(self, face: np.ndarray, masks: np.ndarray) -> Score:
                return Score(0.0, 0.0, 0.0, self.value, f"region {self.value}")

        stage = opened(tmp_path, inputs=False)
        assert stage._engines is not None
        stage._engines.detectors = [Probe(0.2), Probe(0.9), Probe(0.4)]  # type: ignore[list-item]
        (found,) = verdicts(stage, framed(soft()))
        assert (found.label, found.score, found.region) == ("perturbed", 0.9, "region 0.9")

    def test_the_same_face_gets_the_same_score_twice(self, tmp_path: Path) -> None:
        stage = opened(tmp_path)
        (first,) = verdicts(stage, framed(rough()))
        stage.reset()
        (second,) = verdicts(stage, framed(rough()))
        assert first == second

    def test_the_score_is_the_median_of_the_looks_kept(self, tmp_path: Path) -> None:
        stage = opened(tmp_path, every=1, memory=3)
        found = verdicts(stage, *(framed(soft(k), k) for k in range(2)), framed(rough(2), 2))
        assert [v.label for v in found] == ["clean"] * 3  # one look of three does not turn it
        found = verdicts(stage, framed(rough(3), 3))
        assert found[0].label == "perturbed"

    def test_between_looks_the_verdict_holds(self, tmp_path: Path) -> None:
        stage = opened(tmp_path, every=3)
        found = verdicts(stage, framed(soft()), framed(rough(1), 1), framed(rough(2), 2), framed(rough(3), 3))
        assert [v.label for v in found[:3]] == ["clean"] * 3
        assert found[3].score > found[2].score

    def test_a_face_that_comes_back_starts_anew(self, tmp_path: Path) -> None:
        stage = opened(tmp_path, every=100)
        found = verdicts(stage, framed(soft()), framed(soft(), 1, ()), framed(rough(2), 2))
        assert [v.label for v in found] == ["clean", "unknown", "perturbed"]


class TestUnknown:
    @pytest.mark.parametrize(
        ("boxes", "reason"),
        [
            ((), reasons.NO_FACE),
            ((Box(100, 100, 130, 130),), plausible.TINY),
            ((Box(-40, 60, 60, 180),), plausible.BORDER),
        ],
    )
    def test_faces_that_cannot_be_judged_by_their_place(
        self, tmp_path: Path, boxes: tuple[Box, ...], reason: str
    ) -> None:
        (found,) = verdicts(opened(tmp_path), framed(rough(), boxes=boxes))
        assert (found.label, found.reason, found.measured) == ("unknown", reason, False)

    def test_another_face_in_the_same_crop(self, tmp_path: Path) -> None:
        found = verdicts(opened(tmp_path), framed(soft(), boxes=(FACE, FACE.moved(40, 0))))
        assert [v.reason for v in found] == [plausible.SEVERAL] * 2

    def test_several_faces_apart_are_judged_each(self, tmp_path: Path) -> None:
        wide = np.concatenate([soft(), rough()], 1)
        found = verdicts(opened(tmp_path), framed(wide, boxes=(FACE, FACE.moved(SIZE[0], 0))))
        assert [(v.track, v.label) for v in found] == [(1, "clean"), (2, "perturbed")]

    def test_a_drawing(self, tmp_path: Path) -> None:
        drawn = np.full((SIZE[1], SIZE[0], 3), 200, np.uint8)
        drawn[80:160, 120:180] = 40
        (found,) = verdicts(opened(tmp_path), framed(drawn))
        assert found.reason == plausible.DRAWING

    def test_a_crop_in_which_no_face_is_parsed(self, tmp_path: Path) -> None:
        (found,) = verdicts(opened(tmp_path, faces=False), framed(soft()))
        assert found.reason == plausible.NOT_PARSED

    def test_a_format_that_cannot_be_read(self, tmp_path: Path) -> None:
        (found,) = verdicts(opened(tmp_path), framed(soft(), format="monob"))
        assert found.reason == reasons.UNSUPPORTED

    @pytest.mark.parametrize("missing", ["parser", "probes", "calibration"])
    def test_an_engine_that_is_missing(self, tmp_path: Path, missing: str, caplog: pytest.LogCaptureFixture) -> None:
        gone = str(tmp_path / "gone")
        stage = opened(tmp_path, **{missing: [gone] if missing == "probes" else gone})
        (found,) = verdicts(stage, framed(soft()))
        assert (found.label, found.reason) == ("unknown", reasons.ENGINE_MISSING)
        assert stage.about() == {}
        assert "every verdict will be unknown" in caplog.text

    def test_nothing_runs_that_should_restore_and_can_not(self, tmp_path: Path) -> None:
        with pytest.raises((EngineError, UnknownNameError), match="gone"):
            opened(tmp_path, mode="restore", parser=str(tmp_path / "gone"))

    def test_engines_that_the_calibration_does_not_know(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        made = write_engines(tmp_path / "a")
        text = made["calibration"].read_text(encoding="utf-8")
        sha = text.split('probe_sha256 = "')[1][:64]
        made["calibration"].write_text(text.replace(sha, "0" * 64), encoding="utf-8")
        options = {"probes": [str(made["probe"])], "parser": str(made["parser"])}
        stage = MagdrStage(MagdrOptions(**options, calibration=str(made["calibration"])))
        stage.open()
        (found,) = verdicts(stage, framed(soft()))
        assert found.reason == reasons.ENGINE_MISSING
        assert "was not calibrated" in caplog.text
        stage.close()

    def test_every_reason_is_listed(self, tmp_path: Path) -> None:
        assert len(set(UNKNOWN_REASONS)) == len(UNKNOWN_REASONS) == 10

    def test_faces_must_have_been_looked_for(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="put the stage 'faces' before"):
            opened(tmp_path).process(framed(soft(), faces_known=False))


class TestBudget:
    def test_looks_wait_until_the_budget_has_room(self, tmp_path: Path) -> None:
        """A budget that one look exceeds for ever: the first face is looked at once, the second never."""
        stage = opened(tmp_path, every=1, budget_ms=1e-6)
        found = verdicts(stage, *(framed(soft(k), k) for k in range(3)))
        assert [v.label for v in found] == ["clean"] * 3
        spent = stage._clock.spent_ms
        verdicts(stage, framed(soft(9), 9))
        assert stage._clock.spent_ms == spent > 0
        wide = np.concatenate([soft(), soft()], 1)
        late = verdicts(stage, framed(wide, 10, (FACE, FACE.moved(SIZE[0], 0))))
        assert (late[1].label, late[1].reason) == ("unknown", magdr.NOT_LOOKED_AT)

    def test_a_budget_for_one_look_leaves_no_face_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A look costs what five pictures may; each of two faces must have every other one."""
        clock = iter(range(10_000))
        monkeypatch.setattr(magdr, "perf_counter", lambda: float(next(clock)))
        looks: list[int] = []

        def look(stage: MagdrStage, frame: Frame, face: Face, known: magdr._Known, engines: Any) -> str:
            looks.append(face.track)
            known.values.append(0.1)
            return ""

        monkeypatch.setattr(MagdrStage, "_look", look)
        stage = opened(tmp_path, every=5, budget_ms=200)
        wide = np.concatenate([soft(), soft()], 1)
        pair = framed(wide, boxes=(FACE, FACE.moved(SIZE[0], 0)))
        for k in range(60):
            stage.process(replace(pair, index=k, pts=k))
        assert looks == [1, 2] * 6 + [1]


class TestRestore:
    @pytest.mark.parametrize("learned", [None, lambda face: np.full_like(face, 128)], ids=["operations", "learned"])
    def test_it_calms_the_face_and_leaves_the_rest(self, learned: Learned | None, tmp_path: Path) -> None:
        stage = opened(tmp_path, mode="restore", restore_looks=60, every=1)
        assert stage._engines is not None
        stage._engines.restorer = learned  # type: ignore[assignment]
        frame = framed(rough())
        before = pixels.whole_rgb(frame.picture).copy()
        (out,) = stage.process(frame)
        after = pixels.whole_rgb(out.picture)
        (verdict,) = out.verdicts
        assert (verdict.label, verdict.reason) == ("perturbed", magdr.RESTORED)
        assert np.array_equal(before[:20], after[:20])
        inner = np.s_[90:150, 125:175]
        assert np.diff(after[inner].astype(int), axis=1).std() < np.diff(before[inner].astype(int), axis=1).std()

    @pytest.mark.parametrize(
        ("format", "matrix", "range_"),
        [
            ("yuv444p", BT709, LIMITED),
            ("yuv420p", BT601, LIMITED),
            ("yuv420p", BT2020, FULL),
            ("yuv420p10le", BT2020, LIMITED),
            ("gbrp", None, FULL),
        ],
    )
    def test_colours_are_those_of_the_pictures_own_matrix(
        self, format: str, matrix: int | None, range_: int, tmp_path: Path
    ) -> None:
        shift = np.array([24, -8, -24], np.int16)
        stage = opened(tmp_path, mode="restore")
        assert stage._engines is not None
        frame = framed(soft())
        picture = frame.picture.reformat(format=format, dst_colorspace=matrix, dst_color_range=range_)
        if matrix is not None:
            picture.colorspace, picture.color_range = matrix, range_
        before = pixels.read_rgb(picture, INNER, 40).astype(int)
        known = stage._known.setdefault(1, magdr._Known(deque([1.0])))
        known.masks = np.ones((8, 64, 64), np.float32) / 8
        known.recipe = Recipe({}, learned=lambda face: (face + shift).clip(0, 255).astype(np.uint8))
        (out,) = stage.process(replace(frame, picture=picture))
        moved = (pixels.read_rgb(out.picture, INNER, 40) - before).mean((0, 1))
        assert moved == pytest.approx(shift, abs=1.5)

    @pytest.mark.parametrize("probes", [None, []], ids=["a probe that hears nothing", "no probe"])
    def test_what_the_detector_of_inputs_alone_finds_is_restored(
        self, probes: list[str] | None, tmp_path: Path
    ) -> None:
        stage = opened(tmp_path, mode="restore", inputs=False)
        assert stage._engines is not None
        stage._engines.inputs = Alarmed()  # type: ignore[assignment]
        stage._engines.restorer = lambda face: np.full_like(face, 128)  # type: ignore[assignment]
        if probes == []:
            stage._engines.detectors.clear()
        (out,) = stage.process(framed(soft()))
        (verdict,) = out.verdicts
        assert (verdict.label, verdict.reason) == ("perturbed", magdr.RESTORED)
        assert np.abs(pixels.read_rgb(out.picture, INNER, 40).astype(int) - 128).max() <= 2

    def test_with_neither_probe_nor_restorer_it_does_not_open(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(panel, "open_restorer", lambda *_: None)
        monkeypatch.setattr(panel, "open_inputs", lambda *_: Alarmed())
        with pytest.raises(EngineError, match="nothing to restore by"):
            MagdrStage(MagdrOptions(mode="restore", probes=[])).open()

    @pytest.mark.parametrize(
        ("recipe", "reason", "verdict"),
        [
            (Recipe({}, learned=lambda face: np.full_like(face, 128)), plausible.NOT_PARSED, "unknown"),
            (Recipe({}), "", "perturbed"),
        ],
        ids=["can no longer be judged", "a recipe that changes nothing"],
    )
    def test_what_is_not_touched_is_not_called_restored(
        self, recipe: Recipe, reason: str, verdict: str, tmp_path: Path
    ) -> None:
        stage = opened(tmp_path, mode="restore")
        masks = np.ones((8, 128, 128), np.float32) / 8
        stage._known[1] = magdr._Known(deque([1.0]), reason=reason, masks=masks, recipe=recipe)
        frame = framed(soft())
        before = pixels.whole_rgb(frame.picture).copy()
        (out,) = stage.process(frame)
        assert np.array_equal(before, pixels.whole_rgb(out.picture))
        assert (out.verdicts[0].label, out.verdicts[0].reason) == (verdict, reason)

    def test_a_clean_face_is_not_touched(self, tmp_path: Path) -> None:
        stage = opened(tmp_path, mode="restore")
        frame = framed(soft())
        before = pixels.whole_rgb(frame.picture).copy()
        (out,) = stage.process(frame)
        assert np.array_equal(before, pixels.whole_rgb(out.picture))

    def test_a_restorer_that_fails_makes_the_face_unknown_and_ends_nothing(self, tmp_path: Path) -> None:
        """In the search, and later, when a recipe that was found is applied."""

        def broken(face: np.ndarray) -> np.ndarray:
            raise EngineError("the device is gone")

        for when in ("searching", "applying"):
            stage = opened(tmp_path / when, mode="restore", restore_looks=60, every=100)
            assert stage._engines is not None
            if when == "searching":
                stage._engines.restorer = broken  # type: ignore[assignment]
            else:
                verdicts(stage, framed(rough()))
                stage._known[1].recipe = Recipe({}, learned=broken)
            found = verdicts(stage, framed(rough(1), 1))[0]
            assert (found.label, found.reason) == ("unknown", reasons.ENGINE_FAILED)

    def test_a_face_that_is_protected_is_not_undone(self, tmp_path: Path) -> None:
        frame = framed(rough())
        frame = replace(frame, faces=tuple(face.protected() for face in frame.faces))
        with pytest.raises(ConfigError, match="put the stage 'magdr' before 'disrupt'"):
            opened(tmp_path / "a", mode="restore").process(frame)
        assert verdicts(opened(tmp_path / "b"), frame)[0].label == "perturbed"

    def test_checking_never_writes(self, tmp_path: Path) -> None:
        frame = framed(rough())
        before = pixels.whole_rgb(frame.picture).copy()
        (out,) = opened(tmp_path).process(replace(frame))
        assert np.array_equal(before, pixels.whole_rgb(out.picture))
