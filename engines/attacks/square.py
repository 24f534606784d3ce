"""Square attack (Andriushchenko et al., ECCV 2020, https://arxiv.org/abs/1912.00049): random search, no gradients.

It finds what gradient attacks miss when gradients are masked. Squares of one colour each, at the corners of the
budget, are kept when they lower the margin. Difference: all images of a batch try the same squares, so that an image's
result does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stream_guard.errors import UsageError

from .base import Attack, Linf, Model
from .classifier import labels_of, margin

SCHEDULE = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Of 10000 queries: where the squares' area is halved."""


class Square(Attack):
    """`queries` to the model; `share` is the first squares' part of the picture."""

    def __init__(self, budget: Linf, queries: int = 500, share: float = 0.8, seed: int = 0) -> None:
        super().__init__(budget)
        if queries < 1 or not 0 < share <= 1:
            raise UsageError(f"queries must be 1 or more and share in (0, 1], got {queries} and {share}")
        self.epsilon = float(getattr(budget, "epsilon", 0.05))
        self.queries, self.share, self.seed = queries, share, seed

    @torch.no_grad()
    def run(self, models: Sequence[Model], x: Tensor, target: Tensor) -> Tensor:
        model, labels = models[0], labels_of(target, len(x))
        rng = torch.Generator().manual_seed(self.seed)
        stripes = self._signs((1, 3, 1, x.shape[-1]), rng).to(x)
        best = self.budget.clip(x, x + self.epsilon * stripes)
        least = margin(model(best), labels)
        for k in range(self.queries):
            tried = self.budget.clip(x, self._with_square(x, best, k, rng))
            found = margin(model(tried), labels)
            better = found < least
            best = torch.where(better[:, None, None, None], tried, best)
            least = torch.where(better, found, least)
        return best

    def _with_square(self, x: Tensor, best: Tensor, k: int, rng: torch.Generator) -> Tensor:
        rows, columns = x.shape[-2:]
        side = min(max(round((self._area(k) * rows * columns) ** 0.5), 1), rows, columns)
        top = int(torch.randint(rows - side + 1, (1,), generator=rng))
        left = int(torch.randint(columns - side + 1, (1,), generator=rng))
        tried = best.clone()
        here = (slice(None), slice(None), slice(top, top + side), slice(left, left + side))
        tried[here] = x[here] + self.epsilon * self._signs((1, 3, 1, 1), rng).to(x)
        return tried

    def _area(self, k: int) -> float:
        """The squares' share of the picture at query k: halved along SCHEDULE, stretched to the queries there are."""
        passed = sum(k * 10000 / self.queries > mark for mark in SCHEDULE)
        return self.share / 2**passed

    @staticmethod
    def _signs(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
        return torch.randint(2, shape, generator=rng).float() * 2 - 1
