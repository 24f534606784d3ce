"""I-FGSM (Kurakin et al. 2017) and PGD (Madry et al. 2018) as Ruiz et al. 2020 turn them on generators.

All maximise mean((G(x + d) - target)^2) by sign steps. I-FGSM has no random start: with its own output as the target
the loss and the gradient start at exactly 0 and it never moves: such a target needs PGD (goldens: `ifgsm_self`).
Ruiz et al.'s feature-space attack is PGD on `features(...)`; their attacks through blur and over classes are below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stream_guard.errors import UsageError

from .base import Attack, Budget, Model
from .blur import Blur


class IFGSM(Attack):
    """Iterated sign steps of size `step` for `iterations`."""

    def __init__(self, budget: Budget, step: float = 0.01, iterations: int = 10) -> None:
        super().__init__(budget)
        if step <= 0 or iterations < 1:
            raise UsageError(f"step must be above 0 and iterations 1 or more, got {step} and {iterations}")
        self.step, self.iterations = step, iterations

    def start(self, x: Tensor) -> Tensor:
        return x

    def run(self, models: Sequence[Model], x: Tensor, target: Tensor) -> Tensor:
        x_adv = self.start(x)
        for k in range(self.iterations):
            x_adv, _ = self.one_step(self.faced(models, k), x, x_adv, target)
        return x_adv

    def faced(self, models: Sequence[Model], k: int) -> Sequence[Model]:
        """The models whose losses are summed in step k."""
        return models

    def one_step(
        self, models: Model | Sequence[Model], x: Tensor, x_adv: Tensor, target: Tensor
    ) -> tuple[Tensor, list[float]]:
        """(the image after one step, each model's loss before it)."""
        x_adv = x_adv.detach().requires_grad_(True)
        losses = [F.mse_loss(model(x_adv), target) for model in ([models] if callable(models) else models)]
        (grad,) = torch.autograd.grad(torch.stack(losses).sum(), x_adv)
        return self.budget.clip(x, x_adv.detach() + self.step * grad.sign()), [loss.item() for loss in losses]


class PGD(IFGSM):
    """I-FGSM from a uniform start within `epsilon` a value, the same for every image of a batch."""

    def __init__(
        self, budget: Budget, step: float = 0.01, iterations: int = 10, seed: int = 0, start: float | None = None
    ) -> None:
        """`start` is the start's reach; an Linf budget's epsilon unless given."""
        super().__init__(budget, step, iterations)
        self.seed = seed
        self.reach = float(getattr(budget, "epsilon", 0.05)) if start is None else start

    def start(self, x: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.rand((1, *x.shape[1:]), generator=generator) * 2 - 1
        return x + self.reach * noise.to(x)


class JointClass(PGD):
    """Against several models or conditions at once: their losses are summed in each step (Ruiz et al., section 3.2).

    As in the official code, the target is the first one's output for all of them, unless one is given.
    """

    takes_many = True


class IterativeClass(JointClass):
    """Against several models or conditions in turn, one a step."""

    def faced(self, models: Sequence[Model], k: int) -> Sequence[Model]:
        return [models[k % len(models)]]


class BlurPGD(PGD):
    """PGD through a defender's blur; step k meets entry k of `blurs`, over and over (spread-spectrum with several).

    The target is the model's output on the image that is not blurred.
    """

    takes_many = True

    def __init__(
        self, budget: Budget, blurs: Sequence[Blur], step: float = 0.01, iterations: int = 10, seed: int = 0
    ) -> None:
        super().__init__(budget, step, iterations, seed)
        if not blurs:
            raise UsageError("BlurPGD needs at least one blur")
        self.blurs = list(blurs)

    def faced(self, models: Sequence[Model], k: int) -> Sequence[Model]:
        blur = self.blurs[k % len(self.blurs)]
        return [_after(blur, model) for model in models]


def _after(blur: Blur, model: Model) -> Model:
    return lambda image: model(blur(image))


def features(activations: Callable[[Tensor], Sequence[Tensor]], index: int) -> Model:
    """The model of feature-space PGD: entry `index` of what `activations` lists (Ruiz et al., section 3.1)."""
    return lambda image: activations(image)[index]
