"""A universal perturbation as CMUA builds it (Huang et al., AAAI 2022), and its mask metric.

One delta (3, H, W) for every image, accumulated over batches and models: from X = clip(x + delta), a sign step, the
mean over the batch of the clipped difference, mixed into delta with a momentum. Original code:
github.com/VDIGPKU/CMUA-Watermark (MIT). Difference on purpose: `fit` takes the models in the order given; the search
for each model's step size (TPE) is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stream_guard.errors import UsageError

from .base import Attack, Linf, Model, check_images


class Universal(Attack):
    """`fit` on many batches; a call then adds the same delta to any image. Not fitted, a call fits on its images."""

    takes_many = True

    def __init__(
        self,
        budget: Linf,
        step: float = 0.01,
        iterations: int = 10,
        momentum: float = 0.5,
        factor: float = 1.0,
        seed: int = 0,
        start: bool = True,
    ) -> None:
        """`factor` scales a model's difference before the clip; `start` is the random start of each batch."""
        super().__init__(budget)
        if not 0 <= momentum < 1 or step <= 0 or iterations < 1:
            raise UsageError("momentum must be in [0, 1), step above 0 and iterations 1 or more")
        self.epsilon, self.step, self.iterations = budget.epsilon, step, iterations
        self.momentum, self.factor, self.seed, self.random_start = momentum, factor, seed, start
        self.delta: Tensor | None = None

    def fit(self, models: Sequence[Model], batches: Iterable[Tensor]) -> Tensor:
        """The delta (3, H, W) after every batch and, in each, every model. Raises UsageError on bad images."""
        for x in batches:
            check_images(x)
            for model in models:
                with torch.no_grad():
                    target = model(x)
                self.meet(model, x, target, self.start(x))
        if self.delta is None:
            raise UsageError("a universal perturbation needs at least one batch and one model")
        return self.delta

    def meet(self, model: Model, x: Tensor, target: Tensor, x_adv: Tensor) -> Tensor:
        """All iterations on one batch and model, from `x_adv`; the batch's last image."""
        for _ in range(self.iterations):
            x_adv, _ = self.one_step(model, x, x_adv, target)
        return x_adv

    def one_step(self, model: Model, x: Tensor, x_adv: Tensor, target: Tensor) -> tuple[Tensor, float]:
        """(clip(x + delta) with the delta after this step, the loss before it)."""
        x_adv = x_adv.detach().requires_grad_(True)
        loss = F.mse_loss(model(x_adv), target)
        (grad,) = torch.autograd.grad(loss, x_adv)
        moved = self.factor * (x_adv.detach() + self.step * grad.sign() - x)
        mean = moved.clamp(-self.epsilon, self.epsilon).mean(0)
        self.delta = mean if self.delta is None else self.delta * self.momentum + mean * (1 - self.momentum)
        return (x + self.delta).clamp(-1, 1), loss.item()

    def start(self, x: Tensor) -> Tensor:
        if not self.random_start:
            return x
        noise = torch.rand((1, *x.shape[1:]), generator=torch.Generator().manual_seed(self.seed)) * 2 - 1
        return x + self.epsilon * noise.to(x)

    def run(self, models: Sequence[Model], x: Tensor, target: Tensor) -> Tensor:
        if self.delta is None:
            self.fit(models, [x])
        assert self.delta is not None
        if self.delta.shape != x.shape[1:]:
            raise UsageError(f"this perturbation is for images of {tuple(self.delta.shape)}, got {tuple(x.shape[1:])}")
        return x + self.delta.to(x)


@dataclass(frozen=True)
class Masked:
    """CMUA's metric of a batch: the mask (H, W), the distance inside it, and whether it is above 0.05.

    `distance` is NaN where the generator changed nothing (an empty mask), which counts as a failure.
    """

    mask: Tensor
    distance: float

    @property
    def success(self) -> bool:
        return self.distance > 0.05


def masked_distance(original: Tensor, edited: Tensor, attacked: Tensor) -> Masked:
    """SR_mask of (N, 3, H, W) images in [-1, 1]: the image, its edit, and the edit of the attacked image.

    As in the official code, the mask is of the first image, where the summed change of its channels is above 0.5 (and
    0.5 where it is exactly that), and the divisor is of one image whatever the batch: pass one image at a time.
    """
    change = (edited[0] - original[0]).abs().sum(0)
    mask = torch.where(change > 0.5, 1.0, torch.where(change < 0.5, 0.0, 0.5))
    squared = (attacked * mask - edited * mask).square().sum()
    return Masked(mask, float(squared / (3 * mask.sum())))
