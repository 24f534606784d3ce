"""The detector in 8-bit integers: what stays as it is, what it answers, and how it is measured in a run's place."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engines.__main__ import main
from engines.data import pack
from engines.detectors import command, eight_bits, learner
from engines.detectors.architectures import architecture
from engines.detectors.registry import ResNet18Settings
from engines.detectors.shipped import shipped
from engines.quantising import quantised
from engines.training import Run
from stream_guard.inference import find_engine, open_session
from stream_guard.inference.precision import quantised as has_integers
from stream_guard.types import Box


def faces(folder: Path, count: int = 60) -> Path:
    """Enough that each split has some."""
    rng, rows = np.random.default_rng(0), []
    for k in range(count):
        coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
        coarse.resize((160, 160), Image.Resampling.BICUBIC).save(folder / f"{k}.png")
        rows.append((folder / f"{k}.png", None, Box(40, 40, 120, 120)))
    pack.build(rows, folder / "faces.pack", size=128)
    return folder / "faces.pack"


def test_it_answers_nearly_as_the_default_does_and_leaves_what_reads_the_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, made = faces(tmp_path), tmp_path / "made"
    eight_bits.main([str(data), "--write", str(made), "--faces", "8"])
    assert str(made) in capsys.readouterr().out
    card, default = find_engine(str(made), "detector"), find_engine(None, "detector")
    assert (card.name, card.default, card.crop) == ("detector-int8", False, default.crop)
    assert default.sha256[:16] in card.notes
    assert "but those that read the picture itself" in card.notes
    assert has_integers(card.read_model())
    pictures = eight_bits.heads(data, 128, 8)
    told, wanted = (open_session(c, "onnxruntime").run({"image": pictures})["logits"] for c in (card, default))
    np.testing.assert_allclose(told, wanted, atol=0.1 * float(np.abs(wanted).max()))
    everything = quantised(default.read_model(), "image", pictures, [])
    other = open_session(everything, "onnxruntime").run({"image": pictures})["logits"]
    assert np.abs(told - wanted).mean() < np.abs(other - wanted).mean()
    assert len(eight_bits.first(default.read_model())) == 4, "the ResNets' first, and the first of what is beside them"


def test_the_zoos_is_of_the_zoos_default() -> None:
    assert find_engine(None, "detector").sha256[:16] in find_engine("detector-int8", "detector").notes


def test_a_shipped_detector_answers_as_its_file() -> None:
    card, image = find_engine(None, "detector"), torch.rand(2, 3, 128, 128) * 2 - 1
    wanted = open_session(card).run({"image": image.numpy()})["logits"]
    np.testing.assert_allclose(shipped(card)(image).numpy(), wanted, atol=1e-4)


def test_an_engine_is_measured_in_a_runs_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ResNet18Settings(width=0.0625, size=32)
    best = learner.Best(architecture("resnet18").detector(settings.width, settings.size))
    best.published()
    for name in "ab":
        Run(tmp_path / name, asdict(settings), 0.0, 7, 60.0, name="resnet18").save({"best": best})
    assert main(["import", "stargan-probe", "--out", str(tmp_path / "fakes")]) == 0
    asked = ["evaluate", "detectors", "--engine", "detector", "--fakes", str(tmp_path / "fakes"), "--device", "cpu"]
    asked += ["--data", str(faces(tmp_path)), "--faces", "3", "--out", str(tmp_path / "made.json"), "--detectors"]
    assert main([*asked, str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "--engine takes the place of one run" in capsys.readouterr().err
    assert main([*asked, str(tmp_path / "a")]) == 0
    card = find_engine(None, "detector")
    (row,) = json.loads((tmp_path / "made.json").read_text(encoding="utf-8"))["rows"]
    assert (row["detector"], row["engine_sha256"], row["steps"]) == (card.name, card.sha256, 7)
    assert "run_sha256" not in row
    assert row["fakes"][0]["seen"] is None
    found = command.of_engine(card.sha256, tmp_path / "made.json")
    assert found["accuracy_fakes_crf23"] == row["fakes"][0]["by_delivery"]["h264 crf 23"]["accuracy"]
    assert command.of_engine("another", tmp_path / "made.json") == {}
