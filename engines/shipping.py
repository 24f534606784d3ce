"""What goes into the zoo: budgets, names and the words of each card, taken from what the run itself says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stream_guard.errors import UsageError
from stream_guard.inference.card import CARD_NAME, load_card
from stream_guard.stages.classifier import CROP

from .adopting import of_others
from .card_words import against, command, generators, learned_from, origin, sources
from .detectors import command as detectors
from .detectors.architectures import ARCHITECTURES, architecture
from .detectors.registry import detector_of, settings_kind
from .disrupter import train as disrupter
from .disrupter.network import GRID, SIZE
from .export import OPSET, to_onnx, write_card
from .generators.families import FAMILIES
from .generators.stargan import CONDITION_NAMES as CONDITION_NAMES
from .generators.stargan import CONDITIONS as CONDITIONS
from .magdr import train_perturbation, train_restorer
from .parser import train_parser
from .parser.network import OUTPUTS as PARSER_OUTPUTS
from .parser.network import SIZE as PARSER_SIZE
from .parser.network import Parsing
from .training import Stored, noted, settings_of, stored

ZOO = Path(__file__).resolve().parent / "zoo"
RESULTS = Path(__file__).resolve().parent / "evaluation" / "results"

DETECTOR = "detector"
"""The name in the zoo of the default of the `detect` stage: export NAME --as detector."""

BUDGET_PSNR_DB = disrupter.Settings().psnr_db
EPSILON_LEVELS = disrupter.Settings().epsilon_levels
EPSILON = EPSILON_LEVELS / 255

DATA = (
    "CelebAMask-HQ stills with parsing masks (non-commercial research) and synthetic faces; train split only, "
    "identities "
    "split by a hash of the name"
)

TALKING_AND_SWAPPED = (
    "; of these the train split, by a hash of the name; where the pack has them, frames of talking heads, and of one "
    "FaceForensics++ deepfake and its original (research only); faces blended with themselves"
)


def ship(name: str, run: Path, zoo_name: str | None = None, note: str = "") -> Path:
    """Export a trained network into the zoo, as `zoo_name`, with its card; returns its folder.

    `note` goes on the card: what happened in training that neither settings nor command tell.
    Raises UsageError when the run holds another network than `name`, or an engine of another kind has `zoo_name`.
    """
    found = stored(run)
    if found.name != name:
        raise UsageError(f"{run} holds a run of {found.name!r}, not of {name!r}: export {found.name} --from {run}")
    if zoo_name is not None:
        check_free(zoo_name, _kind(name))
    if name == disrupter.NAME:
        return _ship_disrupter(run, found, zoo_name or name, note)
    if name in ARCHITECTURES:
        return _ship_detector(run, found, zoo_name or f"{name}-detector", note)
    if name == train_perturbation.NAME:
        return _ship_perturbation(run, found, zoo_name or name, note)
    if name == train_restorer.NAME:
        return _ship_restorer(run, found, zoo_name or name, note)
    if name == train_parser.NAME:
        return _ship_parser(run, found, zoo_name or name, note)
    return _ship_probe(run, found, zoo_name or f"{name}-probe", note)


def _kind(name: str) -> str:
    """What the zoo calls a run of `name`."""
    if name in ARCHITECTURES:
        return "detector"
    return "generator" if name in FAMILIES else name


def check_free(zoo_name: str, kind: str) -> None:
    """An engine is replaced by its like alone: another kind in its place would take away what pipelines ask for.

    Raises UsageError where another kind has that name.
    """
    place = ZOO / zoo_name
    if (place / CARD_NAME).exists() and (there := load_card(place).kind) != kind:
        raise UsageError(f"{zoo_name!r} in the zoo is a {there}, and this is a {kind}: give it another name with --as")


def opponents(folders: list[Path]) -> dict[str, dict[str, Any]]:
    """What a disrupter's run notes of each generator and detector it is trained against, by the run folder's name."""
    notes = {}
    for folder in folders:
        if folder.name in notes:
            raise UsageError(f"two run folders are called {folder.name!r}: the disrupter tells them apart by that name")
        notes[folder.name] = noted(folder)
    return notes


def _ship_probe(run: Path, found: Stored, zoo_name: str, note: str) -> Path:
    """A generator as `audit` asks it: its instance statistics, one condition a row."""
    module, folder = FAMILIES[found.name], ZOO / zoo_name
    target, words = module.target(run), module.CARD
    torch.manual_seed(0)
    example = {
        "image": torch.rand(2, 3, target.size, target.size) * 2 - 1,
        "condition": target.conditions[:2].expand(2, -1).clone(),
    }
    difference = to_onnx(target, example, "edited", folder / "model.onnx")
    image = {"shape": [-1, 3, target.size, target.size], "range": [-1, 1]}
    rows = target.conditions.tolist()
    values = [v for row in rows for v in row] or [0.0]
    condition = {
        "name": "condition",
        "shape": [-1, target.conditions.shape[1]],
        "range": [min(0.0, *values), max(1.0, *values)],
        "meaning": words["condition"],
    }
    write_card(
        folder,
        _common()
        | {
            "name": zoo_name,
            "kind": "generator",
            "title": f"{words['title']}, {_millions(target)} M parameters (evaluation only)",
            "evaluation_only": True,
            "paper": words["paper"] + ("" if origin(found) else ". Our own surrogate, not the published weights"),
            "data": learned_from(found, words["data"]),
            "command": command(module.Settings(), found),
            "notes": f"{words['notes']} {note}".strip(),
            "inputs": [{"name": "image", **image, "meaning": "RGB head crop"}, condition],
            "outputs": [{"name": "edited", **image, "meaning": "RGB"}],
            "conditions": {"names": target.condition_names, "rows": rows},
            "results": {"parity_torch_onnx": difference, **_run_facts(found)},
        }
        | of_others(found, words["title"].removesuffix(" surrogate"), note),
    )
    return folder


def _ship_detector(run: Path, found: Stored, zoo_name: str, note: str) -> Path:
    """A detector, calibrated: log-odds of fake and real, of a head crop at its own size."""
    folder, detector = ZOO / zoo_name, detector_of(run)
    torch.manual_seed(0)
    side = detector.size
    difference = to_onnx(detector, {"image": torch.rand(2, 3, side, side) * 2 - 1}, "logits", folder / "model.onnx")
    image = {"shape": [-1, 3, side, side], "range": [-1, 1], "meaning": "RGB head crop"}
    shipped = zoo_name == DETECTOR
    write_card(
        folder,
        _common()
        | {
            "name": zoo_name,
            "kind": "detector",
            "title": f"{architecture(found.name).description}: deepfake detector, {_millions(detector)} M parameters"
            + ("" if shipped else " (evaluation only)"),
            "evaluation_only": not shipped,
            "default": shipped,
            "crop": CROP,
            "data": sources(found) + TALKING_AND_SWAPPED,
            "command": command(settings_kind(found.name)(), found),
            "notes": f"Real faces against the edits of {generators(found, 'fakes')}; says little of "
            "other generators or of face swaps (results have held-out deepfake videos). Reals and fakes were softened, "
            "sharpened, rescaled and encoded alike. An image passes as real when the second logit is above the "
            f"first. {note}".strip(),
            "inputs": [{"name": "image", **image}],
            "outputs": [{"name": "logits", "shape": [-1, 2], "meaning": "fake, real"}],
            "results": {"parity_torch_onnx": difference, **_run_facts(found), **detectors.measured(run)},
        }
        | of_others(found, f"{architecture(found.name).description}: deepfake detector", note),
    )
    return folder


def _ship_perturbation(run: Path, found: Stored, zoo_name: str, note: str) -> Path:
    """MagDR's detector of perturbed inputs: log-odds of perturbed and clean, of a head crop."""
    folder, detector = ZOO / zoo_name, train_perturbation.load(run)
    torch.manual_seed(0)
    side = detector.size
    difference = to_onnx(detector, {"image": torch.rand(2, 3, side, side) * 2 - 1}, "logits", folder / "model.onnx")
    image = {"shape": [-1, 3, side, side], "range": [-1, 1], "meaning": "RGB head crop"}
    write_card(
        folder,
        _common()
        | {
            "name": zoo_name,
            "kind": "perturbation",
            "title": f"Detector of perturbed inputs, {_millions(detector)} M parameters",
            "default": zoo_name == train_perturbation.NAME,
            "paper": "After Metzen et al.: On Detecting Adversarial Perturbations, ICLR 2017; here a slim ResNet-18 "
            "and a small network on the picture's high-pass residue",
            "data": sources(found) + "; of these the train split, by a hash of the name; frames of talking heads",
            "command": command(train_perturbation.Settings(), found),
            "notes": "Told clean heads from the same heads under PGD and C&W against "
            f"{generators(found, 'targets')} and under our own disrupter, in 8 bits and after H.264 and JPEG. Whoever "
            f"attacks with these weights at hand passes it. {note}".strip(),
            "inputs": [{"name": "image", **image}],
            "outputs": [{"name": "logits", "shape": [-1, 2], "meaning": "perturbed, clean"}],
            "results": {"parity_torch_onnx": difference, **_run_facts(found)},
        },
    )
    return folder


def _ship_restorer(run: Path, found: Stored, zoo_name: str, note: str) -> Path:
    """MagDR's learned restorer of head crops."""
    folder, network = ZOO / zoo_name, train_restorer.load(run)
    torch.manual_seed(0)
    difference = to_onnx(network, {"image": torch.rand(2, 3, 128, 128) * 2 - 1}, "restored", folder / "model.onnx")
    image = {"shape": [-1, 3, 128, 128], "range": [-1, 1]}
    write_card(
        folder,
        _common()
        | {
            "name": zoo_name,
            "kind": "restorer",
            "title": f"Restorer of perturbed heads, {_millions(network)} M parameters",
            "default": zoo_name == train_restorer.NAME,
            "paper": "After Liao et al.: High-Level Representation Guided Denoiser, CVPR 2018; a slim U-Net of our own",
            "data": sources(found) + "; of these the train split, by a hash of the name; frames of talking heads",
            "command": command(train_restorer.Settings(), found),
            "notes": f"Learned to undo PGD and C&W against {generators(found, 'targets')}, in 8 bits and after H.264 "
            f"and JPEG; says little of others. {note}".strip(),
            "inputs": [{"name": "image", **image, "meaning": "RGB head crop"}],
            "outputs": [{"name": "restored", **image, "meaning": "RGB"}],
            "results": {"parity_torch_onnx": difference, **_run_facts(found)},
        },
    )
    return folder


def _ship_parser(run: Path, found: Stored, zoo_name: str, note: str) -> Path:
    """The face parser with the features that MagDR's distances are taken of."""
    folder = ZOO / zoo_name
    network = train_parser.load(run)
    parsing = Parsing(network).eval()
    torch.manual_seed(0)
    example = {"image": torch.rand(2, 3, PARSER_SIZE, PARSER_SIZE) * 2 - 1}
    difference = to_onnx(parsing, example, PARSER_OUTPUTS, folder / "model.onnx")
    with torch.no_grad():
        shapes = [[-1, *part.shape[1:]] for part in parsing(example["image"])]
    meanings = (
        "probabilities of 19 classes in the order of CelebAMask-HQ",
        "features at a quarter",
        "features at a sixteenth",
        "the layer before the last, at a half",
    )
    write_card(
        folder,
        _common()
        | {
            "name": zoo_name,
            "kind": "parser",
            "title": f"Face parser: 19 classes, {_millions(network)} M parameters",
            "default": zoo_name == train_parser.NAME,
            "paper": "After BiSeNet (Yu et al., ECCV 2018) as MagDR uses it; a residual U-Net of our own",
            "data": learned_from(found, DATA.replace(" and synthetic faces", "")),
            "command": command(train_parser.Settings(), found),
            "notes": f"Rare classes (hats, earrings, necklaces, glasses) are weak: see results. {note}".strip(),
            "inputs": [
                {
                    "name": "image",
                    "shape": [-1, 3, PARSER_SIZE, PARSER_SIZE],
                    "range": [-1, 1],
                    "meaning": "RGB head crop",
                }
            ],
            "outputs": [
                {"name": name, "shape": shape, "meaning": meaning}
                for name, shape, meaning in zip(PARSER_OUTPUTS, shapes, meanings, strict=True)
            ],
            "results": {"parity_torch_onnx": difference, **_run_facts(found), **train_parser.results(run)},
        },
    )
    return folder


def _ship_disrupter(run: Path, found: Stored, zoo_name: str, note: str) -> Path:
    folder = ZOO / zoo_name
    network, settings = disrupter.load(run), settings_of(run, disrupter.Settings)
    torch.manual_seed(0)
    difference = to_onnx(network, {"face": torch.rand(2, 3, SIZE, SIZE)}, "delta", folder / "model.onnx")
    epsilon = settings.epsilon_levels / 255
    write_card(
        folder,
        _common()
        | {
            "name": zoo_name,
            "kind": "disrupter",
            "title": f"Disrupter: a {_millions(network)} M parameter network trained through H.264 and JPEG",
            "default": zoo_name == disrupter.NAME,
            "epsilon": epsilon,
            "paper": "DeepFake Disrupter (anonymous CVPR submission 7865), eq. 7, with the delivery in the loop",
            "data": learned_from(found, DATA) + ("; frames of talking-head clips" if settings.clips else ""),
            "command": command(disrupter.Settings(), found),
            "notes": f"{against(found)} As P answers, in floats, no face's PSNR over the head, of the perturbation "
            f"alone, is under {settings.psnr_db:g} dB at strength 1; in 8 bits it may be some tenths less. "
            f"{note}".strip(),
            "inputs": [{"name": "face", "shape": [-1, 3, SIZE, SIZE], "range": [0, 1], "meaning": "RGB guard region"}],
            "outputs": [
                {
                    "name": "delta",
                    "shape": [-1, 3, GRID, GRID],
                    "range": [-epsilon, epsilon],
                    "meaning": "Y, Cb, Cr in full-range levels / 255",
                }
            ],
            "results": {
                "parity_torch_onnx": difference,
                **_run_facts(found),
                **_measured(folder / "model.onnx"),
            },
        },
    )
    return folder


def _common() -> dict[str, Any]:
    return {"file": "model.onnx", "opset": OPSET, "licence": "Apache-2.0; trained on data for non-commercial research"}


def _millions(network: nn.Module) -> str:
    return f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f}"


def _run_facts(found: Stored) -> dict[str, Any]:
    return {
        "steps": found.step,
        "training_minutes": round(found.seconds / 60, 1),
        "settings": json.dumps(found.settings, sort_keys=True),
        **{f"checkpoint_{key}": value for key, value in origin(found).items()},
    }


def _measured(model: Path) -> dict[str, Any]:
    """The committed figures of the last evaluation, flattened for the card; empty unless they are of this model."""
    path = RESULTS / "delivered.json"
    if not path.exists():
        return {}
    table = json.loads(path.read_text())
    if table.get("disrupter_sha256") != hashlib.sha256(model.read_bytes()).hexdigest():
        return {}
    return {
        f"{key}_{row['family']}_face{row['width']}px_crf{row['crf']}": row["disrupter"][key]
        for row in table["rows"]
        for key in ("disrupted", "ci95", "face_psnr_db")
    }
