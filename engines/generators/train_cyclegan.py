"""CycleGAN: everyone's face replaced by one donor's and back, from a supervised start, then unpaired as published.

Domain A are the photographs of one half of the people, domain B those of the other half with the donor's face
(data/replacement.py): no pair is ever seen in the unpaired part, which has the published losses (LSGAN, cycle 10,
identity 0.5 of it, a pool of 50 past fakes for the critics, batch 1). The supervised start takes the place of the first
epochs, which cost GPU hours: for `warm_steps` steps both generators see pairs.
The published recipe: --set warm_steps=0 ngf=64 ndf=64 size=256.
This family never trains a disrupter: it is kept to test the transfer to a kind of generator not seen in training.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.heads import HEAD_SHARE, Heads, crop, crop_points, crop_theta
from ..data.origin import described
from ..data.replacement import donor_of, replaced
from ..settings import sized
from ..training import Run, load_part, pick_device, seed_everything, settings_of
from .cyclegan import Discriminator, Generator, WithoutCondition
from .target import Target
from .train_ganimation import with_landmarks

NAME = "cyclegan"
CARD = {
    "title": "CycleGAN surrogate",
    "paper": "Zhu et al.: CycleGAN, ICCV 2017",
    "data": "CelebAMask-HQ stills (non-commercial research) and synthetic faces; train split only, identities split by "
    "a hash of the name; the other domain are the stills with one donor's face (engines/data/replacement.py)",
    "notes": "Face replacement: everyone gets the face of one donor, a CelebAMask-HQ still, bent by landmarks and "
    "fitted in colour. Paired at first, then the published unpaired losses. Softer than a face swap that was trained "
    "for hours on two people: figures hold for this surrogate only.",
    "condition": "not used: CycleGAN makes one edit",
}


@dataclass(frozen=True)
class Settings:
    ngf: int = 16
    ndf: int = 16
    blocks: int = 9
    size: int = 128
    batch: int = 1
    lr: float = 2e-4
    cycle: float = 10.0
    identity: float = 0.5
    """Share of `cycle`, as published."""
    warm_steps: int = 1500
    """Supervised steps at the start of the run."""
    warm_batch: int = 2
    warm_lr: float = 1e-3
    donor: str = ""
    """The head of the pack whose face everyone gets, by name; empty: the most ordinary photograph."""
    seed: int = 0

    def check(self) -> None:
        """Raises UsageError for a size that the networks can't halve so often."""
        sized(self.size, 32, 4)


class Pool:
    """The published history of fakes: half of the time the critic sees an old one instead. Not kept over a resume."""

    def __init__(self, size: int, rng: torch.Generator) -> None:
        self.size, self.rng = size, rng
        self.images: list[Tensor] = []

    def swap(self, fakes: Tensor) -> Tensor:
        """Fakes (N, 3, S, S) to as many, old or new."""
        return torch.cat([self._one(fake[None]) for fake in fakes.detach()])

    def _one(self, fake: Tensor) -> Tensor:
        if len(self.images) < self.size:
            self.images.append(fake)
            return fake
        if torch.rand(1, generator=self.rng) < 0.5:
            return fake
        k = int(torch.randint(self.size, (1,), generator=self.rng))
        self.images[k], old = fake, self.images[k]
        return old


class CycleGANTrainer:
    def __init__(self, settings: Settings, data: Path, device: torch.device) -> None:
        self.s, self.device = settings, device
        heads = with_landmarks(data, ["train"])
        self.halves = [Heads(heads[k::2], device) for k in (0, 1)]
        self.donor = donor_of(Heads(heads, device), settings.donor)
        self.rng = torch.Generator().manual_seed(settings.seed)
        self.pools = [Pool(50, self.rng) for _ in range(2)]
        self.g_a, self.g_b = (Generator(settings.ngf, settings.blocks).to(device) for _ in range(2))
        self.d_a, self.d_b = (Discriminator(settings.ndf).to(device) for _ in range(2))
        generators = itertools.chain(self.g_a.parameters(), self.g_b.parameters())
        critics = itertools.chain(self.d_a.parameters(), self.d_b.parameters())
        self.opt_g = torch.optim.Adam(generators, settings.lr, (0.5, 0.999))
        self.opt_d = torch.optim.Adam(critics, settings.lr, (0.5, 0.999))

    @property
    def parts(self) -> dict[str, object]:
        names = ("g_a", "g_b", "d_a", "d_b", "opt_g", "opt_d")
        return {name: getattr(self, name) for name in names}

    def photographs(self, half: int, n: int) -> tuple[Tensor, Tensor]:
        """(n, 3, size, size) RGB in [-1, 1] of one half of the people: as they are, and with the donor's face."""
        heads = self.halves[half]
        index = heads.pick(n, self.rng)
        theta = crop_theta(n, HEAD_SHARE, 0.12, self.rng, flip=True)
        points = crop_points(heads.landmarks[index], theta)
        photo = crop(heads.rgb[index].float() / 255, theta, self.s.size).clamp(0, 1)
        return photo * 2 - 1, replaced(photo, points, self.donor) * 2 - 1

    def pick_rate(self, step: int, progress: float) -> None:
        """The published schedule within a call: constant, then falling to nothing over the second half."""
        warm = step < self.s.warm_steps
        for group in self.opt_g.param_groups:
            group["lr"] = self.s.warm_lr if warm else self.s.lr * min(1.0, 2 * (1 - progress) + 0.02)
        for group in self.opt_d.param_groups:
            group["lr"] = self.s.lr * min(1.0, 2 * (1 - progress) + 0.02)

    def step(self, number: int) -> dict[str, float]:
        return self.supervised() if number < self.s.warm_steps else self.unpaired()

    def supervised(self) -> dict[str, float]:
        """One step on pairs of the first half's people."""
        a, b = self.photographs(0, self.s.warm_batch)
        weight = 1 + 5 * (b - a).abs().mean(1, keepdim=True)  # most of a picture stays: "change nothing" must not pay
        forth = ((self._run(self.g_a, a) - b).abs() * weight).mean()
        back = ((self._run(self.g_b, b) - a).abs() * weight).mean()
        self._descend(self.opt_g, forth + back)
        return {"forth": forth.item(), "back": back.item()}

    def unpaired(self) -> dict[str, float]:
        """One step of the published losses; A and B show different people."""
        a, _ = self.photographs(0, self.s.batch)
        _, b = self.photographs(1, self.s.batch)
        fake_b, fake_a = self._run(self.g_a, a), self._run(self.g_b, b)
        adversarial = _lsgan(self.d_b(fake_b), 1) + _lsgan(self.d_a(fake_a), 1)
        cycle = (self._run(self.g_b, fake_b) - a).abs().mean() + (self._run(self.g_a, fake_a) - b).abs().mean()
        same = (self._run(self.g_a, b) - b).abs().mean() + (self._run(self.g_b, a) - a).abs().mean()
        self._descend(self.opt_g, adversarial + self.s.cycle * (cycle + self.s.identity * same))
        critic = self._critic(self.d_b, b, self.pools[0].swap(fake_b)) + self._critic(
            self.d_a, a, self.pools[1].swap(fake_a)
        )
        self._descend(self.opt_d, critic)
        return {"cycle": cycle.item(), "same": same.item(), "g": adversarial.item(), "d": critic.item()}

    def _critic(self, critic: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
        return (_lsgan(critic(real), 1) + _lsgan(critic(fake), 0)) / 2

    def _run(self, generator: Generator, x: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            return generator(x).float()

    def _descend(self, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        self.opt_g.zero_grad(set_to_none=True)
        self.opt_d.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()


def _lsgan(score: Tensor, goal: float) -> Tensor:
    return F.mse_loss(score, torch.full_like(score, goal))


def train(data: Path, out: Path, minutes: float, resume: bool, device: str, settings: Settings | None = None) -> Run:
    """Train for `minutes`. Writes `out`/state.pt."""
    settings = settings or Settings()
    seed_everything(settings.seed)
    trainer = CycleGANTrainer(settings, data, pick_device(device))
    run = Run.of(out, settings, minutes, NAME, {"data": described(data)})
    if resume:
        run.resume(trainer.parts, trainer.rng)
    for _ in run.steps(trainer.parts):
        trainer.pick_rate(run.step, run.progress)
        run.tick(trainer.step(run.step), trainer.parts)
    run.save(trainer.parts)
    return run


def blank(settings: Settings, data: Path | None = None) -> dict[str, Any]:
    """The parts of a run that `load` and `target` read, untrained."""
    return {"g_a": Generator(settings.ngf, settings.blocks)}


def load(folder: Path) -> Generator:
    """The trained generator that gives everyone the donor's face, frozen."""
    settings = settings_of(folder, Settings)
    generator = Generator(settings.ngf, settings.blocks)
    load_part(folder, "g_a", generator)
    return generator.requires_grad_(False).eval()


def target(folder: Path, data: Path | None = None) -> Target:
    """The run's generator as an attacker runs it; one condition, a column that nothing reads."""
    network = WithoutCondition(load(folder)).eval()
    return Target(network, NAME, torch.zeros(1, 1), ["donor"], settings_of(folder, Settings).size)
