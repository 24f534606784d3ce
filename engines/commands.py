"""What `python -m engines` does, one function a command."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from stream_guard.errors import UsageError
from stream_guard.inference import find_engine

from . import adopting, importing, shipping
from .data import clips
from .data import pack as packs
from .data.action_units import LandmarkFinder
from .data.detect import still_detector
from .data.heads import HEAD_SHARE, Heads, crop, crop_theta
from .data.media import listed
from .detectors import deepfakes
from .detectors.registry import TRAINERS, detector_of
from .disrupter import train as disrupter
from .evaluation import run as evaluation
from .evaluation.asked import probe_of_run
from .generators import train_fomm as fomm
from .generators.families import FAMILIES, target_of
from .generators.target import Target
from .invocation import invocation
from .magdr import train_perturbation as perturbation
from .magdr import train_restorer as restorer
from .magdr.purified import PurifiedTarget
from .parser import train_parser
from .settings import with_changes
from .writing import whole, write_json

SHEET_FACES = 8
SHEET_CONDITIONS = 8


def trainables() -> dict[str, Any]:
    """Name to the module with its `Settings` and `train`: generators, detectors, the disrupter and MagDR's."""
    others = {module.NAME: module for module in (disrupter, train_parser, perturbation, restorer)}
    return {**FAMILIES, **TRAINERS, **others}


def pack(arguments: argparse.Namespace) -> None:
    """Stills, and where they are asked for, landmarks with action units, and the frames of clips."""
    detect = still_detector()
    finder = LandmarkFinder(arguments.landmarks) if arguments.landmarks else None
    extra: dict[str, Any] = {}
    if arguments.clips:
        extra |= clips.collect(arguments.clips, detect, finder, arguments.clip_size, arguments.clip_frames)
    extra |= deepfakes.collect(arguments.deepfakes, detect) if arguments.deepfakes else {}
    rows = listed(arguments.media, arguments.synthetic, arguments.aligned, detect)
    made = packs.build(rows, arguments.out, arguments.size, arguments.quality, extra, finder)
    print(json.dumps(made))


def train(arguments: argparse.Namespace) -> None:
    """Train one generator; a detector on the edits of `fakes`; or the disrupter against `targets` and `detectors`."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    module = trainables()[arguments.name]
    out = arguments.out or Path("runs") / arguments.name
    if (out / "state.pt").exists() and not arguments.resume:
        raise UsageError(f"{out} holds a run already: --resume goes on from it, another --out starts anew")
    if arguments.resume and not (out / "state.pt").exists():
        print(f"{out} holds no run yet: a new one begins", file=sys.stderr)
    settings = with_changes(module.Settings(), arguments.set)
    common = (out, arguments.minutes, arguments.resume, arguments.device, settings)
    if arguments.name == "disrupter":
        targets, detectors = arguments.targets, arguments.detectors
        notes = {"targets": shipping.opponents(targets), "detectors": shipping.opponents(detectors)}
        for name in ("start", "purify"):
            if folder := getattr(arguments, name):
                notes |= {name: shipping.opponents([folder])}
        run = disrupter.train(
            arguments.data,
            _opponents(arguments),
            {folder.name: detector_of(folder) for folder in detectors},
            *common,
            notes,
            arguments.start,
        )
    elif arguments.name in TRAINERS:
        run = module.train(arguments.data, *common, arguments.fakes, arguments.start, arguments.teacher)
    elif arguments.name in (perturbation.NAME, restorer.NAME):
        run = module.train(arguments.data, *common, arguments.targets, arguments.start)
    elif arguments.name == fomm.NAME:
        run = module.train(arguments.data, *common, arguments.start)
    else:
        run = module.train(arguments.data, *common)
    print(f"{out}: {run.step} steps in {run.spent_seconds / 60:.1f} minutes")


def _opponents(arguments: argparse.Namespace) -> dict[str, Target]:
    """The generators of `targets`; with `purify`, each once more behind that restorer."""
    plain = {folder.name: target_of(folder, arguments.data) for folder in arguments.targets}
    if arguments.purify is None:
        return plain
    network = restorer.load(arguments.purify)
    return plain | {f"{name} purified": PurifiedTarget(target, network) for name, target in plain.items()}


def sheet(arguments: argparse.Namespace) -> None:
    """Rows: the original, then each condition; columns: held-out faces."""
    target = target_of(arguments.generator, arguments.data)
    held_out = sorted(packs.read(arguments.data, ["test"]), key=lambda head: head.mask is None)
    heads = Heads(held_out[:SHEET_FACES], torch.device("cpu"))
    theta = crop_theta(len(heads), HEAD_SHARE, 0.0, None)
    x = crop(heads.rgb.float() / 255, theta, target.size).clamp(0, 1)
    rows = [x]
    with torch.no_grad():
        for condition in target.conditions[:SHEET_CONDITIONS]:
            rows.append((target(x * 2 - 1, condition.expand(len(x), -1)) + 1) / 2)
    picture = torch.cat([torch.cat(list(row), 2) for row in rows], 1).permute(1, 2, 0)
    form = Image.registered_extensions()[arguments.out.suffix.lower()]
    with whole(arguments.out) as file:
        Image.fromarray((picture.clamp(0, 1).numpy() * 255).round().astype(np.uint8)).save(file, form)
    print(f"{arguments.out}: {', '.join(['original', *target.condition_names[:SHEET_CONDITIONS]])}")


def export(arguments: argparse.Namespace) -> None:
    source = arguments.source or Path("runs") / arguments.name
    print(shipping.ship(arguments.name, source, arguments.zoo_name, arguments.note))


def unship(arguments: argparse.Namespace) -> None:
    """A shipped network as a run folder again."""
    card = find_engine(arguments.name)
    out = arguments.out or Path("runs") / arguments.name
    if (out / "state.pt").exists():
        raise UsageError(f"{out} holds a run already: choose another --out")
    importing.unship(card, out, arguments.data)
    print(out)


def adopt(arguments: argparse.Namespace) -> None:
    """A published checkpoint as a run folder."""
    out = arguments.out or Path("runs") / arguments.name
    if (out / "state.pt").exists():
        raise UsageError(f"{out} holds a run already: choose another --out")
    print(adopting.adopt(arguments.name, arguments.checkpoint, out, arguments.data, arguments.set))
    print(out)


def delivered(arguments: argparse.Namespace) -> None:
    """The disruption on delivered video by face width and crf, beside PGD-10 and the bound."""
    shipping.opponents(arguments.targets)  # names that are alike would make rows that nobody can tell apart
    targets = [target_of(folder) for folder in arguments.targets]
    probes = [probe_of_run(folder, target) for folder, target in zip(arguments.targets, targets, strict=True)]
    stills = evaluation.held_out(arguments.media, arguments.faces, arguments.seed)
    rows = evaluation.table(
        stills,
        min(arguments.bound_faces, len(stills)),
        list(zip(targets, probes, strict=True)),
        arguments.widths,
        arguments.crf,
        arguments.seed,
        arguments.engine,
        arguments.strength,
    )
    places = {folder: f"runs/{folder.name}" for folder in arguments.targets}
    command = invocation({**places, arguments.media: "MEDIA", arguments.out: "OUT"})
    facts = {
        **evaluation.facts(
            arguments.seed, command, arguments.engine, [probe.title for probe in probes if not probe.surrogate]
        ),
        "strength": arguments.strength,
        "disrupter_sha256": find_engine(arguments.engine, "disrupter").sha256,
    }
    write_json(arguments.out, {**facts, "rows": rows})
    print(arguments.out)
