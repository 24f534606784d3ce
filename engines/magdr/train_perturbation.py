"""Trains a detector of perturbed inputs (after Metzen et al., ICLR 2017), which stands beside MagDR's two.

It sees the head crop alone, no generator: it is cheap, it finds what was made against generators that nobody here has
a probe for as far as that looks alike, and whoever knows its weights can pass it. So it adds to MagDR's verdict and
does not replace it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stream_guard.errors import UsageError

from ..data.origin import described
from ..detectors import learner
from ..detectors.architectures import architecture
from ..detectors.detector import FAKE, REAL, Detector
from ..detectors.learner import GROUP, Group, Learner
from ..generators.families import target_of
from ..generators.target import Target
from ..training import Run, noted, pick_device, seed_everything
from .perturbed import Perturbing

NAME = "perturbation"
NETWORK = "resnet18_residue"
PERTURBED, CLEAN = FAKE, REAL
"""The order of the two logits."""


@dataclass(frozen=True)
class Settings(learner.Settings):
    width: float = 0.25
    """channels, as a share of the published network's"""
    reuse: int = 12
    """how many batches see a group of pictures: an attack costs ten times a step; 1 on a GPU"""
    own: float = 0.3
    """share of groups that our own disrupter perturbs; the others are attacked by PGD or C&W against a target"""


class PerturbationTrainer(Learner):
    def __init__(self, settings: Settings, data: Path, targets: Sequence[Target], device: torch.device) -> None:
        super().__init__(architecture(NETWORK).detector(settings.width, settings.size), settings, device)
        targets = [target.to(device) for target in targets]
        self.seen, self.others = (
            Perturbing.of(data, split, targets, settings.own, device, self.half) for split in ("train", "val")
        )
        self.labels = torch.tensor([CLEAN] * (GROUP // 2) + [PERTURBED] * (GROUP // 2), device=device)

    def made(self) -> Group:
        return self._group(self.seen, self.rng)

    def held_out(self, rng: torch.Generator) -> Group:
        return self._group(self.others, rng)

    def _group(self, source: Perturbing, rng: torch.Generator) -> Group:
        pictures = torch.cat(source.pairs(GROUP // 2, rng))
        mirrored = float(torch.rand(1, generator=rng)) < 0.5
        return (pictures.flip(3) if mirrored else pictures) * 2 - 1, self.labels


def train(
    data: Path,
    out: Path,
    minutes: float,
    resume: bool,
    device: str,
    settings: Settings | None = None,
    targets: Sequence[Path] = (),
    start: Sequence[Path] = (),
) -> Run:
    """Train for `minutes` on attacks against the generators in the run folders `targets`. Writes `out`/state.pt.

    A new run begins with the best weights of the runs `start`, with their mean where there are several.
    """
    settings = settings or Settings()
    if not targets and settings.own < 1:
        raise UsageError("perturbations need generators to be made against: --targets DIR ... (or --set own=1)")
    settings.check()
    seed_everything(settings.seed)
    trainer = PerturbationTrainer(settings, data, [target_of(t, data) for t in targets], pick_device(device))
    notes: dict[str, Any] = {"targets": {t.name: noted(t) for t in targets}, "data": described(data)}
    if settings.own:
        notes["protected_by"] = trainer.seen.pictures.protector.about()
    if start:
        trainer.start(start)
        notes["start"] = {folder.name: noted(folder) for folder in start}
    return learner.fit(trainer, Run.of(out, settings, minutes, NAME, notes), settings, resume)


def load(folder: Path) -> Detector:
    """The best weights of a run, calibrated, frozen, in eval mode; logits (N, 2) of (perturbed, clean)."""
    return learner.load(folder, Settings, NETWORK)
