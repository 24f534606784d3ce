"""Carlini and Wagner's L2 attack on a classifier (2017; fooling_detectors, eq. 3-6), batched.

Minimises ||x' - x||^2 + c max(Z_y - max_i Z_i, -confidence) over w with x' = tanh(w), by Adam, for each image with its
own c, found by binary search. Distances are on [0, 1], as the paper's, so that c, lr and confidence mean the same.
As in the original code and in the one that the paper used, c starts at the low end and is halved towards 0 after a
success, and an image counts as solved when the margin exceeds the confidence.

Differences on purpose: it starts at the image (the paper's code from a random point); an image stops by itself when its
loss no longer falls (there: the whole batch at once), and leaves the batch; and where the confidence is never reached,
the image with the greatest margin is returned instead of the unchanged one, so that a confidence that is too large does
not look like a defence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stream_guard.errors import UsageError

from .base import Attack, Budget, Model
from .classifier import Anywhere, labels_of, margin

ALMOST = 1 - 1e-6
"""Black and white pixels have no finite atanh."""
NO_PROGRESS = 0.9999


@dataclass
class _Search:
    """What is known of each image of the batch: bounds of c, and the best image so far."""

    low: Tensor
    high: Tensor
    c: Tensor
    image: Tensor
    distance: Tensor
    fled: Tensor
    """The greatest margin beyond the boundary, of images that never reached the confidence."""

    def offer(self, at: Tensor, x_adv: Tensor, distance: Tensor, fled: Tensor, confidence: float) -> Tensor:
        """Keep what is better at the indices `at`; returns which of them reached the confidence."""
        won = fled > confidence
        closer = won & (distance < self.distance[at])
        further = ~won & self.distance[at].isinf() & (fled > self.fled[at])
        better = closer | further
        if not bool(better.any()):
            return won
        self.image[at[better]] = x_adv[better]
        self.distance[at[closer]] = distance[closer]
        self.fled[at[better]] = fled[better]
        return won

    def next_c(self, won: Tensor) -> None:
        """Halve the bracket, or go up tenfold where nothing was found yet."""
        self.high = torch.where(won, torch.minimum(self.high, self.c), self.high)
        self.low = torch.where(won, self.low, torch.maximum(self.low, self.c))
        inside = (self.low + self.high) / 2
        ever = ~self.distance.isinf()
        self.c = torch.where(ever, inside, torch.minimum(self.c * 10, self.high))


class CarliniWagnerL2(Attack):
    """`c` is the range of the constant; `early` stops each image when ten per cent of the iterations bring nothing."""

    def __init__(
        self,
        budget: Budget | None = None,
        c: tuple[float, float] = (1e2, 1e4),
        search_steps: int = 5,
        iterations: int = 1000,
        lr: float = 0.01,
        confidence: float = 200.0,
        early: bool = True,
    ) -> None:
        super().__init__(budget or Anywhere())
        if not 0 < c[0] <= c[1] or search_steps < 1 or iterations < 1 or lr <= 0 or confidence < 0:
            raise UsageError(
                "c must be a rising range above 0, search_steps and iterations 1 or more, lr above 0 and confidence "
                f"0 or more; got c={c}, {search_steps}, {iterations}, {lr}, {confidence}"
            )
        self.c, self.search_steps, self.iterations, self.lr = c, search_steps, iterations, lr
        self.confidence, self.early = confidence, early

    def run(self, models: Sequence[Model], x: Tensor, target: Tensor) -> Tensor:
        labels, n = labels_of(target, len(x)), len(x)
        search = _Search(
            low=x.new_zeros(n),
            high=x.new_full((n,), self.c[1]),
            c=x.new_full((n,), self.c[0]),
            image=x.clone(),
            distance=x.new_full((n,), torch.inf),
            fled=x.new_full((n,), -torch.inf),
        )
        at = torch.arange(n, device=x.device)
        for _ in range(self.search_steps):
            before = search.c
            search.next_c(self._descend(models[0], x, labels, search, at))
            at = torch.nonzero(search.c != before)[:, 0]  # the same c would find the same again
            if not len(at):
                break
        return search.image

    def _descend(self, model: Model, x: Tensor, labels: Tensor, search: _Search, at: Tensor) -> Tensor:
        """One run of Adam for each of the images `at`, at its c; returns (N,) which reached the confidence."""
        won = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        start = torch.atanh(x * ALMOST)
        origin = torch.tanh(start)
        w, adam = start[at], _Adam(start[at], self.lr)
        before = x.new_full((len(x),), torch.inf)
        for step in range(self.iterations):
            w.requires_grad_(True)
            x_adv = torch.tanh(w)
            squared = ((x_adv - origin[at]) / 2).square().sum((1, 2, 3))
            over = margin(model(x_adv), labels[at])
            loss = squared + search.c[at] * over.clamp(min=-self.confidence)
            (grad,) = torch.autograd.grad(loss.sum(), w)
            loss, x_adv, over = loss.detach(), x_adv.detach(), over.detach()
            won[at] |= search.offer(at, x_adv, squared.detach(), -over, self.confidence)
            w = adam.step(w.detach(), grad)
            if self.early and step % max(1, -(-self.iterations // 10)) == 0:
                going = loss < before[at] - (1 - NO_PROGRESS) * before[at].abs().clamp(max=1e30)
                before[at] = loss
                if not bool(going.any()):
                    break
                if not bool(going.all()):
                    at, w = at[going], w[going]
                    adam.keep(going)
        return won


class _Adam:
    """Adam whose images can leave one by one."""

    def __init__(self, like: Tensor, lr: float) -> None:
        self.lr, self.steps = lr, 0
        self.mean, self.square = torch.zeros_like(like), torch.zeros_like(like)

    def step(self, w: Tensor, grad: Tensor) -> Tensor:
        self.steps += 1
        self.mean.lerp_(grad, 0.1)
        self.square.mul_(0.999).addcmul_(grad, grad, value=0.001)
        scale = self.lr / (1 - 0.9**self.steps)
        root = (self.square / (1 - 0.999**self.steps)).sqrt_().add_(1e-8)
        return w.addcdiv(self.mean, root, value=-scale)

    def keep(self, going: Tensor) -> None:
        self.mean, self.square = self.mean[going], self.square[going]
