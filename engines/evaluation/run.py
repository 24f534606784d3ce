"""The delivered-disruption table: every method, width and crf, with intervals, as JSON to commit."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stream_guard.audit.probes import Probe
from stream_guard.errors import EngineError
from stream_guard.inference import find_engine
from stream_guard.stages.disrupt import DisruptOptions, DisruptStage

from ..data.detect import still_detector
from ..data.media import face_in
from ..data.pack import split_of
from ..disrupter.budget import rms_of_psnr
from ..generators.target import Target
from . import methods
from .asked import whose
from .delivered import Still, Tally, measure
from .protectors import Engine, budget_of, open_engine

PGD_SHARE = 1.18
"""PGD-10's bound on each value, over the root mean square of the budget: it does not fill its box."""


def held_out(media: Path, count: int, seed: int) -> list[Still]:
    """`count` faces of the test split of `parsing/images`: no network here was trained on these pictures.

    One that can't be read or shows no face is left out, and said on stderr. Raises EngineError where none is left.
    """
    paths = [p for p in sorted((media / "parsing" / "images").glob("*.jpg")) if split_of(p.stem) == "test"]
    order = np.random.default_rng(seed).permutation(len(paths))
    detect, stills = still_detector(), []
    for k in order:
        found = face_in(paths[k], detect)
        if found is not None:
            stills.append(Still(paths[k].stem, *found))
        if len(stills) == count:
            break
    if not stills:
        raise EngineError(
            f"{media}/parsing/images holds no face of the test split: --media is the folder above parsing"
        )
    return stills


def table(
    stills: Sequence[Still],
    bounded: int,
    targets: Sequence[tuple[Target, Probe]],
    widths: Sequence[int],
    crfs: Sequence[int],
    seed: int,
    engine: str | None = None,
    strength: float = 1.0,
) -> list[dict[str, Any]]:
    """One row a generator, width and crf: control, disrupter, PGD-10, and the bound on the first `bounded` faces.

    Each of `targets` is attacked as itself and asked as its probe.

    `engine` is a disrupter's name or folder; the zoo's default if not given. `strength` is the stage's; the bound and
    PGD-10 keep to the budget of strength 1.
    """
    stage = DisruptStage(DisruptOptions(engine=engine, strength=strength))
    stage.open()
    ours = open_engine(engine)
    try:
        return [
            row
            for target, probe in targets
            for row in _of_one(ours, stage, stills, bounded, target, probe, widths, crfs, seed)
        ]
    finally:
        ours.close()
        stage.close()


def _of_one(
    ours: Engine,
    stage: DisruptStage,
    stills: Sequence[Still],
    bounded: int,
    target: Target,
    probe: Probe,
    widths: Sequence[int],
    crfs: Sequence[int],
    seed: int,
) -> list[dict[str, Any]]:
    conditions = torch.from_numpy(probe.rows)
    few = list(stills[:bounded])
    budget = ours.budget_psnr_db
    reach: dict[str, Any] = {"psnr_db": budget, "epsilon": ours.epsilon, "grid": ours.grid, "answer": ours.answer}
    limits = methods.bound(few, target, conditions, seed, **reach) if few else []
    pgd = [methods.pgd10(still, target, conditions, PGD_SHARE * 2 * rms_of_psnr(budget)) for still in few]
    rows = []
    for width in widths:
        for crf in crfs:
            whole = measure(stills, width, crf, probe, {"control": None, "disrupter": methods.disrupter(stage)})
            part = [
                measure(
                    [s],
                    width,
                    crf,
                    probe,
                    {"control": None, "disrupter": methods.disrupter(stage), "pgd10": a, "bound": b},
                )
                for s, a, b in zip(few, pgd, limits, strict=True)
            ]
            place: dict[str, Any] = {"generator": probe.name, "family": target.family, "title": probe.heading}
            place |= {"width": width, "crf": crf}
            rows.append({**place, **_summaries(whole)})
            if part:
                rows[-1]["on_bound_faces"] = _summaries(_merged(part))
            print(rows[-1], flush=True)
    return rows


def facts(seed: int, command: str, engine: str | None = None, others: Sequence[str] = ()) -> dict[str, Any]:
    """What goes for every row; `others` are the titles of generators whose weights were adopted."""
    return {
        "command": command,
        "seed": seed,
        "device": f"CPU, {platform.machine()}, torch {torch.__version__}",
        "data": "CelebAMask-HQ stills of the test split (never trained on), drifting clips, libx264 veryfast 4:2:0",
        "generators": whose(others),
        "criterion": "mean squared error on [-1,1] between G(protected, decoded) and G(original) at least 0.05",
        "budget_psnr_db": budget_of(find_engine(engine, "disrupter")),
    }


def _summaries(tallies: dict[str, Tally]) -> dict[str, Any]:
    return {name: tally.summary(None if name == "control" else tallies["control"]) for name, tally in tallies.items()}


def _merged(parts: list[dict[str, Tally]]) -> dict[str, Tally]:
    out = {name: Tally() for name in parts[0]}
    for part in parts:
        for name, tally in part.items():
            out[name].values += tally.values
            out[name].squared += tally.squared
            out[name].seen += tally.seen
            out[name].bytes += tally.bytes
    return out
