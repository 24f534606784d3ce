"""Published checkpoints as run folders: `python -m engines adopt`.

Whoever has the weights that the papers' authors published, or others in their layout, can attack, measure and train
against those in place of our surrogates: what comes out is a run folder as training leaves it.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stream_guard.errors import UsageError

from .detectors import learner, train_detector
from .detectors.architectures import ARCHITECTURES, architecture
from .generators import train_cyclegan, train_fomm, train_ganimation, train_stargan
from .generators.checkpoint import LoadReport, load_cyclegan, load_ganimation, load_stargan
from .generators.families import FAMILIES
from .generators.fomm.animate import load_fomm
from .settings import with_changes
from .training import ADOPTED, Run, Stored

PUBLISHED: dict[str, Any] = {
    "cyclegan": train_cyclegan.Settings(ngf=64, size=256),
    "fomm": train_fomm.Settings(
        size=256,
        kp_block=32,
        kp_max=1024,
        kp_blocks=5,
        block=64,
        max_features=512,
        down=2,
        bottleneck=6,
        motion_block=64,
        motion_max=1024,
        motion_blocks=5,
    ),
    "ganimation": train_ganimation.Settings(conv_dim=64),
    "stargan": train_stargan.Settings(conv_dim=64, whole_attributes=True),
}
"""The published widths and input sizes of the generators; a detector's are in detectors/architectures.py."""

FILL: dict[str, Callable[[dict[str, Any], Path], LoadReport | dict[str, LoadReport]]] = {
    "cyclegan": lambda parts, path: load_cyclegan(parts["g_a"], path),
    "fomm": lambda parts, path: load_fomm(parts["ema"].kp_detector, parts["ema"].generator, path),
    "ganimation": lambda parts, path: load_ganimation(parts["g"], path),
    "stargan": lambda parts, path: load_stargan(parts["g"], path),
}


def adoptable() -> list[str]:
    """The networks whose published layout is known."""
    return sorted([*FAMILIES, *(name for name in ARCHITECTURES if not name.startswith("resnet18_residue"))])


def adopt(name: str, checkpoint: Path, out: Path, data: Path | None = None, changes: Sequence[str] = ()) -> str:
    """Write the network `name` with a checkpoint's weights as a run in `out`; returns what did not fit, in words.

    `changes` are settings that differ from the published ones (`size=256`). `data` is a pack with clips, of which
    First Order Motion takes its driving frames. Raises EngineError for the weights of another network and for a
    pickle that would run code.
    """
    if name not in adoptable():
        raise UsageError(f"{name!r} has no published layout here; choose one of: {', '.join(adoptable())}")
    make = _generator if name in FAMILIES else _detector
    settings, parts, report = make(name, checkpoint, data, list(changes))
    origin = {"file": checkpoint.name, "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest()}
    Run.of(out, settings, 0.0, name, {ADOPTED: origin}).save(parts)
    reports = report if isinstance(report, dict) else {name: report}
    return "\n".join(f"{part}: {found}" for part, found in reports.items())


def of_others(found: Stored, title: str, note: str = "") -> dict[str, Any]:
    """What a card says otherwise where the run's weights were adopted; nothing where they were trained here."""
    origin = found.notes[-1].get(ADOPTED) if found.notes else None
    if origin is None:
        return {}
    own = vars(PUBLISHED[found.name]) if found.name in PUBLISHED else found.settings
    changed = [f"--set {key}={value}" for key, value in sorted(found.settings.items()) if own.get(key) != value]
    return {
        "title": f"{title}, weights of {origin['file']}",
        "surrogate": False,
        "licence": f"that of {origin['file']}",
        "data": "not known here: whoever published the weights says",
        "command": " ".join(["python -m engines adopt", found.name, shlex.quote(origin["file"]), *changed]),
        "notes": f"The weights of {origin['file']} (sha256 {origin['sha256']}) in the published architecture, not "
        f"trained by this project. {note}".strip(),
    }


def _generator(name: str, checkpoint: Path, data: Path | None, changes: list[str]) -> tuple[Any, dict[str, Any], Any]:
    settings = with_changes(PUBLISHED[name], changes)
    parts = FAMILIES[name].blank(settings, data)
    return settings, parts, FILL[name](parts, checkpoint)


def _detector(name: str, checkpoint: Path, data: Path | None, changes: list[str]) -> tuple[Any, dict[str, Any], Any]:
    if changes:
        raise UsageError(f"{name} is adopted as it was published: --set {changes[0]} is for generators")
    kind = architecture(name)
    detector, report = kind.load_public(checkpoint)
    best = learner.Best(detector)
    best.published()
    return replace(train_detector.Settings(), width=1.0, size=kind.size), {"best": best}, report
