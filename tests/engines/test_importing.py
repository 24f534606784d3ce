"""What ships can be had back as a run: the same network, to measure, attack and train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

from engines import importing
from engines.__main__ import main
from engines.data import pack
from engines.detectors.registry import detector_of
from engines.disrupter import train as disrupter
from engines.export import to_onnx, write_card
from engines.generators.families import target_of
from engines.training import Run, stored
from stream_guard.errors import EngineError
from stream_guard.inference import find_engine
from stream_guard.types import Box

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*instance_norm.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.mark.parametrize("family", ["stargan", "ganimation", "cyclegan"])
def test_a_shipped_generator_comes_back_as_a_target(tmp_path: Path, family: str) -> None:
    assert main(["import", f"{family}-probe", "--out", str(tmp_path / "run")]) == 0
    target, card = target_of(tmp_path / "run"), find_engine(f"{family}-probe")
    image = torch.rand(2, 3, 128, 128) * 2 - 1
    condition = target.conditions[[0, -1]]
    session = onnxruntime.InferenceSession(str(card.model_path))
    (expected,) = session.run(None, {"image": image.numpy(), "condition": condition.numpy()})
    np.testing.assert_allclose(target(image, condition).numpy(), expected, atol=2e-4)
    found = stored(tmp_path / "run")
    assert (found.name, found.step) == (family, card.results["steps"])
    assert found.seconds == pytest.approx(60 * card.results["training_minutes"], abs=5)
    assert found.notes[0]["imported"][f"{family}-probe"]["sha256"] == card.sha256


def test_norms_that_were_folded_come_back_and_can_be_trained_on(tmp_path: Path) -> None:
    """In eval mode the same network; in train mode, on the pictures it was settled on, nearly the same."""
    card = find_engine("detector")
    importing.unship(card, tmp_path / "run")
    detector = detector_of(tmp_path / "run")
    image = importing._example(card)["image"]
    session = onnxruntime.InferenceSession(str(card.model_path))
    (expected,) = session.run(None, {"image": image.numpy()})
    np.testing.assert_allclose(detector(image).numpy(), expected, atol=2e-4)
    norms = [m for m in detector.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 2 * (20 + 4), "of two ResNet-18, and of the small network beside each"
    np.testing.assert_allclose(detector.train()(image).detach().numpy(), expected, atol=0.02)


def test_norms_are_settled_on_a_packs_heads_where_there_is_one(tmp_path: Path) -> None:
    """Statistics of noise are those of no picture: in train mode the network knew nothing of faces any more."""
    rng, rows = np.random.default_rng(0), []
    for k in range(20):
        coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)).resize(
            (160, 160), Image.Resampling.BICUBIC
        )
        coarse.save(tmp_path / f"{k}.png")
        rows.append((tmp_path / f"{k}.png", None, Box(40, 40, 120, 120)))
    pack.build(rows, tmp_path / "faces.pack", size=128)
    card = find_engine("detector")
    apart = []
    for data in (None, tmp_path / "faces.pack"):
        importing.unship(card, tmp_path / str(data is None), data)
        detector = detector_of(tmp_path / str(data is None))
        image = importing._faces(card, tmp_path / "faces.pack")["image"]
        assert image.shape == (importing.EXAMPLES, 3, 128, 128)
        assert image.min() < -0.5
        assert image.max() > 0.5
        with torch.no_grad():
            apart.append(float((detector.eval()(image) - detector.train()(image)).abs().mean()))
    assert apart[1] < 0.02 < 0.5 < apart[0]


def test_the_disrupter_comes_back(tmp_path: Path) -> None:
    card = find_engine(None, "disrupter")
    importing.unship(card, tmp_path / "run")
    network = disrupter.load(tmp_path / "run")
    coarse = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    face = nn.functional.interpolate(coarse, size=(128, 128), mode="bilinear")  # neither flat nor all texture
    (expected,) = onnxruntime.InferenceSession(str(card.model_path)).run(None, {"face": face.numpy()})
    np.testing.assert_allclose(network(face).numpy(), expected, atol=2e-4)


def test_first_order_motion_says_that_it_needs_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "fomm-probe", "--out", str(tmp_path / "run")]) == 2
    assert "needs driving frames: name a pack" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_in_the_way_and_an_engine_without_a_run_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Run(tmp_path / "run", {}, 0, name="stargan").save({})
    assert main(["import", "stargan-probe", "--out", str(tmp_path / "run")]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert main(["import", "disrupter-int8", "--out", str(tmp_path / "other")]) == 2
    assert "was not exported from a training run" in capsys.readouterr().err


def test_weights_that_are_not_the_models_are_not_taken(tmp_path: Path) -> None:
    """A card that names a command of the same shapes whose network computes something else."""
    card = find_engine("stargan-probe")
    target = target_of(_imported(tmp_path))
    target.network.main[0].weight.mul_(0)
    example = importing._example(card)

    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = target.network

        def forward(self, image: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
            return 2 * self.network(image, condition)

    folder = tmp_path / "zoo" / "strange"
    to_onnx(Doubled().eval(), {k: v[:2] for k, v in example.items()}, "edited", folder / "model.onnx")
    words = card.model_dump(exclude_none=True, exclude_defaults=True)
    words["inputs"], words["outputs"] = (
        [{k: list(v) if isinstance(v, tuple) else v for k, v in one.items()} for one in words[part]]
        for part in ("inputs", "outputs")
    )
    write_card(folder, words | {"name": "strange"})
    with pytest.raises(EngineError, match="another output than its ONNX model"):
        importing.unship(find_engine(folder), tmp_path / "again")
    assert not (tmp_path / "again").exists()


def _imported(folder: Path) -> Path:
    importing.unship(find_engine("stargan-probe"), folder / "run")
    return folder / "run"


def test_it_cannot_be_resumed_and_says_why(tmp_path: Path) -> None:
    run = Run(_imported(tmp_path), stored(_imported(tmp_path)).settings, 1, name="stargan")
    with pytest.raises(EngineError, match=r"has no part 'd'.*imported.*--start"):
        run.resume({"d": nn.Linear(1, 1)}, torch.Generator())
