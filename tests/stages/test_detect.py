"""The detect stage: crops, sampling, smoothing, thresholds, and every reason for `unknown`."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from pydantic import ValidationError

from stream_guard.config import OnFailure, PipelineConfig, StageSpec
from stream_guard.errors import ConfigError, EngineError, UnknownNameError
from stream_guard.metrics import Metrics
from stream_guard.outcome import Tally
from stream_guard.pipeline import run
from stream_guard.stages.classifier import open_classifier
from stream_guard.stages.detect import LABELS, UNKNOWN_REASONS, DetectOptions, DetectStage
from stream_guard.stages.scores import Score, Scores
from stream_guard.types import Box, Face, Frame, Verdict, centred_region, head_region

from ..support.detector_engines import GAIN, write_detector
from ..support.fakes import FakeSink, FakeSource
from ..support.scenes import TIME_BASE

FACE = Box(60, 40, 120, 110)


def grey(level: int, format: str = "yuv444p") -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.full((192, 256, 3), level, np.uint8), format="rgb24").reformat(format=format)


def framed(level: int, index: int = 0, tracks: tuple[int, ...] = (1,), box: Box = FACE, **changes: object) -> Frame:
    faces = tuple(Face(track, box, 0.9) for track in tracks)
    picture = grey(level, str(changes.pop("format", "yuv444p")))
    return Frame(picture, index, TIME_BASE, index, faces=faces, faces_known=bool(changes.pop("faces_known", True)))


def opened(folder: Path, behaviour: str = "bright", **options: object) -> DetectStage:
    backend = {"backend": "onnxruntime", **options}
    stage = DetectStage(DetectOptions(engine=str(write_detector(folder, behaviour)), **backend))
    stage.open()
    return stage


def verdicts(stage: DetectStage, frames: list[Frame]) -> list[tuple[Verdict, ...]]:
    done = [out for frame in frames for out in stage.process(frame)]
    return [frame.verdicts for frame in [*done, *stage.flush()]]


def p_of(level: int) -> float:
    return 1 / (1 + math.exp(-GAIN * (level / 127.5 - 1)))


class TestVerdicts:
    @pytest.mark.parametrize(("level", "label"), [(255, "fake"), (0, "real"), (128, "unknown")])
    def test_the_label_follows_the_score(self, tmp_path: Path, level: int, label: str) -> None:
        (found,) = verdicts(opened(tmp_path), [framed(level)])
        (verdict,) = found
        assert (verdict.stage, verdict.label, verdict.track, verdict.measured) == ("detect", label, 1, True)
        assert verdict.score == pytest.approx(p_of(level), abs=0.02)
        assert verdict.reason == ("low_confidence" if label == "unknown" else "")
        sure = {"fake": verdict.score, "real": 1 - verdict.score, "unknown": None}
        assert verdict.confidence == sure[label]

    def test_thresholds_are_inclusive_and_may_meet(self, tmp_path: Path) -> None:
        (found,) = verdicts(opened(tmp_path, fake_from=0.5, real_to=0.5), [framed(128)])
        assert found[0].label == "fake"

    def test_thresholds_out_of_order_are_refused(self) -> None:
        with pytest.raises(ValidationError, match=r"real_to \(0.8\) must not be above fake_from \(0.7\)"):
            DetectOptions(real_to=0.8)

    def test_each_face_has_its_own(self, tmp_path: Path) -> None:
        picture = np.zeros((192, 256, 3), np.uint8)
        picture[:, 128:] = 255
        faces = (Face(4, Box(20, 60, 70, 110), 0.9), Face(9, Box(180, 60, 230, 110), 0.9))
        frame = Frame(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv444p"), 0, TIME_BASE, 0)
        (found,) = verdicts(opened(tmp_path), [replace(frame, faces=faces, faces_known=True)])
        assert [(v.track, v.label) for v in found] == [(4, "real"), (9, "fake")]

    def test_verdicts_of_others_stay(self, tmp_path: Path) -> None:
        other = Verdict("magdr", "clean", 0.1)
        (found,) = verdicts(opened(tmp_path), [replace(framed(0), verdicts=(other,))])
        assert found[0] is other
        assert len(found) == 2


class TestUnknown:
    def check(self, found: tuple[Verdict, ...], reason: str) -> None:
        (verdict,) = found
        assert (verdict.label, verdict.reason, verdict.measured, verdict.score) == ("unknown", reason, False, 0.5)
        assert reason in UNKNOWN_REASONS

    def test_no_face(self, tmp_path: Path) -> None:
        (found,) = verdicts(opened(tmp_path), [framed(255, tracks=())])
        self.check(found, "no_face")
        assert found[0].track is None

    def test_too_small(self, tmp_path: Path) -> None:
        (found,) = verdicts(opened(tmp_path, min_face=71), [framed(255)])
        self.check(found, "too_small")

    def test_what_would_be_enlarged_is_too_small_unless_told_otherwise(self, tmp_path: Path) -> None:
        """The engine takes 32 px of 1.3 sides."""
        stage, told = opened(tmp_path), opened(tmp_path, min_face=10)
        least = int(32 / 1.3)
        fits, small = (framed(255, box=Box(60, 40, 60 + side, 40 + side)) for side in (least, least - 1))
        assert [v.label for v in verdicts(stage, [fits])[0]] == ["fake"]
        self.check(verdicts(stage, [small])[0], "too_small")
        assert [v.label for v in verdicts(told, [small])[0]] == ["fake"]
        slim = framed(255, box=Box(60, 40, 60 + least // 2, 40 + least))
        assert [v.label for v in verdicts(stage, [slim])[0]] == ["fake"], "the crop is a square of the longer side"

    def test_an_unsupported_format(self, tmp_path: Path) -> None:
        (found,) = verdicts(opened(tmp_path), [framed(255, format="monob")])
        self.check(found, "unsupported_pixel_format")

    @pytest.mark.parametrize("behaviour", ["nan", "fails", "three"])
    def test_an_engine_that_fails(self, tmp_path: Path, behaviour: str, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.CRITICAL, "stream_guard"):
            found = verdicts(opened(tmp_path, behaviour, every=1), [framed(255, k) for k in range(3)])
        for each in found:
            self.check(each, "engine_failed")

    def test_a_missing_engine_ends_the_run(self, tmp_path: Path) -> None:
        engine = write_detector(tmp_path)
        (engine / "model.onnx").unlink()
        with pytest.raises(EngineError, match="can't read its model"):
            DetectStage(DetectOptions(engine=str(engine))).open()

    def test_or_is_a_reason_where_that_is_asked_for(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        engine = write_detector(tmp_path)
        (engine / "model.onnx").unlink()
        stage = DetectStage(DetectOptions(engine=str(engine), require_engine=False))
        with caplog.at_level(logging.CRITICAL, "stream_guard"):
            stage.open()
        (found,) = verdicts(stage, [framed(255)])
        self.check(found, "engine_missing")
        assert stage.about() == {}

    def test_without_a_name_a_processor_runs_the_one_in_integers(self) -> None:
        for engine, name in ((None, "detector-int8"), ("detector", "detector")):
            stage = DetectStage(DetectOptions(engine=engine, backend="onnxruntime"))
            stage.open()
            assert stage.about()["engine"] == name
            stage.close()

    def test_a_misspelt_engine_is_never_a_reason(self) -> None:
        with pytest.raises(UnknownNameError):
            DetectStage(DetectOptions(engine="no-such-detector", require_engine=False)).open()

    def test_a_look_that_failed_makes_what_was_known_unknown(self) -> None:
        score = Score()
        score.add(3.0, 8)
        score.add(None, 8)
        assert score.failed
        score.add(1.0, 8)
        assert not score.failed
        assert score.log_odds == pytest.approx(2.0)


class TestOverTime:
    def test_a_face_is_looked_at_at_once_and_then_on_every_nth_picture(self, tmp_path: Path) -> None:
        levels = [0, 255, 255, 0, 255, 255]
        found = verdicts(opened(tmp_path, every=3, memory=1), [framed(v, k) for k, v in enumerate(levels)])
        assert [v[0].label for v in found] == ["real"] * 6
        found = verdicts(opened(tmp_path, every=2, memory=1), [framed(v, k) for k, v in enumerate(levels)])
        assert [v[0].label for v in found] == ["real", "real", "fake", "fake", "fake", "fake"]

    def test_scores_are_smoothed_in_log_odds(self, tmp_path: Path) -> None:
        found = verdicts(opened(tmp_path, every=1, memory=4), [framed(v, k) for k, v in enumerate([255, 0, 255, 255])])
        odds = [math.log(v[0].score / (1 - v[0].score)) / GAIN for v in found]
        assert odds == pytest.approx([1, 0, 1 / 3, 0.5], abs=0.02)

    def test_a_face_that_comes_back_starts_anew(self, tmp_path: Path) -> None:
        frames = [framed(255), framed(255, 1, tracks=()), framed(0, 2)]
        found = verdicts(opened(tmp_path, every=10), frames)
        assert [v[0].label for v in found] == ["fake", "unknown", "real"]

    @pytest.mark.parametrize("held", [2, 3, 8])
    def test_held_pictures_get_the_same_verdicts(self, tmp_path: Path, held: int) -> None:
        def source() -> list[Frame]:
            tracks = [(1,), (1, 2), (2,), (), (2, 3), (1, 3), (1, 3)]
            return [framed(36 * k, k, tracks=t) for k, t in enumerate(tracks)]

        plain = verdicts(opened(tmp_path, every=2), source())
        batched = verdicts(opened(tmp_path, every=2, max_batch=held), source())
        assert [[(v.track, v.label, v.reason) for v in each] for each in batched] == [
            [(v.track, v.label, v.reason) for v in each] for each in plain
        ]

    def test_a_stage_that_holds_gives_frames_in_order_when_it_is_full(self, tmp_path: Path) -> None:
        stage = opened(tmp_path, max_batch=3)
        given = [[f.index for f in stage.process(framed(0, k))] for k in range(7)]
        assert given == [[], [], [0, 1, 2], [], [], [3, 4, 5], []]
        assert [f.index for f in stage.flush()] == [6]

    def test_out_of_sight_is_forgotten(self) -> None:
        scores = Scores(every=1, memory=4)
        assert scores.due(1)
        scores.add(1, 2.0)
        scores.sight(set())
        scores.forget_others(set())
        assert not scores.known


class TestEngine:
    def test_faces_must_have_been_looked_for(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="put the stage 'faces' before 'detect'"):
            opened(tmp_path).process(framed(0, faces_known=False))

    def test_another_kind_of_network_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(EngineError, match="a detector takes 'image' and gives 'logits'"):
            open_classifier(str(write_detector(tmp_path, "misnamed")), "onnxruntime", 1)

    def test_the_crop_is_the_cards_or_the_usual_one(self, tmp_path: Path) -> None:
        one = open_classifier(str(write_detector(tmp_path, crop="crop = 1.5")), "onnxruntime", 1)
        other = open_classifier(str(write_detector(tmp_path, crop="")), "onnxruntime", 1)
        assert (one.crop, other.crop) == (1.5, 1.3)

    def test_the_crop_has_the_middle_of_the_head(self) -> None:
        region = centred_region(FACE, 1.3)
        assert region.center == pytest.approx(head_region(FACE).center)
        assert region.width == pytest.approx(1.3 * 70)

    def test_many_faces_are_split_into_runs(self, tmp_path: Path) -> None:
        tracks = tuple(range(1, 40))
        (found,) = verdicts(opened(tmp_path), [framed(255, tracks=tracks)])
        assert [v.track for v in found] == list(tracks)
        assert {v.label for v in found} == {"fake"}

    def test_both_backends_agree(self, tmp_path: Path) -> None:
        pytest.importorskip("openvino")
        scores = [verdicts(opened(tmp_path, backend=b), [framed(140)])[0][0].score for b in ("openvino", "onnxruntime")]
        assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_verdicts_are_counted_by_label_and_scores_where_something_was_measured(tmp_path: Path) -> None:
    metrics = Metrics()
    tally = Tally(metrics, OnFailure.PASS)
    stage = opened(tmp_path, every=1)
    for level, tracks in ((255, (1, 2)), (0, (3,)), (255, ())):
        (frame,) = stage.process(framed(level, tracks=tracks))
        tally.judged(frame, None)
    counts = {
        label: metrics.registry.get_sample_value("stream_guard_verdicts_total", {"stage": "detect", "label": label})
        for label in LABELS
    }
    assert counts == {"fake": 2, "real": 1, "unknown": 1}
    assert metrics.registry.get_sample_value("stream_guard_verdict_score_count", {"stage": "detect"}) == 3
    assert tally.verdicts == {"detect:fake": 2, "detect:real": 1, "detect:unknown": 1}


def test_a_pipeline_reports_its_verdicts(tmp_path: Path) -> None:
    engine = write_detector(tmp_path)
    detect = StageSpec("detect", DetectStage, DetectOptions(engine=str(engine), backend="onnxruntime", max_batch=2))
    config = PipelineConfig("check", (detect,), on_failure=OnFailure.PASS)
    metrics = Metrics()
    report = run(config, FakeSource([framed(255, k) for k in range(5)]), FakeSink, metrics=metrics)
    assert report.verdicts == {"detect:fake": 5}
    assert report.engines["detect"]["engine"] == "tiny-detector"
    assert metrics.registry.get_sample_value("stream_guard_verdict_score_count", {"stage": "detect"}) == 5
