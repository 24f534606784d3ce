"""Pictures as Deep Image Prior draws them, of reals, fakes and attacked fakes: to learn from, and to choose where the
defence calls a picture real. The paper's stand-in for them is blur.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from stream_guard.errors import EngineError

from ...attacks.base import Linf
from ...attacks.classifier import FGSM, PAPER_EPSILON
from ...detectors.detector import FAKE, REAL, Detector
from ...purification.prior import FAST, EarlyStop, Settings, purify
from ...training import weights_sum
from ...writing import unreadable, whole
from .data import Part

BATCH = 16
SHARES = (0.6, 0.7, 0.8, 0.9, 1.0)
"""Of the iterations: where pictures are kept."""


@dataclass(frozen=True)
class Drawn:
    """`pictures` (N, 3, S, S) uint8 and their `labels` (N,): of every person a real, a fake and an attacked fake, each
    at SHARES of the iterations."""

    pictures: Tensor
    labels: Tensor

    def some(self, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """(count, 3, S, S) in [-1, 1], half of them mirrored, and their labels; reals as often as fakes."""
        weights = torch.where(self.labels == REAL, 1 / (self.labels == REAL).sum(), 1 / (self.labels == FAKE).sum())
        chosen = torch.multinomial(weights, count, replacement=True, generator=rng)
        x = self.pictures[chosen].float() / 127.5 - 1
        mirrored = torch.rand(count, generator=rng) < 0.5
        return torch.where(mirrored[:, None, None, None], x.flip(3), x), self.labels[chosen]

    def beside(self, other: Drawn) -> Drawn:
        """Those of other people too."""
        parts = [
            (one.pictures.unflatten(0, (len(SHARES), -1)), one.labels.view(len(SHARES), -1)) for one in (self, other)
        ]
        return Drawn(
            torch.cat([part[0] for part in parts], 1).flatten(0, 1), torch.cat([part[1] for part in parts], 1).flatten()
        )

    def late(self) -> Drawn:
        """Those of the last two of SHARES, where the defence stops."""
        first = len(self.labels) // len(SHARES) * (len(SHARES) - 2)
        return Drawn(self.pictures[first:], self.labels[first:])


def make(part: Part, size: int, detector: Detector, path: Path, settings: Settings = FAST) -> Drawn:
    """Drawn of every picture of the part, from the file where it was made before: of these people, for this network."""
    key = _key(part, size, detector, settings)
    if path.exists() and (before := _load(path, key)) is not None:
        return before
    x, labels = three(part, size, detector)
    print(f"deep image prior draws {len(x)} pictures for {path.name}", flush=True)
    kept = [_drawn(images, settings) for images in x.split(BATCH)]
    pictures = ((torch.cat(kept, 1) + 1) * 127.5).round().byte()
    found = Drawn(pictures.flatten(0, 1), labels.repeat(len(pictures)))
    with whole(path) as file:
        torch.save({"pictures": found.pictures, "labels": found.labels, "key": key}, file)
    return found


def three(part: Part, size: int, detector: Detector) -> tuple[Tensor, Tensor]:
    """Reals, fakes and fakes after FGSM on the detector, and the labels; of larger pictures the middle."""
    x, labels = part.both()
    edge = (x.shape[-1] - size) // 2
    x, n = x[..., edge : edge + size, edge : edge + size], len(part)
    attacked = FGSM(Linf(PAPER_EPSILON))(detector, x[n:], labels[n:])
    return torch.cat([x, attacked]), torch.cat([labels, labels[n:]])


def _drawn(images: Tensor, settings: Settings) -> Tensor:
    """(len(SHARES), N, 3, S, S)."""
    keep = Keep([round(share * settings.iterations) for share in SHARES])
    # Nobody judges: once, at the end, is the least that it can be asked.
    purify(images, lambda shown: torch.zeros(len(shown)), replace(settings, every=settings.iterations), keep)
    return torch.stack(keep.kept)


class Keep(EarlyStop):
    """Stops nowhere and keeps what is drawn at the steps."""

    def __init__(self, steps: list[int]) -> None:
        super().__init__()
        self.steps, self.kept = steps, list[Tensor]()

    def look(self, step: int, pictures: Tensor) -> bool:
        if step in self.steps:
            self.kept.append(pictures)
        return False


def _key(part: Part, size: int, detector: Detector, settings: Settings) -> str:
    weights = weights_sum(detector)
    return json.dumps({"people": part.names, "size": size, "weights": weights, "settings": asdict(settings)})


def _load(path: Path, key: str) -> Drawn | None:
    """None where the file was made with another key."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        # Files of before there were keys are taken for what their names say; no new ones are written.
        if found.get("key", key) != key:
            return None
        return Drawn(found["pictures"], found["labels"])
    except (OSError, RuntimeError, KeyError, TypeError, AttributeError, UnpicklingError) as error:
        raise EngineError(f"{path} holds no drawn pictures ({unreadable(error)}): delete it to draw them") from error
