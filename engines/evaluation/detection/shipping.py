"""The network that is asked behind Deep Image Prior, into the zoo: `python -m engines purify` takes it from there."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from stream_guard.stages.classifier import CROP

from ...detectors.operating import move
from ...export import OPSET, to_onnx, write_card
from ...shipping import ZOO, check_free
from .defence import Defence

SHARES = ("accuracy", "auroc", "recall_fake", "recall_real")


def ship(used: Defence, name: str, document: Mapping[str, Any]) -> Path:
    """Export the network behind the prior as `name`, its threshold at p_real .5; returns its folder.

    `document`: the figures of this run, of which the card takes what was measured of this defence. Raises UsageError
    where an engine of another kind has that name.
    """
    check_free(name, "detector")
    folder, detector = ZOO / name, copy.deepcopy(used.behind.detector)
    move(detector, used.by)
    torch.manual_seed(0)
    side, filmed = detector.size, used.behind.recipe.filmed
    difference = to_onnx(detector, {"image": torch.rand(2, 3, side, side) * 2 - 1}, "logits", folder / "model.onnx")
    write_card(
        folder,
        {
            "name": name,
            "kind": "detector",
            "file": "model.onnx",
            "opset": OPSET,
            "licence": "Apache-2.0; trained on data for non-commercial research",
            "title": f"{used.behind.recipe.title}: {used.behind.facts['parameters'] / 1e6:.2f} M parameters",
            "evaluation_only": False,
            "default": False,
            "crop": CROP,
            "paper": "After Gandhi and Jain: Adversarial Perturbations Fool Deepfake Detectors, IJCNN 2020; they blur "
            "pictures to learn from, here the prior draws them",
            "data": document["data"] + (f"; {filmed} frames of talking heads of the train split" if filmed else ""),
            "command": _trained_by(used.behind.name, document["commands"]),
            "notes": "To be asked behind Deep Image Prior only, beside another detector (python -m engines purify): "
            "it learned from what that prior draws of reals, fakes and fakes after FGSM, and is not robust by itself. "
            "Real faces against the edits of our own surrogates; says little of other generators or of face swaps. "
            f"Its threshold and its results are those of a second opinion after {used.first.recipe.title}.",
            "inputs": [
                {"name": "image", "shape": [-1, 3, side, side], "range": [-1, 1], "meaning": "RGB head crop, drawn"}
            ],
            "outputs": [{"name": "logits", "shape": [-1, 2], "meaning": "fake, real"}],
            "results": {
                "parity_torch_onnx": difference,
                "threshold_logit": round(used.by, 4),
                **_measured(used, document),
            },
        },
    )
    return folder


def _trained_by(network: str, commands: Sequence[str]) -> str:
    """The first call that named the network; the last of all where none did."""
    return next((c for c in commands if network in shlex.split(c)), commands[-1])


def _measured(used: Defence, document: Mapping[str, Any]) -> dict[str, float]:
    """Behind the prior and beside the first network, by table III; empty where that was not measured."""
    rows = [row for row in document.get("table3", []) if row.get("network") == used.words["network"]]
    found = {}
    for row in rows:
        if row["defence"] == "Deep Image Prior":
            for key in SHARES:
                value = row[key]["value"] if isinstance(row[key], Mapping) else row[key]
                found[f"{key}_p{round(100 * row['threshold'])}"] = value  # a dot would be a table in TOML
    return found
