"""What ships for MagDR: engines, calibration and pipeline fit one another, and a portrait is judged at all."""

from __future__ import annotations

import numpy as np
import pytest

from stream_guard.inference import list_engines
from stream_guard.magdr import plausible
from stream_guard.magdr.calibration import load_calibration
from stream_guard.magdr.detector import Detector
from stream_guard.magdr.engines import from_rgb, open_editor, open_parser
from stream_guard.magdr.purifier import open_purifier
from stream_guard.magdr.regions import NAMES
from stream_guard.stages.magdr import MagdrStage
from tests.support.heads import head


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    return head()


def test_the_calibration_is_of_the_engines_that_ship() -> None:
    known, parser = load_calibration().probes, open_parser(None, "onnxruntime")
    here = {card.name for card in list_engines() if card.kind == "generator"}
    assert set(known) & here
    for name in set(known) & here:
        editor = open_editor(name, "onnxruntime")
        Detector(editor, parser, known[name])
        editor.close()
    parser.close()


def test_the_parser_sees_the_parts_of_a_face(face: np.ndarray) -> None:
    parser = open_parser(None, "onnxruntime")
    _, classes, masks = parser.look(from_rgb([face])[0])
    assert np.allclose(masks.sum(0), 1, atol=1e-4)
    assert np.allclose(classes.sum(0), 1, atol=1e-4)
    assert plausible.look(face, masks) == ""
    skin, hair = (masks[NAMES.index(name)] for name in ("skin", "hair"))
    rows = np.arange(128)[:, None]
    assert (skin * rows).sum() / skin.sum() > (hair * rows).sum() / hair.sum()  # hair is above the skin
    parser.close()


def test_the_stage_opens_with_what_ships() -> None:
    stage = MagdrStage()
    stage.open()
    assert "stargan-probe" in stage.about()["engine"]
    stage.close()


def test_the_adversary_opens_with_what_ships() -> None:
    purifier = open_purifier("onnxruntime")
    assert "stargan-probe" in purifier.detectors
    purifier.close()
