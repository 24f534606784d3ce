"""Trains MagDR's learned restorer: perturbed heads to what generators make of clean ones (after HGD).

Liao et al. (Defense against Adversarial Attacks Using High-Level Representation Guided Denoiser, CVPR 2018) let the
network that is to be served judge the restoration: here what counts, beside the pixels, is that a surrogate's edit of
the restored head is its edit of the clean one, above all the edit that was attacked. Our own disrupter is not among the
perturbations unless `own` says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from stream_guard.errors import UsageError

from ..data.origin import described
from ..detectors.learner import running_mean
from ..detectors.widening import widened
from ..generators.families import target_of
from ..generators.fomm.losses import ssim
from ..generators.target import Target
from ..training import Run, draw_on, load_part, noted, pick_device, seed_everything, settings_of
from .perturbed import AS_THEY_ARE, Aim, Perturbing
from .restorer import Restorer

NAME = "restorer"
GROUP = 4
"""Pairs that are made at once, by one attack."""
KEPT = 300
"""Groups that are remembered."""

Kept = tuple[Tensor, Tensor, Aim | None]
"""Clean and perturbed heads (GROUP, 3, S, S) of 8 bits, and what was attacked."""
Group = tuple[Tensor, Tensor, Aim]
"""The same in [-1, 1], and the edits that judge them."""


@dataclass(frozen=True)
class Settings:
    width: int = 24
    batch: int = 8
    """pairs a step; a multiple of 4"""
    lr: float = 1e-3
    edits: float = 1.0
    """weight of the edits' distance beside the pixels'"""
    similar: float = 0.3
    """weight of 1 - SSIM between the edits: it sees faint patterns in smooth skin, which the distance does not"""
    reuse: int = 8
    """how many batches see a group of pairs: an attack costs several steps; 1 on a GPU"""
    elsewhere: float = 0.25
    """share of groups that are judged by any edit of any surrogate instead of the one that was attacked"""
    untouched: float = 0.15
    """share of heads that are clean at the input too: those must stay as they are"""
    own: float = 0.0
    """share of groups that our own disrupter perturbs"""
    as_they_are: float = AS_THEY_ARE
    """share of groups of 8 bits that no encoder and no resizing has touched"""
    half: bool = False
    """networks in bfloat16 on a processor too: up to twice as fast where it has instructions for that"""
    seed: int = 0

    def check(self) -> None:
        """Raises UsageError for values that no run can have."""
        if self.batch < GROUP or self.batch % GROUP or self.reuse < 1:
            raise UsageError(f"batch must be a multiple of {GROUP} and reuse 1 or more: {self.batch}, {self.reuse}")


class RestorerTrainer:
    def __init__(self, settings: Settings, data: Path, targets: Sequence[Target], device: torch.device) -> None:
        self.s, self.device = settings, device
        self.targets = [target.to(device) for target in targets]
        self.half = settings.half or device.type == "cuda"
        self.source = Perturbing.of(data, "train", self.targets, settings.own, device, self.half, settings.as_they_are)
        self.rng = torch.Generator().manual_seed(settings.seed)
        self.net = Restorer(settings.width).to(device)
        self.mean = AveragedModel(self.net, avg_fn=running_mean, use_buffers=True)
        self.opt = torch.optim.Adam(self.net.parameters(), settings.lr)
        self.kept: deque[Kept] = deque(maxlen=KEPT)
        self.owed = 0.0

    @property
    def parts(self) -> dict[str, Any]:
        return {"net": self.net, "mean": self.mean, "opt": self.opt}

    def groups(self) -> list[Group]:
        """A batch; the pairs of a group are mirrored together."""
        count = self.s.batch // GROUP
        self.owed += count / self.s.reuse
        while self.owed >= 1 or len(self.kept) < count:
            clean, perturbed, aim = self.source.aimed_pairs(GROUP, self.rng)
            self.kept.append((_bytes(clean), _bytes(perturbed), aim))
            self.owed = max(0.0, self.owed - 1)
        return [self._group(*self.kept[k]) for k in torch.randperm(len(self.kept), generator=self.rng)[:count].tolist()]

    def _group(self, clean: Tensor, perturbed: Tensor, aim: Aim | None) -> Group:
        clean, perturbed = clean.float() / 127.5 - 1, perturbed.float() / 127.5 - 1
        u = torch.rand(3, GROUP, generator=self.rng).to(clean.device)[:, :, None, None, None]
        clean, perturbed = (torch.where(u[0] < 0.5, part.flip(3), part) for part in (clean, perturbed))
        if aim is None or float(u[2, 0]) < self.s.elsewhere:
            aim = self.source.aim(GROUP, self.rng)
        return clean, torch.where(u[1] < self.s.untouched, clean, perturbed), aim

    def step(self) -> dict[str, float]:
        groups = self.groups()
        clean, perturbed = (torch.cat([group[k] for group in groups]) for k in (0, 1))  # type: ignore[misc]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            restored = self.net(perturbed).float()
            with torch.no_grad():
                goal, before = _edited(clean, groups), _edited(perturbed, groups)
            edited = _edited(restored, groups)
        pixels, edits = F.l1_loss(restored, clean), F.l1_loss(edited, goal)
        similar = ssim((edited + 1) / 2, (goal + 1) / 2)
        self.opt.zero_grad(set_to_none=True)
        (pixels + self.s.edits * edits + self.s.similar * (1 - similar)).backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.opt.step()
        self.mean.update_parameters(self.net)
        left, there = F.mse_loss(edited, goal).item(), F.mse_loss(before, goal).item()
        return {
            "pixels": pixels.item(),
            "edits": edits.item(),
            "ssim": similar.item(),
            "left": left,
            "there": there,
        }


def _edited(images: Tensor, groups: Sequence[Group]) -> Tensor:
    """What each group's target makes of its part of the images."""
    parts = images.split(GROUP)
    return torch.cat([aim.target(part, aim.condition).float() for part, (_, _, aim) in zip(parts, groups, strict=True)])


def _bytes(rgb: Tensor) -> Tensor:
    return (rgb * 255).round().byte()


def train(
    data: Path,
    out: Path,
    minutes: float,
    resume: bool,
    device: str,
    settings: Settings | None = None,
    targets: Sequence[Path] = (),
    start: Path | None = None,
) -> Run:
    """Train for `minutes` on attacks against the generators in the run folders `targets`. Writes `out`/state.pt.

    `start`, a run as wide or narrower by a whole factor, is what it begins with.
    """
    settings = settings or Settings()
    if not targets:
        raise UsageError("a restorer needs generators that judge it: --targets DIR ...")
    settings.check()
    seed_everything(settings.seed)
    trainer = RestorerTrainer(settings, data, [target_of(t, data) for t in targets], pick_device(device))
    notes: dict[str, Any] = {"targets": {t.name: noted(t) for t in targets}, "data": described(data)}
    if start is not None:
        draw_on(trainer.rng, settings.seed, [start])
        begun = widened(load(start).state_dict(), trainer.net.state_dict(), trainer.rng)
        trainer.net.load_state_dict(begun)
        trainer.mean.module.load_state_dict(trainer.net.state_dict())
        notes["start"] = {start.name: noted(start)}
    run = Run.of(out, settings, minutes, NAME, notes)
    if resume:
        run.resume(trainer.parts, trainer.rng)
    mean: dict[str, float] = {}
    for _ in run.steps(trainer.parts):
        for group in trainer.opt.param_groups:
            group["lr"] = settings.lr * min(1.0, 0.1 + run.step / 100, 1.45 * (1 - run.progress) + 0.01)
        report = trainer.step()
        mean = {k: 0.97 * mean.get(k, v) + 0.03 * v for k, v in report.items()}
        run.tick(mean, trainer.parts)
    run.save(trainer.parts)
    return run


def load(folder: Path) -> Restorer:
    """The running mean of a run's weights, frozen, in eval mode."""
    network = Restorer(settings_of(folder, Settings).width)
    load_part(folder, "mean", averaged(network))
    return network.eval().requires_grad_(False)


def averaged(network: Restorer) -> AveragedModel:
    """The running mean's part of a run, around this very network."""
    mean = AveragedModel(nn.Identity(), avg_fn=running_mean, use_buffers=True)
    mean.module = network
    return mean
