"""The adversary that a robust network is trained against: it perturbs fakes only, as the paper's does.

PGD from a random start (Madry et al. 2018). Since the reals are never attacked, the network need not give up those
that an attack could turn: what it must learn is what a real picture has and no small perturbation can add. Some reals
are shown with random noise of the same size, so that noise never comes to mean fake.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...attacks.base import Linf
from ...attacks.classifier import PAPER_EPSILON
from ...detectors.detector import FAKE, Detector

CALM, GROWN = 0.1, 0.45
"""Shares of a training: before the first nothing is attacked, from the second on at the paper's epsilon."""
NOISY = 1 / 3
"""The share of reals that are shown with noise."""


def epsilon(done: float) -> float:
    """How far the attack goes when the share `done` of the training is over."""
    return PAPER_EPSILON * min(max((done - CALM) / (GROWN - CALM), 0.0), 1.0)


def against(detector: Detector, x: Tensor, labels: Tensor, epsilon: float, steps: int) -> Tensor:
    """The batch (N, 3, S, S) with every fake attacked and some of the reals noisy; as it is for an epsilon of 0."""
    if not epsilon:
        return x
    fake = labels == FAKE
    made = noisy(x, epsilon)
    made[fake] = attacked(detector, x[fake], labels[fake], epsilon, steps)
    return made


def noisy(x: Tensor, epsilon: float) -> Tensor:
    """A share of NOISY of the pictures with noise of a random strength up to epsilon, half of it of signs alone."""
    n = len(x)
    chosen, signs, strength = torch.rand(3, n, 1, 1, 1)
    noise = torch.where(signs < 0.5, torch.randn_like(x).sign(), torch.rand_like(x) * 2 - 1)
    return torch.where(chosen < NOISY, (x + epsilon * strength * noise).clamp(-1, 1), x)


def attacked(detector: Detector, x: Tensor, labels: Tensor, epsilon: float, steps: int) -> Tensor:
    """PGD in eval mode from a random start; several steps are of 2 epsilon in all."""
    detector.eval()
    budget = Linf(epsilon)
    now = budget.clip(x, x + epsilon * (torch.rand_like(x) * 2 - 1))
    size = 1.25 * epsilon if steps == 1 else 2 * epsilon / steps
    for _ in range(steps):
        inner = now.detach().requires_grad_(True)
        (grad,) = torch.autograd.grad(F.cross_entropy(detector(inner), labels, reduction="sum"), inner)
        now = budget.clip(x, inner.detach() + size * grad.sign())
    return now
