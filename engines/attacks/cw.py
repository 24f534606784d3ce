"""The attack of Carlini and Wagner 2017 in L2, as it is turned on generators (MagDR, section 5).

Minimises mean(d^2) + c max(confidence - mean((G(x + d) - target)^2), 0) over w with x + d = tanh(w), by Adam.
`confidence` is the distance to reach: the criterion of 0.05 and a margin. Of all steps the smallest perturbation that
reached it is kept, or the one that came nearest. The base class still clips to a budget.

With its own output as the target the gradient starts at exactly 0; so the start is a small noise.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stream_guard.errors import UsageError

from .base import Attack, Budget, Model

ALMOST = 1 - 1e-4
"""Black and white pixels have no finite atanh."""


class CarliniWagner(Attack):
    """C&W L2 with a fixed constant `c`. With several models, the nearest of them must reach the confidence as well."""

    takes_many = True

    def __init__(
        self,
        budget: Budget,
        c: float = 1.0,
        confidence: float = 0.06,
        iterations: int = 50,
        lr: float = 0.01,
        start: float = 0.005,
        seed: int = 0,
    ) -> None:
        super().__init__(budget)
        if c <= 0 or confidence <= 0 or lr <= 0 or iterations < 1:
            raise UsageError("c, confidence and lr must be above 0 and iterations 1 or more")
        self.c, self.confidence, self.iterations, self.lr = c, confidence, iterations, lr
        self.reach, self.seed = start, seed

    def run(self, models: Sequence[Model], x: Tensor, target: Tensor) -> Tensor:
        w = self.start(x).requires_grad_(True)
        optimizer = torch.optim.Adam([w], self.lr)
        best, size, distance = x.clone(), x.new_full((len(x),), torch.inf), x.new_full((len(x),), -torch.inf)
        for _ in range(self.iterations):
            x_adv = self.budget.clip(x, torch.tanh(w))
            now_size, now_distance = (x_adv - x).square().mean((1, 2, 3)), self.reached(models, x_adv, target)
            better = _better(now_size.detach(), now_distance.detach(), size, distance, self.confidence)
            best = torch.where(better[:, None, None, None], x_adv.detach(), best)
            size = torch.where(better, now_size.detach(), size)
            distance = torch.where(better, now_distance.detach(), distance)
            optimizer.zero_grad(set_to_none=True)
            (now_size + self.c * F.relu(self.confidence - now_distance)).sum().backward()
            optimizer.step()
        return best

    def start(self, x: Tensor) -> Tensor:
        """w of the image with a little noise, the same for every image of a batch."""
        noise = torch.rand((1, *x.shape[1:]), generator=torch.Generator().manual_seed(self.seed)) * 2 - 1
        return torch.atanh((x + self.reach * noise.to(x)).clamp(-ALMOST, ALMOST)).detach()

    def reached(self, models: Sequence[Model], x_adv: Tensor, target: Tensor) -> Tensor:
        """(N,): the distance to the target, of the model that is nearest to it."""
        outputs = [model(x_adv) for model in models]
        return torch.stack([(out - target).square().flatten(1).mean(1) for out in outputs]).min(0).values


def _better(size: Tensor, distance: Tensor, old_size: Tensor, old_distance: Tensor, enough: float) -> Tensor:
    """Whether this step is the best yet: smaller among those that are far enough, else further away."""
    won, had = distance >= enough, old_distance >= enough
    return (won & (~had | (size < old_size))) | (~won & ~had & (distance > old_distance))
