"""Trains a detector: reals against the surrogates' fakes of the same people, and a few real deepfakes.

Groups of head crops of the train split, and the same crops edited by one of the frozen generators, both degraded alike
(degrade.py); a batch is several groups, cross entropy. How it learns and what of it is kept is in learner.py; the test
split is left for measure.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stream_guard.errors import UsageError

from ..data.origin import described
from ..generators.families import target_of
from ..generators.target import Target
from ..training import Run, noted, pick_device, seed_everything, stored
from . import learner, operating
from .architectures import architecture
from .blending import faint, self_blended
from .degrade import Path as Way
from .degrade import as_soft_as, degrade, dimmed, grainy
from .detector import FAKE, REAL, Detector
from .learner import GROUP, Group, Learner
from .learner import load as load
from .pictures import Pictures, heads_and_fakes

WAYS = Way(192), Way(192, "h264", 23)
"""How the pictures come that set the threshold: in 8 bits, and in delivered video."""
JUDGED = 200
"""People at the most on whom it is set."""

Light = Callable[[Tensor, torch.Generator], Tensor]
"""What too little of it does to pictures (N, 3, S, S) in [0, 1], at random: they are dark, or have grain."""


@dataclass(frozen=True)
class Settings(learner.Settings):
    deepfakes: float = 0.1
    """share of groups that are frames of real deepfake videos and their originals, where the pack has them"""
    blended: float = 0.1
    """share of groups whose fakes are faces blended with themselves, for the seams of face swaps"""
    matched: float = 0.5
    """share of groups of edits whose reals are made as soft as their fakes first, so that softness tells nothing"""
    faint: float = 0.0
    """share of groups of edits of which only a part is left, by amount or place, the rest real"""
    protected: float = 0.0
    """share of pairs whose faces were protected by the zoo's disrupter first: the real one must still pass as real"""
    laundered: float = 0.0
    """share of groups of edits in which reals and fakes are protected afterwards: that must not make a fake pass"""
    even: bool = False
    """stills of each of the pack's origins as often, however many each has"""
    dark: float = 0.0
    """share of groups in which reals and fakes are dark, as in too little light: that must change no answer"""
    grain: float = 0.0
    """share of groups in which reals and fakes have a sensor's noise that no codec has smoothed yet"""
    taught: float = 0.5
    """how much of a label is the teacher's answer, where there is one; it is not asked about dark and grainy groups"""

    def check(self) -> None:
        super().check()
        if self.dark + self.grain > 1:
            raise UsageError(
                f"dark={self.dark} and grain={self.grain}: no group is both, so together they must be at most 1"
            )


class DetectorTrainer(Learner):
    def __init__(
        self, name: str, settings: Settings, data: Path, targets: Sequence[Target], device: torch.device
    ) -> None:
        super().__init__(architecture(name).detector(settings.width, settings.size), settings, device)
        self.s = settings
        self.targets = [target.to(device) for target in targets]
        self.teacher: Detector | None = None
        self.pictures, self.others = (Pictures(data, [split], device, settings.even) for split in ("train", "val"))

    def group(
        self,
        pictures: Pictures,
        rng: torch.Generator,
        deepfakes: float,
        blended: float,
        protected: float,
        light: Light | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(pictures (GROUP, 3, size, size) in [-1, 1], labels): reals first, then fakes, degraded alike."""
        target = self.targets[int(torch.randint(len(self.targets), (1,), generator=rng))]
        rgb, u = None, float(torch.rand(1, generator=rng))
        if u < deepfakes:
            rgb = pictures.deepfake_pairs(GROUP // 2, target.size, rng)
        elif u > 1 - blended:
            rgb = pictures.heads(GROUP // 2, target.size, rng)
            rgb = torch.cat([rgb, self_blended(rgb, rng)])
        if rgb is None:
            after = self.s.laundered and float(torch.rand(1, generator=rng)) < self.s.laundered
            pairs = (
                pictures.laundered_pairs(GROUP // 2, target, rng)
                if after
                else pictures.pairs(GROUP // 2, target, rng, protected)
            )
            real, fake = pairs.chunk(2)
            if self.s.faint and float(torch.rand(1, generator=rng)) < self.s.faint:
                fake = faint(real, fake, rng)
            matched = float(torch.rand(1, generator=rng)) < self.s.matched
            rgb = torch.cat([as_soft_as(real, fake) if matched else real, fake])
        labels = torch.tensor([REAL] * (GROUP // 2) + [FAKE] * (GROUP // 2), device=self.device)
        return degrade(light(rgb, rng) if light else rgb, self.detector.size, rng), labels

    def made(self) -> tuple[Tensor, Tensor]:
        """A group of the train split; with a teacher the labels are probabilities (GROUP, 2)."""
        light = self.light(self.rng)
        x, y = self.group(self.pictures, self.rng, self.s.deepfakes, self.s.blended, self.s.protected, light)
        return x, y if self.teacher is None else self.softened(x, y, self.teacher, 0.0 if light else self.s.taught)

    @torch.no_grad()
    def softened(self, x: Tensor, y: Tensor, teacher: Detector, share: float) -> Tensor:
        """Labels (N,) mixed with what the teacher says of the pictures (Hinton et al., arXiv 1503.02531, sec. 2)."""
        certain = F.one_hot(y, 2).float()
        return certain if share == 0 else certain.lerp(teacher(x).softmax(1), share)

    def held_out(self, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """A group of edits of held-out people, in too little light or with grain as often as in training."""
        return self.group(self.others, rng, 0.0, 0.0, 0.0, self.light(rng))

    def usual(self) -> list[Group]:
        """Groups of held-out people, all in full light and without grain: most content is."""
        if not self.s.dark and not self.s.grain:
            return self.val
        rng = torch.Generator().manual_seed(1)
        return [self.group(self.others, rng, 0.0, 0.0, 0.0) for _ in range(learner.VAL_GROUPS)]

    def light(self, rng: torch.Generator) -> Light | None:
        """What too little light does to the next group, if anything."""
        if not self.s.dark and not self.s.grain:
            return None
        u = float(torch.rand(1, generator=rng))
        return dimmed if u < self.s.dark else grainy if u < self.s.dark + self.s.grain else None

    def calibrate(self) -> None:
        """The temperature, then the threshold: on the val split's stills, as many of them lost as fakes passed."""
        super().calibrate()
        detector = self.best.detector
        reals: list[Tensor] = []
        fakes: list[Tensor] = []
        for target in self.targets:
            for part, found in zip(heads_and_fakes(self.others, target, JUDGED), (reals, fakes), strict=True):
                found += [operating.logits(detector, part, way) for way in WAYS]
        operating.move(detector, operating.equal_error(torch.cat(reals), torch.cat(fakes)))


def train(
    name: str,
    data: Path,
    out: Path,
    minutes: float,
    resume: bool,
    device: str,
    settings: Settings,
    fakes: Sequence[Path],
    start: Sequence[Path] = (),
    teacher: Path | None = None,
) -> Run:
    """Train for `minutes` on the fakes of the generators in the run folders `fakes`. Writes `out`/state.pt.

    A new run begins with the best weights of the runs `start`, with their mean where there are several. The detector in
    the run folder `teacher` is asked too: its answers are a part of the labels.
    """
    if not fakes:
        raise UsageError("a detector needs fakes: give run folders of generators with --fakes DIR ...")
    settings.check()
    seed_everything(settings.seed)
    trainer = DetectorTrainer(name, settings, data, [target_of(folder, data) for folder in fakes], pick_device(device))
    notes: dict[str, Any] = {"fakes": {folder.name: noted(folder) for folder in fakes}, "data": described(data)}
    if settings.protected or settings.laundered:
        notes["protected_by"] = trainer.pictures.protector.about()
    if teacher:
        trainer.teacher = load(teacher, Settings).to(trainer.device)
        notes["teacher"] = {teacher.name: noted(teacher)}
    step, seconds = 0, 0.0
    if start:
        trainer.start(start)
        notes["start"] = {folder.name: noted(folder) for folder in start}
        if learner.joins(name, start):  # what its halves learned is all that it knows
            step = sum(stored(folder).step for folder in start)
            seconds = notes["joined_seconds"] = sum(stored(folder).seconds for folder in start)
    run = Run.of(out, settings, minutes, name, notes)
    run.step, run.seconds = step, seconds
    return learner.fit(trainer, run, settings, resume)
