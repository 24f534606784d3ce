"""Trains P against frozen generators, with the delivery in the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..data import pack
from ..data.heads import Heads, crop, crop_theta
from ..training import Run, pick_device, seed_everything
from . import objective
from .network import SIZE, Disrupter, shrink


@dataclass(frozen=True)
class Settings:
    width: int = 32
    epsilon_levels: float = 16.0
    psnr_db: float = 36.5
    start_psnr_db: float = 31.0
    c1: float = 8.0
    batch: int = 6
    lr: float = 1e-3
    log_distance: bool = True
    seed: int = 0


class DisrupterTrainer:
    """One step: a batch of heads, a random generator, delivery, crop and condition; eq. 3; Adam."""

    def __init__(
        self, settings: Settings, data: Path, generators: Sequence[nn.Module], conditions: Tensor, device: torch.device
    ) -> None:
        self.s, self.device = settings, device
        self.heads = Heads(pack.read(data, ["train"]), device)
        self.generators, self.conditions = list(generators), conditions.to(device)
        self.rng = torch.Generator().manual_seed(settings.seed)
        self.p = Disrupter(settings.epsilon_levels / 255, settings.width).to(device)
        self.opt = torch.optim.Adam(self.p.parameters(), settings.lr, (0.9, 0.99))

    @property
    def parts(self) -> dict[str, object]:
        return {"p": self.p, "opt": self.opt}

    def batch(self) -> Tensor:
        index = self.heads.pick(self.s.batch, self.rng)
        theta = crop_theta(len(index), 0.96, 0.06, self.rng, flip=True)
        rgb = self.heads.rgb[index].float() / 255
        gain = 1 + 0.3 * (torch.rand(len(index), 1, 1, 1, generator=self.rng) - 0.5).to(self.device)
        return (crop(rgb, theta, rgb.shape[-1]) * gain).clamp(0, 1)

    def step(self, progress: float) -> dict[str, float]:
        rgb = self.batch()
        delta = self.p(shrink(rgb, SIZE))
        generator = self.generators[int(torch.randint(len(self.generators), (1,), generator=self.rng))]
        view = objective.random_view(len(rgb), self.conditions, self.rng)
        distance, rms = objective.distances(generator, rgb, delta, view), objective.head_rms(delta)
        loss = objective.loss(distance, rms, self.budget(progress), self.s.c1, self.s.log_distance)
        self.opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.p.parameters(), 1.0)
        self.opt.step()
        return {
            "loss": loss.item(),
            "l2": distance.mean().item(),
            "disrupted": (distance >= objective.DISRUPTED).float().mean().item(),
            "psnr_db": -20 * rms.mean().log10().item(),
        }

    def budget(self, progress: float) -> float:
        """Strength anneals from strong to weak over the first half."""
        share = min(progress * 2, 1.0)
        return objective.rms_of_psnr(self.s.start_psnr_db + share * (self.s.psnr_db - self.s.start_psnr_db))


def train(
    data: Path,
    generators: Sequence[nn.Module],
    conditions: Tensor,
    out: Path,
    minutes: float,
    resume: bool,
    device: str,
    settings: Settings | None = None,
) -> Run:
    """Train P for `minutes`. A run that is resumed goes on at its final budget: the strength anneals once."""
    settings = settings or Settings()
    seed_everything(settings.seed)
    target = pick_device(device)
    trainer = DisrupterTrainer(settings, data, [g.to(target) for g in generators], conditions, target)
    run = Run(out, asdict(settings), minutes)
    if resume:
        run.resume(trainer.parts)
    anneal = run.step == 0
    mean: dict[str, float] = {}
    while not run.over:
        for group in trainer.opt.param_groups:
            group["lr"] = settings.lr * max(0.03, min(1.0, 2.2 * (1 - run.progress)))
        report = trainer.step(run.progress if anneal else 1.0)
        mean = {k: 0.98 * mean.get(k, v) + 0.02 * v for k, v in report.items()}
        run.tick(mean, trainer.parts)
    run.save(trainer.parts)
    return run


def load(folder: Path, settings: Settings | None = None) -> Disrupter:
    settings = settings or Settings()
    state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
    network = Disrupter(settings.epsilon_levels / 255, settings.width)
    network.load_state_dict(state["parts"]["p"])
    return network.eval().requires_grad_(False)
