"""The attack that knows the defence (eq. 3 of MagDR): PGD through the operations of the consistency detector.

Where `evade` gives the log-odds of the learned detector of inputs, each step also lowers those that would be found.
Every step draws one of the K operations; its gradient is taken as that of doing nothing (straight through), since most
are not differentiable. So the perturbation must disrupt the edit whatever the operation, and does not stand out by
being fragile. The masks and thresholds are not attacked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stream_guard.magdr.operations import consistency

from ..attacks.base import Linf
from ..generators.target import Target
from .faces import BATCH, EPSILON, Crops, Split, to_bytes, to_unit
from .fit import Asked

STEP = 0.01
MARGIN = 2.0
"""Log-odds below the threshold that an evading attack is content with: 8 bits take some of it back."""

Evade = Callable[[Tensor], Tensor]
"""Images (N, 3, S, S) in [-1, 1] to (N,): the log-odds of perturbed beyond the threshold, with a gradient."""


def through_operations(
    people: Split,
    target: Target,
    rows: Sequence[int],
    asked: Asked,
    iterations: Sequence[int],
    seed: int,
    evade: Evade | None = None,
) -> Iterator[tuple[int, Crops]]:
    """(iterations so far, the attacked crops) for each of `iterations`, in order."""
    budget = Linf(EPSILON)
    x = people.heads() * 2 - 1
    conditions = torch.stack([target.conditions[rows[k % len(rows)]] for k in range(len(x))])
    rng = np.random.default_rng(seed)
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    with torch.no_grad():
        goal = torch.cat([target(x[i : i + BATCH], conditions[i : i + BATCH]) for i in range(0, len(x), BATCH)])
    x_adv = budget.clip(x, x + EPSILON * noise)
    for step in range(1, max(iterations) + 1):
        operation = int(rng.integers(-1, asked.operations))
        parts = [slice(i, i + BATCH) for i in range(0, len(x), BATCH)]
        signs = [_direction(target, x_adv[p], conditions[p], goal[p], operation, asked, evade) for p in parts]
        x_adv = budget.clip(x, x_adv + STEP * torch.cat(signs))
        if step in iterations:
            print(f"adaptive attack: {step} of {max(iterations)} iterations", flush=True)
            yield step, to_bytes((x_adv + 1) / 2)


def _direction(
    target: Target,
    images: Tensor,
    condition: Tensor,
    goal: Tensor,
    operation: int,
    asked: Asked,
    evade: Evade | None,
) -> Tensor:
    images = images.detach().requires_grad_(True)
    loss = F.mse_loss(target(straight_through(images, operation, asked), condition), goal)
    (gradient,) = torch.autograd.grad(loss, images)
    if evade is None:
        return gradient.sign()
    return (_unit(gradient) - _unit(_found(images, evade))).sign()


def _found(images: Tensor, evade: Evade) -> Tensor:
    """The gradient of the log-odds of those images that are found, or nearly; 0 for the others."""
    odds = evade(images)
    (gradient,) = torch.autograd.grad(odds.sum(), images)
    return gradient * (odds > -MARGIN).to(gradient)[:, None, None, None]


def _unit(gradient: Tensor) -> Tensor:
    """Each image's gradient with a mean magnitude of 1, so that neither goal drowns the other."""
    return gradient / gradient.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-12)


def straight_through(images: Tensor, operation: int, asked: Asked) -> Tensor:
    """The k-th operation of images (N, 3, S, S) in [-1, 1], with the gradient of doing nothing; -1 does nothing."""
    if operation < 0:
        return images
    crops = to_bytes((images.detach() + 1) / 2)
    changed = np.stack([consistency(crop, operation + 1, asked.seed)[operation] for crop in crops])
    return images + (to_unit(changed) * 2 - 1 - images.detach())
