"""Attacks on classifiers in the interface of `base`: the model gives logits (N, C), the target is what they flee.

`target` is the true class of each image (N,), or logits (N, C) whose largest entry is meant; without one it is the
model's own answer. Here: FGSM, and the losses that the other attacks share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stream_guard.errors import UsageError

from .base import Attack, Linf, Model

PAPER_EPSILON = 0.04
"""Fooling-detectors' 0.02 on [0, 1], on our scale."""


@dataclass(frozen=True)
class Anywhere:
    """No budget but the pixel range: for attacks that minimise the distance themselves."""

    def clip(self, x: Tensor, x_adv: Tensor) -> Tensor:
        return x_adv.clamp(-1, 1)


def labels_of(target: Tensor, count: int) -> Tensor:
    """(N,) classes from labels or logits. Raises UsageError for another shape."""
    labels = target.argmax(1) if target.ndim == 2 else target
    if labels.shape != (count,) or labels.is_floating_point():
        raise UsageError(f"the target of {count} images is their classes ({count},) or logits, got {target.shape}")
    return labels


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """(N,): Z_y - max over i != y of Z_i (eq. 4): below 0 the image is misclassified."""
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return own - others.amax(1)


class FGSM(Attack):
    """x + epsilon sign(grad of the cross entropy) (eq. 1; Goodfellow et al. 2014), clipped to the pixel range."""

    def __init__(self, budget: Linf) -> None:
        super().__init__(budget)
        self.epsilon = getattr(budget, "epsilon", None) or PAPER_EPSILON

    def run(self, models: Sequence[Model], x: Tensor, target: Tensor) -> Tensor:
        inner = x.detach().requires_grad_(True)
        loss = F.cross_entropy(models[0](inner), labels_of(target, len(x)), reduction="sum")
        (grad,) = torch.autograd.grad(loss, inner)
        return x + self.epsilon * grad.sign()
