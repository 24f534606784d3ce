"""Clean heads and the same heads perturbed, for networks that learn to tell or to undo it.

Perturbed by our own disrupter at several strengths, or by PGD or C&W against one of the surrogates, as they are made
without a thought of this detector. Both go the same way afterwards: rounded, or through H.264 or JPEG in a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..attacks.base import Attack, Linf
from ..attacks.cw import CarliniWagner
from ..attacks.pgd import PGD
from ..data.heads import HEAD_SHARE, crop, crop_theta, spread
from ..detectors.degrade import Path as Delivery
from ..detectors.degrade import gains
from ..detectors.pictures import Pictures
from ..generators.target import Target

FRAMES = 0.4
"""Share of groups from clips, where the pack has them."""
AS_THEY_ARE = 0.15
"""Share of groups, unless another is asked for, that are head crops of 8 bits, perturbed as such, on the network's own
grid of pixels."""
LIT_OTHERWISE = 0.5
"""Share of groups whose brightness, contrast and colour balance are drawn anew before anything is perturbed."""


@dataclass(frozen=True)
class Aim:
    """What an attack was made against: one of the targets, and the `condition` (n, C) of each head."""

    target: Target
    condition: Tensor


@dataclass
class Perturbing:
    """Pairs of a split. `own` is the share of pairs that our disrupter perturbs; the rest falls to the targets."""

    pictures: Pictures
    targets: Sequence[Target]
    own: float
    half: bool = False
    """whether attacks run the targets in bfloat16"""
    as_they_are: float = AS_THEY_ARE
    size: int = 128

    @classmethod
    def of(
        cls,
        data: Path,
        split: str,
        targets: Sequence[Target],
        own: float,
        device: torch.device,
        half: bool = False,
        as_they_are: float = AS_THEY_ARE,
    ) -> Perturbing:
        return cls(Pictures(data, [split], device), targets, own, half, as_they_are)

    def pairs(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """(clean, perturbed), each (n, 3, size, size) in [0, 1], 8 bits: the same crops after the same way."""
        return self.aimed_pairs(n, rng)[:2]

    def aimed_pairs(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Aim | None]:
        """The same, and what was attacked; None where our disrupter perturbed."""
        guards, aim = self._guards(n, rng), None
        as_they_are = _chance(rng) < self.as_they_are
        if not self.targets or _chance(rng) < self.own:
            changed = self._protected(guards, rng)
        else:
            heads = crop(guards, crop_theta(n, HEAD_SHARE, 0.0, None), self.size).clamp(0, 1)
            aim = self.aim(n, rng)
            change = self._attack(heads, aim, rng)
            if as_they_are:
                return _round(heads), _round(heads + change), aim
            changed = guards + spread(change, guards.shape[-1])
        both = _round(torch.cat([guards, changed]))
        if not as_they_are:
            both = _way(guards.shape[-1], rng)(both)
        theta = crop_theta(n, HEAD_SHARE, 0.06, rng)
        clean, perturbed = (crop(part, theta, self.size).clamp(0, 1) for part in both.chunk(2))
        return _round(clean), _round(perturbed), aim

    def aim(self, n: int, rng: torch.Generator) -> Aim:
        """One of the targets, and a condition of its own for each of n heads."""
        target = self.targets[int(torch.randint(len(self.targets), (1,), generator=rng))]
        return Aim(target, target.sample(n, rng).to(self.pictures.stills.device))

    def _guards(self, n: int, rng: torch.Generator) -> Tensor:
        """(n, 3, S, S) in [0, 1]: guard regions of stills, or of frames."""
        source = self.pictures.stills
        if self.pictures.frames is not None and _chance(rng) < FRAMES:
            source = self.pictures.frames
        guards = source[torch.randint(len(source), (n,), generator=rng).to(source.device)].float() / 255
        return gains(guards, rng) if _chance(rng) < LIT_OTHERWISE else guards

    def _protected(self, guards: Tensor, rng: torch.Generator) -> Tensor:
        """By the runtime's own stage, at 0.7 to 1.5 times its strength."""
        done = self.pictures.protector((guards * 255).round().byte()).float() / 255
        return guards + (0.7 + 0.8 * _chance(rng)) * (done - guards)

    def _attack(self, heads: Tensor, aim: Aim, rng: torch.Generator) -> Tensor:
        """(n, 3, size, size): the change on [0, 1] of one attack; its strength is drawn: 0.7 to 1.2 of what it made."""
        x = heads * 2 - 1
        with torch.enable_grad(), torch.autocast(x.device.type, torch.bfloat16, enabled=self.half):
            made = _some_attack(rng)(lambda image: aim.target(image, aim.condition).float(), x)
        return (0.7 + 0.5 * _chance(rng)) * (made - x) / 2


def _some_attack(rng: torch.Generator) -> Attack:
    """PGD within .02 to .06, in 4 to 8 steps, or C&W in 8 to 14 of Adam."""
    seed = int(torch.randint(2**31 - 1, (1,), generator=rng))
    u = _chance(rng)
    if _chance(rng) < 0.5:
        epsilon, steps = 0.02 + 0.04 * u, 4 + int(5 * _chance(rng))
        return PGD(Linf(epsilon), 2 * epsilon / steps, steps, seed)
    return CarliniWagner(Linf(0.1), iterations=8 + int(7 * u), lr=0.02, seed=seed)


def _way(side: int, rng: torch.Generator) -> Delivery:
    """H.264 at crf 18 to 30 in half of all, JPEG 50 to 95 in a quarter; the guard region is 160 to 400 px wide."""
    u, q, s = torch.rand(3, generator=rng).tolist()
    wide = 2 * round(80 + 120 * s)
    if u < 0.5:
        return Delivery(wide, "h264", 18 + int(13 * q))
    if u < 0.75:
        return Delivery(wide, "jpeg", 50 + int(46 * q))
    return Delivery(wide if u < 0.9 else side)


def _chance(rng: torch.Generator) -> float:
    return float(torch.rand(1, generator=rng))


def _round(rgb: Tensor) -> Tensor:
    return (rgb.clamp(0, 1) * 255).round() / 255
