"""Who is asked about a face: one of the zoo's detectors, or a run folder of one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from stream_guard.errors import EngineError
from stream_guard.stages.classifier import FaceClassifier, open_classifier

from ..detectors.degrade import resize
from ..detectors.registry import detector_of
from .prior import Judge


@dataclass(frozen=True)
class Asked:
    """A detector: `size` is the side of its input, `p_real` takes pictures (N, 3, S, S) in [-1, 1] of any S."""

    name: str
    size: int
    p_real: Judge


def asked(name: str, threads: int, device: torch.device) -> Asked:
    """By the name of an engine ("": the zoo's default), or by the run folder of a detector.

    Raises UnknownNameError, EngineError and UsageError.
    """
    if (Path(name) / "state.pt").is_file() or os.sep in name:
        detector = detector_of(Path(name)).eval().requires_grad_(False).to(device)
        return Asked(Path(name).name, detector.size, detector.p_real)
    engine = open_classifier(name or None, "auto", threads)
    return Asked(engine.card.name, engine.size, partial(_p_real, engine))


def _p_real(engine: FaceClassifier, images: Tensor) -> Tensor:
    """As the stage asks: of pictures in 8 bits."""
    rgb = ((resize(images, engine.size).clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return torch.sigmoid(-torch.tensor(_numbers(engine, engine.log_odds(list(rgb)))))


def _numbers(engine: FaceClassifier, odds: Sequence[float | None]) -> list[float]:
    found = [value for value in odds if value is not None]
    if len(found) < len(odds):
        raise EngineError(f"the engine {engine.card.name!r} gave no number for {len(odds) - len(found)} of {len(odds)}")
    return found
