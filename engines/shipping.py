"""What goes into the zoo: names, budgets, conditions and the words of each card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from .disrupter import train as disrupter
from .disrupter.network import GRID, SIZE
from .export import OPSET, to_onnx, use_instance_statistics, write_card
from .generators import train_stargan as stargan
from .generators.stargan import CONDITION_NAMES as CONDITION_NAMES
from .generators.stargan import CONDITIONS as CONDITIONS

ZOO = Path(__file__).resolve().parent / "zoo"
RESULTS = Path(__file__).resolve().parent / "evaluation" / "results"

BUDGET_PSNR_DB = disrupter.Settings().psnr_db
EPSILON_LEVELS = disrupter.Settings().epsilon_levels
EPSILON = EPSILON_LEVELS / 255

DATA = (
    "CelebAMask-HQ stills with parsing masks (non-commercial research) and synthetic faces; train split only, "
    "identities "
    "split by a hash of the name"
)


def ship(name: str, run: Path) -> Path:
    """Export a trained network into the zoo with its card; returns its folder."""
    return _ship_probe(run) if name == "stargan" else _ship_disrupter(run)


def _ship_probe(run: Path) -> Path:
    folder = ZOO / "stargan-probe"
    network = use_instance_statistics(stargan.load(run))
    torch.manual_seed(0)
    example = {"image": torch.rand(2, 3, 128, 128) * 2 - 1, "condition": torch.tensor(CONDITIONS[:2])}
    difference = to_onnx(network, example, "edited", folder / "model.onnx")
    image = {"shape": [-1, 3, 128, 128], "range": [-1, 1]}
    write_card(
        folder,
        _common(run)
        | {
            "name": "stargan-probe",
            "kind": "generator",
            "title": "StarGAN surrogate at a quarter of the published width (evaluation only)",
            "evaluation_only": True,
            "paper": "Choi et al.: StarGAN, CVPR 2018. Our own surrogate, not the published weights",
            "data": DATA
            + "; the edits are painted through the masks (engines/data/edits.py): no attribute labels exist for them",
            "command": "python -m engines train stargan --data PACK --minutes 42 --set batch=4",
            "notes": "Trained in four resumed runs (docs/training.md). "
            "Hair recoloured; Male paints a beard shadow; Not_Young greys hair, deepens lines. Blurrier and "
            "stiffer than a StarGAN trained at full width on a GPU: figures hold for this surrogate only.",
            "inputs": [
                {"name": "image", **image, "meaning": "RGB head crop"},
                {
                    "name": "condition",
                    "shape": [-1, 5],
                    "range": [0, 1],
                    "meaning": "see conditions; 0.5 leaves Male, Young",
                },
            ],
            "outputs": [{"name": "edited", **image, "meaning": "RGB"}],
            "conditions": {"names": CONDITION_NAMES, "rows": CONDITIONS},
            "results": {"parity_torch_onnx": difference, **_run_facts(run)},
        },
    )
    return folder


def _ship_disrupter(run: Path) -> Path:
    folder = ZOO / "disrupter"
    network = disrupter.load(run)
    torch.manual_seed(0)
    difference = to_onnx(network, {"face": torch.rand(2, 3, SIZE, SIZE)}, "delta", folder / "model.onnx")
    write_card(
        folder,
        _common(run)
        | {
            "name": "disrupter",
            "kind": "disrupter",
            "title": "Disrupter: a 0.63 M parameter U-Net trained through H.264 against the StarGAN surrogate",
            "default": True,
            "epsilon": EPSILON,
            "paper": "DeepFake Disrupter (anonymous CVPR submission 7865), eq. 3, with the delivery in the loop",
            "data": DATA,
            "command": "python -m engines train disrupter --data PACK --minutes 40 --target runs/stargan",
            "notes": "Trained against one surrogate only; says nothing of others. "
            "Two runs: about 1,600 steps with a visibility "
            "mask of .35 in flat areas, the rest with .35 (Y) and .2 (Cb, Cr). The head's PSNR after the "
            f"perturbation alone is about {BUDGET_PSNR_DB:g} dB at strength 1.",
            "inputs": [{"name": "face", "shape": [-1, 3, SIZE, SIZE], "range": [0, 1], "meaning": "RGB guard region"}],
            "outputs": [
                {
                    "name": "delta",
                    "shape": [-1, 3, GRID, GRID],
                    "range": [-EPSILON, EPSILON],
                    "meaning": "Y, Cb, Cr in full-range levels / 255",
                }
            ],
            "results": {"parity_torch_onnx": difference, **_run_facts(run), **_measured()},
        },
    )
    return folder


def _common(run: Path) -> dict[str, Any]:
    return {"file": "model.onnx", "opset": OPSET, "licence": "Apache-2.0; trained on data for non-commercial research"}


def _run_facts(run: Path) -> dict[str, Any]:
    state = torch.load(run / "state.pt", map_location="cpu", weights_only=True)
    return {"steps": state["step"], "training_minutes": round(state["seconds"] / 60, 1), "settings": state["settings"]}


def _measured() -> dict[str, Any]:
    """The committed figures of the last evaluation, flattened for the card; empty before the first."""
    path = RESULTS / "delivered.json"
    if not path.exists():
        return {}
    rows = json.loads(path.read_text())["rows"]
    return {
        f"{key}_face{row['width']}px_crf{row['crf']}": row["disrupter"][key]
        for row in rows
        for key in ("disrupted", "ci95", "face_psnr_db")
    }
