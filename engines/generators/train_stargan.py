"""Trains the StarGAN surrogate: supervised edits painted through parsing masks, then an adversary for realism.

The published recipe (WGAN-GP, 200,000 iterations at full width) needs a GPU. Supervised pairs teach the same
architecture visible edits within minutes; the optional adversarial phase (hinge loss, lazy R1) sharpens them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data import edits, pack
from ..data.heads import HEAD_SHARE, Heads, crop, crop_theta
from ..data.origin import described
from ..export import use_instance_statistics
from ..settings import sized
from ..training import Run, load_part, pick_device, seed_everything, settings_of
from .stargan import CONDITION_NAMES, CONDITIONS, WHOLE_CONDITIONS, Discriminator, Generator
from .target import Target

CARD = {
    "title": "StarGAN surrogate",
    "paper": "Choi et al.: StarGAN, CVPR 2018",
    "data": "CelebAMask-HQ stills with parsing masks (non-commercial research); train split only, identities split by "
    "a hash of the name; the edits are painted through the masks (engines/data/edits.py): no attribute labels exist",
    "notes": "Supervised edits first, an adversary in the last fifth of each call. Hair recoloured; Male paints a "
    "beard shadow; Not_Young greys hair, deepens lines. Blurrier and stiffer than a published StarGAN: figures "
    "hold for this surrogate only.",
    "condition": "see conditions; 0.5 leaves Male, Young",
}


@dataclass(frozen=True)
class Settings:
    conv_dim: int = 16
    size: int = 128
    batch: int = 6
    lr: float = 1e-3
    adversary_dim: int = 16
    adversarial: float = 0.03
    whole_attributes: bool = False
    """Conditions are attributes that are there or not, as published; else 0.5 leaves Male and Young as they are."""
    seed: int = 0

    def check(self) -> None:
        """Raises UsageError for a size that the networks can't halve so often."""
        sized(self.size, 64, 4)


def random_conditions(n: int, generator: torch.Generator, whole: bool = False) -> Tensor:
    """(N, 5): a hair colour or none, Male and Young each 0, 1 or, unless `whole`, 0.5 (unchanged)."""
    hair = F.one_hot(torch.randint(4, (n,), generator=generator), 4)[:, :3].float()
    rest = torch.tensor([0.0, 1.0, 0.0, 1.0] if whole else [0.0, 0.5, 0.5, 1.0])[
        torch.randint(4, (n, 2), generator=generator)
    ]
    return torch.cat([hair, rest], 1)


class StarGANTrainer:
    def __init__(self, settings: Settings, data: Path, device: torch.device) -> None:
        self.s, self.device = settings, device
        self.heads = Heads(pack.read(data, ["train"], with_mask=True), device)
        self.rng = torch.Generator().manual_seed(settings.seed)
        self.g = Generator(settings.conv_dim).to(device)
        self.d = Discriminator(settings.size, settings.adversary_dim).to(device)
        self.opt_g = torch.optim.Adam(self.g.parameters(), settings.lr, (0.5, 0.99))
        self.opt_d = torch.optim.Adam(self.d.parameters(), 4e-4, (0.0, 0.99))

    @property
    def parts(self) -> dict[str, object]:
        return {"g": self.g, "d": self.d, "opt_g": self.opt_g, "opt_d": self.opt_d}

    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """(images in [-1, 1], targets in [-1, 1], conditions)."""
        index = self.heads.pick(self.s.batch, self.rng)
        theta = crop_theta(len(index), HEAD_SHARE, 0.12, self.rng, flip=True)
        rgb = crop(self.heads.rgb[index].float() / 255, theta, self.s.size).clamp(0, 1)
        mask = crop(self.heads.mask[index][:, None].float(), theta, self.s.size, "nearest")[:, 0]
        condition = random_conditions(len(index), self.rng, self.s.whole_attributes).to(self.device)
        return rgb * 2 - 1, edits.edit(rgb, mask, condition) * 2 - 1, condition

    def step(self, number: int, adversarial: bool) -> dict[str, float]:
        x, target, c = self.batch()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            fake = self.g(x, c).float()
        # The edited pixels are few: weight them up, or "change nothing" is the best first answer.
        weight = 1 + 4 * (target - x).abs().mean(1, keepdim=True)
        loss = ((fake - target).abs() * weight).mean()
        report = {"l1": loss.item()}
        if adversarial:
            real, _ = self.d(fake)
            loss = loss - self.s.adversarial * real.mean()
        self.opt_g.zero_grad(set_to_none=True)
        loss.backward()
        self.opt_g.step()
        if adversarial:
            report["d"] = self._discriminate(target, fake.detach(), number)
        return report

    def _discriminate(self, real: Tensor, fake: Tensor, number: int) -> float:
        lazy = number % 8 == 0
        real = real.requires_grad_(lazy)
        r, f = self.d(real)[0], self.d(fake)[0]
        loss = F.relu(1 - r).mean() + F.relu(1 + f).mean()
        if lazy:
            (grad,) = torch.autograd.grad(r.sum(), real, create_graph=True)
            loss = loss + 8 * 0.5 * 1.0 * grad.square().sum((1, 2, 3)).mean()
        self.opt_d.zero_grad(set_to_none=True)
        loss.backward()
        self.opt_d.step()
        return loss.item()


def train(
    data: Path,
    out: Path,
    minutes: float,
    resume: bool,
    device: str,
    settings: Settings | None = None,
    supervised: float = 0.8,
) -> Run:
    """Train for `minutes`; the first `supervised` share of them without an adversary. Writes `out`/state.pt."""
    settings = settings or Settings()
    seed_everything(settings.seed)
    trainer = StarGANTrainer(settings, data, pick_device(device))
    run = Run.of(out, settings, minutes, "stargan", {"data": described(data, with_mask=True)})
    if resume:
        run.resume(trainer.parts, trainer.rng)
    for _ in run.steps(trainer.parts):
        for group in trainer.opt_g.param_groups:
            group["lr"] = settings.lr * (1 if run.progress < 0.3 else 1.4 * (1 - run.progress) + 0.02)
        run.tick(trainer.step(run.step, run.progress > supervised), trainer.parts)
    run.save(trainer.parts)
    return run


def blank(settings: Settings, data: Path | None = None) -> dict[str, Any]:
    """The parts of a run that `load` and `target` read, untrained."""
    return {"g": Generator(settings.conv_dim)}


def load(folder: Path) -> Generator:
    """The trained generator of a run, frozen, in train mode (instance statistics), as the official solver uses it."""
    generator = Generator(settings_of(folder, Settings).conv_dim)
    load_part(folder, "g", generator)
    return generator.requires_grad_(False)


class StarGANTarget(Target):
    """Training draws from the surrogate's whole range of conditions; half of them are the rows of the tables."""

    whole = False
    """Whether the weights know whole attributes only."""

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        rows, free = super().sample(n, rng), random_conditions(n, rng, self.whole)
        free = free.to(self.conditions.device)
        idle = (free[:, :3].sum(1) == 0) & (free[:, 3:] == 0.5).all(1)  # asks for no edit: nothing to disrupt
        keep = idle | (torch.rand(n, generator=rng) < 0.5).to(idle.device)
        return torch.where(keep[:, None], rows, free)


def target(folder: Path, data: Path | None = None) -> Target:
    """The run's generator as an attacker runs it; `data` is not needed."""
    network = use_instance_statistics(load(folder))
    settings = settings_of(folder, Settings)
    rows = torch.tensor(WHOLE_CONDITIONS if settings.whole_attributes else CONDITIONS)
    made = StarGANTarget(network, "stargan", rows, CONDITION_NAMES, settings.size)
    made.whole = settings.whole_attributes
    return made
