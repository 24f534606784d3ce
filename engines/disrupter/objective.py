"""The disrupter's objective: eq. 3 of DeepFake Disrupter, on what is delivered.

max_P E[L_D(G(c(x + P(x))), G(c(x)))] - C1 E[(||P(x)|| - eps)+], where c is a delivery (`delivery.Channel`) and the
attacker's own crop. Two deliberate differences: the norm is the root mean square in RGB over the head (a PSNR), and
the distance may enter as a logarithm, so that a pair far below the 0.05 criterion pulls as hard as one near it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.heads import HEAD_SHARE, crop, crop_theta
from . import delivery
from .delivery import Channel

DISRUPTED = 0.05
"""A pair counts as disrupted from this mean squared error on [-1, 1] (Ruiz et al. 2020; `%dis`)."""


@dataclass(frozen=True)
class View:
    """One attacker's view: the delivery, the crop grids (N, 2, 3) and the conditions (N, C)."""

    channel: Channel
    theta: Tensor
    condition: Tensor


def random_view(n: int, conditions: Tensor, rng: torch.Generator, jitter: float = 0.08) -> View:
    """A random delivery, crop and condition for each image."""
    rows = torch.randint(len(conditions), (n,), generator=rng)
    return View(delivery.random_channel(rng), crop_theta(n, HEAD_SHARE, jitter, rng), conditions[rows])


def distances(generator: nn.Module, rgb: Tensor, delta: Tensor, view: View, size: int = 128) -> Tensor:
    """(N,): mean squared error on [-1, 1] between the generator's output on the protected delivery and on the original.

    rgb: guard regions (N, 3, S, S) in [0, 1]; delta: (N, 3, G, G) on the disrupter's grid.
    """
    side = view.channel.side
    base = F.interpolate(rgb, size=(side, side), mode="bilinear", align_corners=False, antialias=side < rgb.shape[-1])
    seen = view.channel(delivery.apply(base, delta))
    with torch.no_grad():
        reference = generator(_to_generator(base, view.theta, size), view.condition)
    edited = generator(_to_generator(seen, view.theta, size), view.condition)
    return (edited - reference).square().mean((1, 2, 3))


def _to_generator(rgb: Tensor, theta: Tensor, size: int) -> Tensor:
    return crop(rgb, theta, size).clamp(0, 1) * 2 - 1


def head_rms(delta: Tensor) -> Tensor:
    """(N,): root mean square of the perturbation in RGB on [0, 1] over the head; PSNR is -20 log10 of it.

    Where the rim around the head is perturbed more than the head, the whole region's counts: nobody should see a frame.
    """
    grid = delta.shape[-1]
    margin = round(grid * (1 - HEAD_SHARE) / 2)
    squared = (delivery.to_rgb(delta) * delivery.window(grid, delta.device)).square()
    head = squared[..., margin : grid - margin, margin : grid - margin].mean((1, 2, 3))
    return torch.maximum(head, squared.mean((1, 2, 3))).sqrt()


def rms_of_psnr(psnr_db: float) -> float:
    return 10 ** (-psnr_db / 20)


def loss(distance: Tensor, rms: Tensor, budget: float, c1: float, log: bool = True) -> Tensor:
    """Eq. 3 as a loss to minimise; `budget` is the root mean square allowed."""
    gain = torch.log(distance + 0.005) if log else distance
    return -gain.mean() + c1 * F.relu(rms / budget - 1).mean()
