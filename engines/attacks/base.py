"""What every attack promises: `__call__` validates, runs, and clips to the budget and the pixel range.

Images are (N, 3, H, W) RGB in [-1, 1]; epsilon and step are on that scale (0.05 is 6.4 levels of 255).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from stream_guard.errors import UsageError

Model = Callable[[Tensor], Tensor]
"""A generator with its condition already bound: image to edited image."""


@dataclass(frozen=True)
class Linf:
    """A budget of at most `epsilon` a value."""

    epsilon: float

    def __post_init__(self) -> None:
        if not 0 < self.epsilon <= 2:
            raise UsageError(f"epsilon must be in (0, 2] on images in [-1, 1], got {self.epsilon}")

    def clip(self, x: Tensor, x_adv: Tensor) -> Tensor:
        return (x + (x_adv - x).clamp(-self.epsilon, self.epsilon)).clamp(-1, 1)


class Attack(ABC):
    """Moves `model(x + d)` away from `target` (eq. 1 of DeepFake Disrupter) within a budget."""

    def __init__(self, budget: Linf) -> None:
        self.budget = budget

    @final
    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None) -> Tensor:
        """The attacked image. `target` defaults to `model(x)`. Raises UsageError on a wrong shape or range."""
        if x.ndim != 4 or x.shape[1] != 3:
            raise UsageError(f"an attack takes (N, 3, H, W) images, got {tuple(x.shape)}")
        if float(x.abs().max()) > 1 + 1e-6:
            raise UsageError(f"an attack takes images in [-1, 1], got values up to {float(x.abs().max()):.3f}")
        with torch.no_grad():
            goal = model(x) if target is None else target
        return self.budget.clip(x, self.run(model, x, goal)).detach()

    @abstractmethod
    def run(self, model: Model, x: Tensor, target: Tensor) -> Tensor:
        """The attacked image, before the base class clips it."""
