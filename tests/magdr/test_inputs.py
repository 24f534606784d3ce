"""The learned detector of perturbed inputs: its score, and what it adds to the stage's verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from stream_guard.errors import EngineError
from stream_guard.inference import find_engine
from stream_guard.magdr.calibration import InputCalibration, load_calibration
from stream_guard.magdr.detector import Score
from stream_guard.magdr.engines import from_rgb
from stream_guard.magdr.inputs import InputDetector, open_inputs, with_inputs
from stream_guard.magdr.panel import open_panel
from stream_guard.stages.magdr import MagdrOptions, MagdrStage
from stream_guard.stages.reasons import ENGINE_FAILED
from tests.support.judged import framed, soft, verdicts

from ..support.magdr_engines import SIZE, write_engines, write_inputs


def grey(level: int) -> np.ndarray:
    return np.full((SIZE, SIZE, 3), level, np.uint8)


def test_the_score_is_a_half_at_the_threshold_and_rises(tmp_path: Path) -> None:
    made = write_engines(tmp_path)
    write_inputs(tmp_path / "inputs", made["calibration"], level=grey(150)[0, 0, 0] / 127.5 - 1)
    calibration = load_calibration(made["calibration"]).inputs
    assert calibration is not None
    detector = open_inputs(calibration, None, "onnxruntime")
    below, at, above = (detector.value(grey(level)) for level in (140, 150, 160))
    assert below < 0.5 < above
    assert at == pytest.approx(0.5, abs=1e-4)
    assert detector.log_odds([grey(160), grey(160)]) == pytest.approx([20 * (160 / 127.5 - 1)] * 2, rel=1e-3)
    detector.close()


def test_a_face_and_its_mirror_image_are_as_likely() -> None:
    class LeftHalf:
        """Perturbed is what is bright on the left."""

        def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            bright = feeds["image"][..., : SIZE // 2].mean((1, 2, 3))
            return {"logits": np.stack([bright, -bright], 1)}

    half = grey(0)
    half[:, : SIZE // 2] = 255
    detector = InputDetector(LeftHalf(), SIZE, InputCalibration(engine="e", sha256="0" * 64, threshold=0.0))  # type: ignore[arg-type]
    assert detector.log_odds([half, half[:, ::-1], grey(255)]) == pytest.approx([0.0, 0.0, 2.0])


def test_another_network_than_the_calibrated_one_is_refused(tmp_path: Path) -> None:
    folder = write_inputs(tmp_path / "inputs", write_engines(tmp_path)["calibration"])
    with pytest.raises(EngineError, match="was not calibrated for the detector of perturbed inputs 'bright'"):
        open_inputs(InputCalibration(engine=str(folder), sha256="0" * 64, threshold=0.0), None, "onnxruntime")


def test_either_may_call_a_face_perturbed() -> None:
    score = Score(0.0, 0.0, 0.0, 0.3, "skin")
    assert with_inputs(score, None) is score
    assert with_inputs(score, 0.1).value == 0.3
    loud = with_inputs(score, 0.8)
    assert (loud.value, loud.region) == (0.8, "")  # it looks at the whole face


def opened(folder: Path, level: float, **options: object) -> MagdrStage:
    made = write_engines(folder)
    write_inputs(folder / "inputs", made["calibration"], level=level)
    values = {"parser": str(made["parser"]), "probes": [str(made["probe"])], "calibration": str(made["calibration"])}
    stage = MagdrStage(MagdrOptions.model_validate({**values, "backend": "onnxruntime", **options}))
    stage.open()
    return stage


def test_the_stage_hears_it_beside_the_probes(tmp_path: Path) -> None:
    """The probe calls this face clean; the other detector decides by its threshold alone."""
    found = {}
    for name, level, options in (("low", -0.9, {}), ("high", 0.9, {}), ("off", -0.9, {"inputs": False})):
        stage = opened(tmp_path / name, level, **options)
        (found[name],) = verdicts(stage, framed(soft()))
        stage.close()
    assert [found[name].label for name in ("low", "high", "off")] == ["perturbed", "clean", "clean"]
    assert found["high"].score == found["off"].score < 0.5 < found["low"].score


def test_without_its_engine_the_probes_judge_alone_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = write_engines(tmp_path)
    folder = write_inputs(tmp_path / "inputs", made["calibration"], level=-0.9)
    (folder / "model.onnx").unlink()
    stage = MagdrStage(
        MagdrOptions(
            parser=str(made["parser"]),
            probes=[str(made["probe"])],
            calibration=str(made["calibration"]),
            backend="onnxruntime",
        )
    )
    stage.open()
    (found,) = verdicts(stage, framed(soft()))
    assert found.label == "clean"
    assert "magdr goes on without one of its networks" in caplog.text
    stage.close()


def test_an_answer_of_another_shape_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = opened(tmp_path, -0.9)
    assert stage._engines is not None
    assert stage._engines.inputs is not None
    monkeypatch.setattr(stage._engines.inputs.session, "run", lambda feeds: {"logits": np.zeros((1, 3), np.float32)})
    (found,) = verdicts(stage, framed(soft()))
    assert (found.label, found.reason) == ("unknown", ENGINE_FAILED)
    stage.close()


def test_it_may_judge_alone(tmp_path: Path) -> None:
    found = {}
    for name, level in (("low", -0.9), ("high", 0.9)):
        stage = opened(tmp_path / name, level, probes=[])
        (found[name],) = verdicts(stage, framed(soft()))
        assert set(stage.about()) == {"engine", "backend", "sha256"}
        stage.close()
    assert (found["low"].label, found["high"].label) == ("perturbed", "clean")


def test_with_no_probe_it_can_not_be_left_out() -> None:
    with pytest.raises(ValidationError, match="without probes"):
        MagdrOptions.model_validate({"probes": [], "inputs": False})


def test_alone_and_missing_nobody_judges(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = write_engines(tmp_path)
    with pytest.raises(EngineError, match="no probe can be asked"):
        open_panel(made["calibration"], [], str(made["parser"]), backend="onnxruntime")


def test_a_restoration_must_calm_it_too(tmp_path: Path) -> None:
    made = write_engines(tmp_path)
    write_inputs(tmp_path / "inputs", made["calibration"], level=0.0)
    panel = open_panel(made["calibration"], [str(made["probe"])], str(made["parser"]), backend="onnxruntime")
    masks = panel.parser.look(from_rgb([grey(100)])[0])[2]
    (detector,) = panel.detectors
    alone, together = detector.quick(masks), panel.quick(detector, masks)
    usual = detector.calibration.usual
    assert together(grey(100)) == max(alone(grey(100)), usual)
    assert together(grey(160)) > max(alone(grey(160)), usual) + 0.05  # however calm the probe is
    panel.close()


def test_what_ships_is_what_was_calibrated() -> None:
    calibration = load_calibration().inputs
    assert calibration is not None
    assert find_engine(None, "perturbation").sha256 == calibration.sha256
    open_inputs(calibration, None, "onnxruntime").close()
