"""Auto-PGD (Croce and Hein, ICML 2020, https://arxiv.org/abs/2003.01690): PGD that chooses its own step sizes.

The step starts at twice epsilon and is halved, from the best image so far, whenever progress stalls at a checkpoint.
Losses: `ce`, and `margin`: the difference of logits ratio needs three classes, with two it is this margin up to its
scale, which the sign takes out. After a restart from the best image momentum begins anew; there it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stream_guard.errors import UsageError

from .base import Attack, Linf, Model
from .classifier import labels_of, margin

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ce": lambda logits, labels: F.cross_entropy(logits, labels, reduction="none"),
    "margin": lambda logits, labels: -margin(logits, labels),
}
MOMENTUM = 0.75
ENOUGH = 0.75
"""The share of steps that must raise the loss between two checkpoints for the step size to stay."""


def checkpoints(iterations: int) -> set[int]:
    """The steps at which the step size may be halved: 22 % in, then ever closer, by at least 6 %."""
    at, gap, found = 0.0, 0.22, set()
    while (at := at + gap) <= 1:
        found.add(max(1, round(at * iterations)))
        gap = max(gap - 0.03, 0.06)
    return found


class APGD(Attack):
    """Auto-PGD in an L-infinity budget, from one random start, the same for every image of a batch."""

    def __init__(self, budget: Linf, loss: str = "ce", iterations: int = 50, seed: int = 0) -> None:
        super().__init__(budget)
        if loss not in LOSSES or iterations < 1:
            raise UsageError(f"loss is one of {', '.join(LOSSES)} and iterations 1 or more; got {loss}, {iterations}")
        self.epsilon = float(getattr(budget, "epsilon", 0.05))
        self.loss, self.iterations, self.seed = LOSSES[loss], iterations, seed

    def run(self, models: Sequence[Model], x: Tensor, target: Tensor) -> Tensor:
        model, labels = models[0], labels_of(target, len(x))
        noise = torch.rand((1, *x.shape[1:]), generator=torch.Generator().manual_seed(self.seed)) * 2 - 1
        now = self.budget.clip(x, x + self.epsilon * noise.to(x))
        loss, grad = self._loss(model, now, labels)
        before, best, most = now.clone(), now.clone(), loss.clone()
        best_grad = grad.clone()
        step = x.new_full((len(x), 1, 1, 1), 2 * self.epsilon)
        risen, halved, most_then, last = x.new_zeros(len(x)), torch.ones_like(labels, dtype=torch.bool), most.clone(), 0
        marks = checkpoints(self.iterations)
        for k in range(1, self.iterations + 1):
            ahead = self.budget.clip(x, now + step * grad.sign())
            share = 1.0 if k == 1 else MOMENTUM
            ahead = self.budget.clip(x, now + share * (ahead - now) + (1 - share) * (now - before))
            before, now = now, ahead
            old = loss
            loss, grad = self._loss(model, now, labels)
            risen += loss > old
            better = loss > most
            best[better], best_grad[better], most[better] = now[better], grad[better], loss[better]
            if k in marks:
                stalled = (risen < ENOUGH * (k - last)) | (~halved & (most <= most_then))
                halved, most_then, last, risen = stalled, most.clone(), k, torch.zeros_like(risen)
                step[stalled] /= 2
                now, before, loss = now.clone(), before.clone(), loss.clone()
                now[stalled], before[stalled] = best[stalled], best[stalled]
                grad[stalled], loss[stalled] = best_grad[stalled], most[stalled]
        return best

    def _loss(self, model: Model, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        inner = x.detach().requires_grad_(True)
        loss = self.loss(model(inner), labels)
        (grad,) = torch.autograd.grad(loss.sum(), inner)
        return loss.detach(), grad
