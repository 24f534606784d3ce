"""The benchmark of the zoo's networks, and the table that the page on stages makes of it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from engines.evaluation import benchmark_engines
from stream_guard.inference import find_engine, list_engines

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_networks_of_face_crops_and_a_look_of_the_stage_are_timed_and_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    only = ["--engine", "detector", "disrupter", "--backend", "onnxruntime", "--threads", "1", "--repeats", "1"]
    benchmark_engines.main(only)
    made = json.loads(capsys.readouterr().out)
    timed = {(row["engine"], row["faces_at_once"]) for row in made["rows"]}
    assert timed == {
        ("detector", 1),
        ("detector", 8),
        ("disrupter", 1),
        ("disrupter", 8),
        ("stage detect, detector", 1),
    }
    assert all(row["spread"][0] <= row["milliseconds_a_face"] <= row["spread"][1] for row in made["rows"])
    monkeypatch.syspath_prepend(str(DOCS))
    text = importlib.import_module("engine_costs").section(made)
    assert "Milliseconds a face (median of 1 turns" in text
    assert "| x1.00 |" in text.split("`disrupter`")[1].splitlines()[0]
    assert text.count("| - |") >= 3, "what was not timed is not made up"
    assert importlib.import_module("engine_costs").span("detector", "detector", made) == "100 to 100 %"


def test_generators_and_networks_of_whole_pictures_are_left_out() -> None:
    names = {card.name for card in list_engines() if benchmark_engines.of_faces(card)}
    assert {"detector", "disrupter", "restorer"} <= names
    assert not names & {"centerface", "stargan-probe"}


def test_a_stage_is_timed_while_it_looks() -> None:
    """A look that finds the face too small, or holds its verdict, would cost nothing."""
    look = benchmark_engines.look(np.random.default_rng(0), find_engine(None, "detector"), "onnxruntime", 1)
    for _ in range(2):
        (frame,) = look()
        (verdict,) = frame.verdicts
        assert verdict.measured
