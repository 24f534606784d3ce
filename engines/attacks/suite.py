"""The worst of several attacks on a classifier, image by image, and whether gradients can be trusted.

After AutoAttack (Croce and Hein 2020): Auto-PGD on two losses, and Square without gradients. Small own versions; FAB
is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from .apgd import APGD
from .base import Attack, Linf, Model
from .classifier import FGSM
from .square import Square

GRID = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Multiples of epsilon at which accuracy must fall, step by step."""


def standard(epsilon: float, iterations: int = 50, queries: int = 500, seed: int = 0) -> dict[str, Attack]:
    """The attacks of the suite by name; `epsilon` on [-1, 1]."""
    budget = Linf(epsilon)
    return {
        "apgd_ce": APGD(budget, "ce", iterations, seed),
        "apgd_margin": APGD(budget, "margin", iterations, seed),
        "square": Square(budget, queries, seed=seed),
    }


@dataclass(frozen=True)
class Held:
    """Which images (N,) each attack left rightly classified; an image is robust when all of them did."""

    clean: Tensor
    by_attack: Mapping[str, Tensor]

    @property
    def robust(self) -> Tensor:
        return torch.stack([self.clean, *self.by_attack.values()]).all(0)


def held_by(model: Model, x: Tensor, labels: Tensor, attacks: Mapping[str, Attack]) -> Held:
    """Attack every image with each attack."""
    clean = right(model, x, labels)
    return Held(
        clean, {name: right(model, attack(model, x, labels), labels) & clean for name, attack in attacks.items()}
    )


@torch.no_grad()
def right(model: Model, x: Tensor, labels: Tensor) -> Tensor:
    """(N,): whether the model's answer is the label."""
    return model(x).argmax(1) == labels


def gradient_checks(model: Model, x: Tensor, labels: Tensor, epsilon: float, held: Held) -> dict[str, bool | float]:
    """Signs of masked gradients (Athalye et al. 2018; Carlini et al. 2019); True is how it should be."""
    one = right(model, FGSM(Linf(epsilon))(model, x, labels), labels) & held.clean
    apgd = held.by_attack["apgd_ce"] & held.by_attack["apgd_margin"]
    by_size = [
        float(right(model, APGD(Linf(min(k * epsilon, 2.0)), "ce", 20)(model, x, labels), labels).float().mean())
        for k in GRID
    ]
    unbounded = right(model, APGD(Linf(2.0), "ce", 50)(model, x, labels), labels)
    return {
        "iterations_beat_one_step": bool(apgd.float().mean() <= one.float().mean()),
        "gradients_beat_random_search": float((apgd & ~held.by_attack["square"]).float().mean()) <= 0.02,
        "accuracy_falls_with_epsilon": all(b <= a + 0.02 for a, b in pairwise(by_size)),
        "without_a_bound_nothing_holds": not bool(unbounded.any()),
        "share_of_zero_gradients": zero_gradients(model, x, labels),
    }


def zero_gradients(model: Model, x: Tensor, labels: Tensor) -> float:
    """The share of images whose loss has a gradient of exactly zero: attacks by its sign then stand still."""
    inner = x.detach().requires_grad_(True)
    (grad,) = torch.autograd.grad(F.cross_entropy(model(inner), labels, reduction="sum"), inner)
    return float((grad.flatten(1) == 0).all(1).float().mean())
