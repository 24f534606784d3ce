"""GANimation: an action-unit editor taught by expressions drawn on stills, then by the published losses.

The published recipe (WGAN-GP, action units regressed by the critic, cycle, attention saturation and smoothness) needs
GPU hours. Here drawn pairs (data/expressions.py) teach the same architecture visible expressions within minutes, and
the end of each run adds a share of the published losses, with the hinge instead of WGAN-GP. The attention of a
GANimation likes to settle on "copy everything", which no attack could disturb: the drawn targets and `saturation`
lean against it.
The settings reach the published losses: --set supervised=0 colour=0 warmup=0 adversarial=1 smooth=1e-4 wgan=1
critic=5 conv_dim=64 adversary_dim=64 lr=1e-4 condition_gain=1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stream_guard.errors import EngineError

from ..data import pack
from ..data.action_units import UNITS, action_units, condition
from ..data.expressions import Expression, pose
from ..data.heads import HEAD_SHARE, Heads, crop, crop_points, crop_theta, sample
from ..data.origin import described
from ..export import use_instance_statistics
from ..settings import sized
from ..training import Run, load_part, pick_device, seed_everything, settings_of
from .ganimation import Discriminator, Generator, compose
from .target import Target

NAME = "ganimation"
CARD = {
    "title": "GANimation surrogate",
    "paper": "Pumarola et al.: GANimation, ECCV 2018",
    "data": "CelebAMask-HQ stills (non-commercial research) and synthetic faces; train split only, identities split by "
    "a hash of the name; action units measured on landmarks (engines/data/action_units.py): no labels exist for them",
    "notes": "Learned expressions drawn by landmark warps with a painted mouth (engines/data/expressions.py), then a "
    "share of the published losses. Softer than a GANimation trained at full width on a GPU: figures hold for this "
    "surrogate only. AU6, AU9, AU14 and AU17 do nothing.",
    "condition": "intensity / 5 of AU1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45; 0 is a face at rest",
}

EXPRESSIONS: dict[str, dict[int, float]] = {
    "smile": {12: 1.0, 25: 1.0, 26: 0.15},
    "open_mouth": {25: 1.0, 26: 1.0},
    "surprise": {1: 1.0, 2: 1.0, 5: 1.0, 25: 1.0, 26: 0.6},
    "frown": {4: 1.0, 15: 1.0},
    "eyes_shut": {45: 1.0},
    "grimace": {4: 0.7, 10: 1.0, 20: 1.0, 25: 1.0},
}
"""The conditions of the tables and of `audit`."""

Choices = tuple[dict[int, float], ...]
BROWS: Choices = ({}, {1: 1.0, 2: 1.0}, {1: 1.0}, {2: 1.0}, {4: 1.0})
EYES: Choices = ({}, {}, {5: 1.0}, {7: 1.0}, {45: 1.0})
MOUTH: Choices = (
    {},
    {12: 1.0, 25: 1.0, 26: 0.2},
    {12: 1.0},
    {25: 1.0, 26: 1.0},
    {15: 1.0},
    {10: 1.0, 20: 1.0, 25: 1.0},
    {23: 1.0},
)


@dataclass(frozen=True)
class Settings:
    conv_dim: int = 16
    size: int = 128
    batch: int = 2
    lr: float = 1e-3
    adversary_dim: int = 16
    plan_minutes: float = 0.0
    """Length of the whole run, over resumed calls, for the schedules; 0: each call is a whole one."""
    warmup: float = 0.9
    """Share of the run without an adversary."""
    condition_gain: float = 5.0
    """The condition's first weights start this much larger: see strengthen."""
    table: float = 0.5
    """Share of faces asked for one of the tables' expressions; the others for anything."""
    jitter: float = 0.08
    supervised: float = 1.0
    """Weight of the drawn pairs; 0 leaves the published, unpaired losses."""
    colour: float = 0.5
    """Weight of the drawn target on the colour mask alone, beside that on the edited image."""
    adversarial: float = 0.03
    """Weight of realness, units and cycle together."""
    units: float = 160.0
    """Weight of the critic's action-unit error beside its realness, as published."""
    cycle: float = 10.0
    saturation: float = 0.1
    """Weight of the mean attention, as published: keeping a pixel of the input must save this much error."""
    smooth: float = 1e-6
    """Weight of the attention's total variation (a sum over pixels, mean over images); published 1e-4."""
    wgan: bool = False
    """WGAN-GP as published, instead of the hinge with lazy R1."""
    critic: int = 1
    """Critic steps a generator step; published 5."""
    seed: int = 0

    def check(self) -> None:
        """Raises UsageError for a size that the networks can't halve so often."""
        sized(self.size, 64, 4)


def random_units(n: int, base: Tensor, rng: torch.Generator) -> Tensor:
    """(n, 17): `base` with the brows, the eyes and the mouth each left alone or set to something, at .3 to 1."""
    units = base.clone()
    for choices in (BROWS, EYES, MOUTH):
        touched = sorted({UNITS.index(unit) for choice in choices for unit in choice})
        table = torch.tensor([condition(dict(choice)) for choice in choices])
        row = table[torch.randint(len(table), (n,), generator=rng)].to(base)
        strength = (0.3 + 0.7 * torch.rand(n, 1, generator=rng)).to(base)
        change = (torch.rand(n, 1, generator=rng) < 0.7).to(base.device)
        units[:, touched] = torch.where(change, (row * strength)[:, touched], units[:, touched])
    return units


class GANimationTrainer:
    def __init__(self, settings: Settings, data: Path, device: torch.device) -> None:
        self.s, self.device = settings, device
        self.heads = Heads(with_landmarks(data, ["train"]), device)
        self.rng = torch.Generator().manual_seed(settings.seed)
        self.g = strengthen(Generator(settings.conv_dim), settings.condition_gain).to(device)
        self.d = Discriminator(settings.size, settings.adversary_dim).to(device)
        self.opt_g = torch.optim.Adam(self.g.parameters(), settings.lr, (0.5, 0.99))
        self.opt_d = torch.optim.Adam(self.d.parameters(), min(settings.lr, 4e-4), (0.0, 0.99))

    @property
    def parts(self) -> dict[str, object]:
        return {"g": self.g, "d": self.d, "opt_g": self.opt_g, "opt_d": self.opt_d}

    def batch(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(images, drawn targets, both in [-1, 1]; units of the images, units of the targets)."""
        index = self.heads.pick(self.s.batch, self.rng)
        theta = crop_theta(len(index), HEAD_SHARE, self.s.jitter, self.rng, flip=True).to(self.device)
        points = crop_points(self.heads.landmarks[index], theta)
        own = action_units(points)
        units = self._asked(own)
        return (*draw(self.heads.rgb[index], theta, points, units, self.s.size), own)

    def _asked(self, own: Tensor) -> Tensor:
        """(N, 17): an expression of the tables from half strength on, or a change from rest, one's own or another's."""
        n = len(own)
        kind = torch.rand(n, 1, generator=self.rng).to(own)
        base = torch.where(kind < 0.5, 0 * own, torch.where(kind < 0.75, own, own.roll(1, 0)))
        rows = torch.tensor([condition(units) for units in EXPRESSIONS.values()])
        listed = rows[torch.randint(len(rows), (n,), generator=self.rng)]
        listed = listed * (0.5 + 0.5 * torch.rand(n, 1, generator=self.rng))
        chosen = torch.rand(n, 1, generator=self.rng).to(own) < self.s.table
        return torch.where(chosen, listed.to(own), random_units(n, base, self.rng))

    def step(self, number: int, adversarial: bool) -> dict[str, float]:
        x, target, c, own = self.batch()
        report: dict[str, float] = {}
        if adversarial:
            for k in range(self.s.critic):
                if k:
                    x, target, c, own = self.batch()
                report["d"] = self._discriminate(x, own, c, number)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            attention, colour = self.g.masks(x, c)
        attention, fake = attention.float(), compose(x, attention.float(), colour.float())
        # The moved pixels are few: weight them up, or "change nothing" is the best first answer.
        weight = 1 + 10 * (target - x).abs().mean(1, keepdim=True)
        paired = ((fake - target).abs() * weight).mean()
        # Where attention copies, no gradient reaches the colours: they learn the target directly, most where it moves.
        near = F.max_pool2d(weight, 9, 1, 4)
        paired = paired + self.s.colour * ((colour.float() - target).abs() * near).mean()
        loss = self.s.supervised * paired + self._calm(attention)
        report |= {"l1": paired.item(), "attention": attention.mean().item()}
        if adversarial:
            loss = loss + self.s.adversarial * self._unpaired(x, fake, own, c)
        self.opt_g.zero_grad(set_to_none=True)
        loss.backward()
        self.opt_g.step()
        return report

    def _unpaired(self, x: Tensor, fake: Tensor, own: Tensor, c: Tensor) -> Tensor:
        """The published losses of the generator: realness, the asked units, the way back and its attention."""
        real, units = self.d(fake)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            attention, colour = self.g.masks(fake, own)
        attention, back = attention.float(), compose(fake, attention.float(), colour.float())
        loss = -real.mean() + self.s.units * F.mse_loss(units, c) + self.s.cycle * (back - x).abs().mean()
        return loss + self._calm(attention)

    def _calm(self, attention: Tensor) -> Tensor:
        """The published losses of an attention mask, of the way there and of the way back alike."""
        return self.s.saturation * attention.mean() + self.s.smooth * total_variation(attention)

    def _discriminate(self, x: Tensor, own: Tensor, c: Tensor, number: int) -> float:
        """One critic step; returns its loss. The units are learned on photographs, as published."""
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            fake = self.g(x, c).float()
        lazy = not self.s.wgan and number % 8 == 0
        x = x.detach().requires_grad_(lazy)
        (real, units), (unreal, _) = self.d(x), self.d(fake)
        loss = self.s.units * F.mse_loss(units, own)
        if self.s.wgan:
            loss = loss + unreal.mean() - real.mean() + 10 * gradient_penalty(self.d, x, fake)
        else:
            loss = loss + F.relu(1 - real).mean() + F.relu(1 + unreal).mean()
        if lazy:
            (grad,) = torch.autograd.grad(real.sum(), x, create_graph=True)
            loss = loss + 8 * 0.5 * grad.square().sum((1, 2, 3)).mean()
        self.opt_d.zero_grad(set_to_none=True)
        loss.backward()
        self.opt_d.step()
        return loss.item()


def strengthen(generator: Generator, gain: float) -> Generator:
    """Scale the first weights of the condition, in place.

    A condition is the same at every pixel, and instance norm takes off what is the same everywhere: it gets through
    only by what zero padding does at the border. At the usual start two expressions then differ by .08 inside the
    face, with a gain of 5 by .2, and many hundred steps are saved.
    """
    first = generator.main.get_parameter("0.weight")
    with torch.no_grad():
        first[:, 3:] *= gain
    return generator


def with_landmarks(data: Path, splits: Sequence[str]) -> list[pack.Head]:
    """The heads on which landmarks were found. Raises EngineError when the pack was made without."""
    heads = [h for h in pack.read(data, splits) if h.landmarks is not None and bool((h.landmarks == h.landmarks).all())]
    if not heads:
        raise EngineError(f"{data} has no landmarks: make one with: python -m engines pack --landmarks MODEL.onnx")
    return heads


def draw(rgb: Tensor, theta: Tensor, points: Tensor, units: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """(crops, the same with the asked expression, the units that shows) of heads (N, 3, S, S) uint8.

    `points` (N, 66, 2) lie in the crops' coordinates. What is shown is what was asked, up to what pose can do.
    """
    image = rgb.float() / 255
    expression = Expression(points, pose(points, units))
    before = crop(image, theta, size).clamp(0, 1)
    after = expression.paint_mouth(sample(image, expression.flow(size), theta).clamp(0, 1))
    return before * 2 - 1, after * 2 - 1, expression.units


def total_variation(attention: Tensor) -> Tensor:
    """The published smoothness: squared differences of neighbours, summed over pixels, mean over images."""
    down, across = attention.diff(dim=2), attention.diff(dim=3)
    return (down.square().sum() + across.square().sum()) / len(attention)


def gradient_penalty(critic: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
    """WGAN-GP: (|grad| - 1)^2 of the critic's realness at random blends, all patches together as in the public code."""
    share = torch.rand(len(real), 1, 1, 1, device=real.device)
    blend = (share * real.detach() + (1 - share) * fake).requires_grad_(True)
    (grad,) = torch.autograd.grad(critic(blend)[0].sum(), blend, create_graph=True)
    return (grad.flatten(1).norm(dim=1) - 1).square().mean()


def train(data: Path, out: Path, minutes: float, resume: bool, device: str, settings: Settings | None = None) -> Run:
    """Train for `minutes`; the last `1 - warmup` share of the run with the adversary. Writes `out`/state.pt."""
    settings = settings or Settings()
    seed_everything(settings.seed)
    trainer = GANimationTrainer(settings, data, pick_device(device))
    run = Run.of(out, settings, minutes, NAME, {"data": described(data)})
    if resume:
        run.resume(trainer.parts, trainer.rng)
    for _ in run.steps(trainer.parts):
        done = _done(run, settings)
        for group in trainer.opt_g.param_groups:
            group["lr"] = settings.lr * (1 if done < 0.3 else 1.4 * (1 - done) + 0.02)
        run.tick(trainer.step(run.step, done >= settings.warmup), trainer.parts)
    run.save(trainer.parts)
    return run


def _done(run: Run, settings: Settings) -> float:
    """0 to 1 over the planned run, or over this call where none is planned."""
    if not settings.plan_minutes:
        return run.progress
    return min(run.spent_seconds / 60 / settings.plan_minutes, 1.0)


def blank(settings: Settings, data: Path | None = None) -> dict[str, Any]:
    """The parts of a run that `load` and `target` read, untrained."""
    return {"g": Generator(settings.conv_dim)}


def load(folder: Path) -> Generator:
    """The trained generator of a run, frozen, in train mode (instance statistics), as the official code runs it."""
    generator = Generator(settings_of(folder, Settings).conv_dim)
    load_part(folder, "g", generator)
    return generator.requires_grad_(False)


class GANimationTarget(Target):
    """Training draws random expressions; half of them are the rows of the tables."""

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        rows = super().sample(n, rng)
        free = random_units(n, torch.zeros_like(rows), rng)
        keep = (free.amax(1) < 0.3) | (torch.rand(n, generator=rng) < 0.5).to(rows.device)  # at rest: no edit
        return torch.where(keep[:, None], rows, free)


def target(folder: Path, data: Path | None = None) -> Target:
    """The run's generator as an attacker runs it; `data` is not needed."""
    network = use_instance_statistics(load(folder))
    rows = torch.tensor([condition(units) for units in EXPRESSIONS.values()])
    return GANimationTarget(network, NAME, rows, list(EXPRESSIONS), settings_of(folder, Settings).size)
