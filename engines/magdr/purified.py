"""A generator behind an attacker's purification: the restorer of MagDR takes the perturbation out before the edit.

As a target it lets the disrupter, and PGD through the codec, learn against somebody who purifies (the adaptive attack
of MagDR's section 4.4, turned round: here the one who restores is the adversary, and we know his restorer).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..generators.target import Target
from .restorer import Restorer


class PurifiedTarget(Target):
    """G(R(x)) of a target G and a restorer R, both frozen; what it is compared with is G(x) of the clean picture."""

    def __init__(self, target: Target, restorer: Restorer) -> None:
        super().__init__(target.network, target.family, target.conditions, list(target.condition_names), target.size)
        self.target, self.restorer = target, restorer.eval().requires_grad_(False)

    @property
    def plain(self) -> Target:
        return self.target.plain

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        edited: Tensor = self.target(self.restorer(image), condition)
        return edited

    def under(self, conditions: Tensor, names: list[str]) -> Target:
        return PurifiedTarget(self.target.under(conditions, names), self.restorer)

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        return self.target.sample(n, rng)
