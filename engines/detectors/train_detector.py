"""Trains a detector: reals against the surrogates' fakes of the same people, and a few real deepfakes.

Groups of head crops of the train split, and the same crops edited by one of the frozen generators, both degraded alike
(degrade.py); a batch is several groups, cross entropy. Making a group costs more than learning from it, so that each is
seen `reuse` times, in other company and mirrored at random. What counts is the weights' running mean, at its best by
the log loss on the val split's people, whose temperature is then fitted; the test split is left for measure.py.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from stream_guard.errors import UsageError

from ..data.origin import described
from ..generators.families import target_of
from ..generators.target import Target
from ..training import Run, load_part, noted, pick_device, seed_everything, settings_of, stored
from .architectures import architecture
from .blending import self_blended
from .calibration import temperature
from .degrade import as_soft_as, degrade
from .detector import FAKE, REAL, Detector
from .memory import Memory
from .pictures import Pictures

GROUP = 8
"""Pictures that share a generator and a path; a batch is some of these groups."""
VAL_GROUPS = 24
CHECKS = 8
"""How many times in a call the val split is looked at."""
MEAN = 0.998
"""Decay of the weights' running mean: about the last 500 steps, fewer while there are few."""


@dataclass(frozen=True)
class Settings:
    width: float = 1.0
    """channels, as a share of the published network's"""
    size: int = 128
    """side of the network's input in pixels"""
    batch: int = 32
    """pictures a step, half real, half fake; a multiple of 8"""
    lr: float = 1e-3
    weight_decay: float = 0.02
    deepfakes: float = 0.1
    """share of groups that are frames of real deepfake videos and their originals, where the pack has them"""
    blended: float = 0.1
    """share of groups whose fakes are faces blended with themselves, for the seams of face swaps"""
    matched: float = 0.5
    """share of groups of edits whose reals are made as soft as their fakes first, so that softness tells nothing"""
    protected: float = 0.0
    """share of pairs whose faces were protected by the zoo's disrupter first: the real one must still pass as real"""
    reuse: int = 4
    """how many batches see a group of pictures; 1 on a GPU"""
    seed: int = 0


class Best:
    """The weights with the least loss on val so far."""

    def __init__(self, detector: Detector) -> None:
        self.loss, self.step = float("inf"), 0
        self.detector = copy.deepcopy(detector).eval().requires_grad_(False)

    def offer(self, detector: Detector, loss: float, step: int) -> None:
        if loss < self.loss:
            self.loss, self.step = loss, step
            self.detector.load_state_dict(detector.state_dict())

    def state_dict(self) -> dict[str, Any]:
        return {"loss": self.loss, "step": self.step, "detector": self.detector.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loss, self.step = state["loss"], state["step"]
        self.detector.load_state_dict(state["detector"])


@dataclass
class _Weights:
    """Takes the best detector's weights out of a run's part; the temperature is fitted anew."""

    detector: Detector

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.detector.load_state_dict(state["detector"])
        self.detector.temperature.fill_(1.0)


class DetectorTrainer:
    def __init__(
        self, name: str, settings: Settings, data: Path, targets: Sequence[Target], device: torch.device
    ) -> None:
        self.s, self.device = settings, device
        self.targets = [target.to(device) for target in targets]
        self.pictures = Pictures(data, ["train"], device)
        self.rng = torch.Generator().manual_seed(settings.seed)
        self.detector = architecture(name).detector(settings.width, settings.size).to(device)
        self.opt = torch.optim.AdamW(self.detector.parameters(), settings.lr, weight_decay=settings.weight_decay)
        self.mean = AveragedModel(self.detector, avg_fn=running_mean, use_buffers=True)
        self.memory = Memory(self.made, settings.batch // GROUP, settings.reuse)
        self.best = Best(self.detector)
        self.val = self._val(Pictures(data, ["val"], device))

    @property
    def parts(self) -> dict[str, Any]:
        return {"detector": self.detector, "opt": self.opt, "mean": self.mean, "best": self.best}

    def group(
        self, pictures: Pictures, rng: torch.Generator, deepfakes: float, blended: float, protected: float
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
            real, fake = pictures.pairs(GROUP // 2, target, rng, protected).chunk(2)
            matched = float(torch.rand(1, generator=rng)) < self.s.matched
            rgb = torch.cat([as_soft_as(real, fake) if matched else real, fake])
        labels = torch.tensor([REAL] * (GROUP // 2) + [FAKE] * (GROUP // 2), device=self.device)
        return degrade(rgb, self.detector.size, rng), labels

    def made(self) -> tuple[Tensor, Tensor]:
        """A group of the train split."""
        return self.group(self.pictures, self.rng, self.s.deepfakes, self.s.blended, self.s.protected)

    def batch(self) -> tuple[Tensor, Tensor]:
        return self.memory.batch(self.rng)

    def step(self) -> dict[str, float]:
        x, y = self.batch()
        self.detector.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logits = self.detector(x)
        loss = F.cross_entropy(logits.float(), y)
        self.opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.detector.parameters(), 1.0)
        self.opt.step()
        self.mean.update_parameters(self.detector)
        return {"loss": loss.item(), "right": (logits.argmax(1) == y).float().mean().item()}

    def _val(self, pictures: Pictures) -> list[tuple[Tensor, Tensor]]:
        """The same groups of held-out people at each look."""
        rng = torch.Generator().manual_seed(1)
        return [self.group(pictures, rng, 0.0, 0.0, 0.0) for _ in range(VAL_GROUPS)]

    @torch.no_grad()
    def answers(self, detector: Detector) -> tuple[Tensor, Tensor]:
        """(logits, labels) of the val groups."""
        detector.eval()
        return torch.cat([detector(x) for x, _ in self.val]), torch.cat([y for _, y in self.val])

    def look(self, step: int) -> float:
        """Log loss of the weights' mean on val; the best are kept."""
        mean = cast(Detector, self.mean.module)
        loss = F.cross_entropy(*self.answers(mean)).item()
        self.best.offer(mean, loss, step)
        return loss

    def renew(self) -> None:
        """The val fakes of this call may be others than before: the best weights are judged on them anew."""
        self.best.detector.temperature.fill_(1.0)
        self.best.loss = F.cross_entropy(*self.answers(self.best.detector)).item()

    def calibrate(self) -> None:
        self.best.detector.temperature.fill_(1.0)
        self.best.detector.temperature.fill_(temperature(*self.answers(self.best.detector)))


def running_mean(mean: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
    """The next running mean of one tensor after `count` of them; whole numbers (counters) are taken as they are."""
    if not mean.is_floating_point():
        return current
    decay = min(MEAN, (1 + float(count)) / (10 + float(count)))
    return mean + (1 - decay) * (current - mean)


def train(
    name: str,
    data: Path,
    out: Path,
    minutes: float,
    resume: bool,
    device: str,
    settings: Settings,
    fakes: Sequence[Path],
    start: Path | None = None,
) -> Run:
    """Train for `minutes` on the fakes of the generators in the run folders `fakes`. Writes `out`/state.pt.

    A new run begins with the best weights of the run `start`, where one is named.
    """
    if not fakes:
        raise UsageError("a detector needs fakes: give run folders of generators with --fakes DIR ...")
    if settings.batch < GROUP or settings.batch % GROUP:
        raise UsageError(f"batch={settings.batch}: pictures come in groups of {GROUP}, so it must be a multiple")
    if settings.reuse < 1:
        raise UsageError(f"reuse={settings.reuse}: each group is seen at least once, so it must be 1 or more")
    seed_everything(settings.seed)
    trainer = DetectorTrainer(name, settings, data, [target_of(folder, data) for folder in fakes], pick_device(device))
    notes: dict[str, Any] = {"fakes": {folder.name: noted(folder) for folder in fakes}, "data": described(data)}
    if settings.protected:
        notes["protected_by"] = trainer.pictures.protector.about()
    if start is not None:
        load_part(start, "best", _Weights(trainer.detector))  # type: ignore[arg-type]  # loads like a module
        trainer.mean.module.load_state_dict(trainer.detector.state_dict())
        notes["start"] = {start.name: noted(start)}
    run = Run(out, asdict(settings), minutes, name=name, notes=notes)
    if resume:
        run.resume(trainer.parts)
        if run.step:
            trainer.renew()
    trainer.rng.manual_seed(settings.seed + run.step)  # a resumed run goes on with other pictures
    looks = 0
    mean: dict[str, float] = {}
    val = float("nan")
    while not run.over:
        for group in trainer.opt.param_groups:
            group["lr"] = settings.lr * min(1.0, 0.1 + run.step / 100, 1.45 * (1 - run.progress) + 0.01)
        report = trainer.step()
        mean = {k: 0.97 * mean.get(k, v) + 0.03 * v for k, v in report.items()}
        run.tick(mean | ({"val": val} if looks else {}), trainer.parts)
        if run.progress * CHECKS >= looks + 1:
            looks += 1
            val = trainer.look(run.step)
    trainer.look(run.step)
    trainer.calibrate()
    run.save(trainer.parts)
    return run


def load(folder: Path, kind: type[Settings]) -> Detector:
    """The best weights of a run, calibrated, frozen, in eval mode."""
    name, settings = stored(folder).name, settings_of(folder, kind)
    detector = architecture(name).detector(settings.width, settings.size)
    holder = Best(detector)
    load_part(folder, "best", holder)  # type: ignore[arg-type]  # loads like a module
    return holder.detector
