"""MagDR's reconstructor as the adversary of an audit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from stream_guard.audit import words
from stream_guard.audit.probes import load_probes
from stream_guard.audit.run import AuditOptions, audit
from stream_guard.cli import app
from stream_guard.errors import EngineError
from stream_guard.magdr import panel
from stream_guard.magdr.calibration import load_calibration
from stream_guard.magdr.detector import Detector
from stream_guard.magdr.engines import open_editor, open_parser
from stream_guard.magdr.purifier import Purifier, open_purifier
from tests.support.audited import LOSSLESS, StillFace, perturbed

from ..support import media
from ..support.magdr_engines import PROBE, write_engines


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_engines(tmp_path_factory.mktemp("engines"))


@pytest.fixture
def purifier(engines: dict[str, Path]) -> Purifier:
    parser = open_parser(str(engines["parser"]), "onnxruntime")
    editor = open_editor(str(engines["probe"]), "onnxruntime")
    calibration = load_calibration(engines["calibration"]).probes[PROBE]
    return Purifier(parser, {PROBE: Detector(editor, parser, calibration)}, looks=12)


def test_a_recipe_is_searched_once_a_face_and_probe(purifier: Purifier) -> None:
    rng = np.random.default_rng(0)
    crop = rng.integers(0, 255, (128, 128, 3), dtype=np.uint8)
    first = purifier(crop, PROBE, 1)
    assert first.shape == crop.shape
    assert list(purifier.recipes) == [(PROBE, 1)]
    recipe = purifier.recipes[PROBE, 1]
    purifier(crop, PROBE, 1)
    assert purifier.recipes[PROBE, 1] is recipe
    purifier(crop, PROBE, 2)
    purifier(crop, "another", 2)  # has no calibration of its own: the first one's recipe serves
    assert set(purifier.recipes) == {(PROBE, 1), (PROBE, 2)}
    assert set(purifier.facts()) == {f"{PROBE}, face 1", f"{PROBE}, face 2"}
    purifier.close()


def test_what_is_left_is_measured_beside_what_was_there(
    tmp_path: Path, engines: dict[str, Path], purifier: Purifier
) -> None:
    original = media.plain(tmp_path, frames=6)
    protected = perturbed(original, tmp_path / "protected.mkv", LOSSLESS, levels=40)
    (probe,) = load_probes([str(engines["probe"])], backend="onnxruntime")
    result = audit(original, protected, [probe], options=AuditOptions(every=3), faces=StillFace(), purify=purifier)
    figures = result.summary["generators"][PROBE]  # type: ignore[index]
    assert figures["after_magdr"]["pairs"] == figures["pairs"] == 4
    assert 0 <= figures["after_magdr"]["disrupted"] <= 1
    assert figures["after_magdr"]["l2_mean"] != figures["l2_mean"]
    assert "After MagDR's reconstructor" in words.verdicts(result)[0].detail
    probe.close()
    purifier.close()


def test_without_an_adversary_nothing_is_said_of_one(tmp_path: Path, engines: dict[str, Path]) -> None:
    original = media.plain(tmp_path, frames=3)
    (probe,) = load_probes([str(engines["probe"])], backend="onnxruntime")
    result = audit(original, original, [probe], options=AuditOptions(every=3), faces=StillFace())
    assert "after_magdr" not in result.summary["generators"][PROBE]  # type: ignore[index]
    probe.close()


def test_an_unknown_adversary_lists_those_there_are(tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["audit", "a.mp4", "b.mp4", "--against", "magic"])
    assert run.exit_code == 2
    assert "choose one of: magdr" in run.stderr


def test_a_zoo_without_calibrated_probes_is_an_error(engines: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The calibration names a probe that the zoo lacks."""
    monkeypatch.setattr(panel, "load_calibration", lambda path: load_calibration(engines["calibration"]))
    with pytest.raises(EngineError, match=r"no probe can be asked: .*'contrast'"):
        open_purifier("onnxruntime")
