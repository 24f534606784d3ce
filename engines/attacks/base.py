"""What every attack promises: `__call__` validates, runs, and clips to the budget and the pixel range.

Images are (N, 3, H, W) RGB in [-1, 1]; epsilon and step are on that scale (0.05 is 6.4 levels of 255). An image's
result depends on its seed, not on the other images of its batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

from stream_guard.errors import EngineError, UsageError

Model = Callable[[Tensor], Tensor]
"""A generator with its condition already bound: image to edited image, or to features of it."""


class Budget(Protocol):
    """How far an attack may go from an image."""

    def clip(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """`x_adv` moved into the budget around `x` and into [-1, 1]."""


@dataclass(frozen=True)
class Linf:
    """A budget of at most `epsilon` a value."""

    epsilon: float

    def __post_init__(self) -> None:
        if not 0 < self.epsilon <= 2:
            raise UsageError(f"epsilon must be in (0, 2] on images in [-1, 1], got {self.epsilon}")

    def clip(self, x: Tensor, x_adv: Tensor) -> Tensor:
        return (x + (x_adv - x).clamp(-self.epsilon, self.epsilon)).clamp(-1, 1)


@dataclass(frozen=True)
class L2:
    """A budget of a root mean square of at most `rms` an image: its PSNR is 20 log10(2 / rms) or more."""

    rms: float

    def __post_init__(self) -> None:
        if not 0 < self.rms <= 2:
            raise UsageError(f"rms must be in (0, 2] on images in [-1, 1], got {self.rms}")

    def clip(self, x: Tensor, x_adv: Tensor) -> Tensor:
        delta = x_adv.clamp(-1, 1) - x
        rms = delta.square().mean((1, 2, 3), keepdim=True).sqrt()
        return (x + delta * (self.rms / rms.clamp(min=1e-12)).clamp(max=1.0)).clamp(-1, 1)


class Attack(ABC):
    """Moves `model(x + d)` away from `target` (eq. 1 of DeepFake Disrupter) within a budget."""

    takes_many = False
    """Whether several models (generators, or one under several conditions) may be attacked at once."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    @final
    def __call__(self, model: Model | Sequence[Model], x: Tensor, target: Tensor | None = None) -> Tensor:
        """The attacked image. `target` defaults to the output of the first model on `x`.

        Raises UsageError on a wrong shape or range, or on several models where the attack takes one; EngineError when
        a model gives numbers that are not finite.
        """
        models = self._models(model)
        check_images(x)
        with torch.no_grad():
            goal = models[0](x) if target is None else target
        if not bool(torch.isfinite(goal).all()):
            raise EngineError("the model that is attacked gave numbers that are not finite")
        attacked = self.budget.clip(x, self.run(models, x, goal)).detach()
        if not bool(torch.isfinite(attacked).all()):
            raise EngineError("the attack met gradients that are not finite: its result would be void")
        return attacked

    @abstractmethod
    def run(self, models: Sequence[Model], x: Tensor, target: Tensor) -> Tensor:
        """The attacked image, before the base class clips it."""

    def _models(self, model: Model | Sequence[Model]) -> Sequence[Model]:
        models = [model] if callable(model) else list(model)
        if not models:
            raise UsageError("an attack needs a model")
        if len(models) > 1 and not self.takes_many:
            raise UsageError(f"{type(self).__name__} attacks one model, got {len(models)}; see JointClass, Universal")
        return models


def check_images(x: Tensor) -> None:
    """Raises UsageError unless x is (N, 3, H, W) in [-1, 1]."""
    if x.ndim != 4 or x.shape[1] != 3 or not len(x):
        raise UsageError(f"an attack takes (N, 3, H, W) images, got {tuple(x.shape)}")
    worst = float(x.abs().max())
    if not worst <= 1 + 1e-6:
        raise UsageError(f"an attack takes images in [-1, 1], got values up to {worst:.3f}")
