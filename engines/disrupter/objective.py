"""The disrupter's objective: eq. 7 of DeepFake Disrupter, on what is delivered.

L = -E[L_D(G(c(x + P(x))), G(x))] + C1 E[(||P(x)|| - eps)+] + C2 E[D(G(c(x + P(x))))] + C3 E[1 - D(c(x + P(x)))], where
c is a delivery (`delivery.Channel`) and the attacker's own crop, and D is a detector's probability of *real*.

Deliberate differences: the norm is the root mean square in RGB over the head (a PSNR), relative to the budget; the
distance and the detectors may enter as logarithms, so that a pair far from success pulls as hard as one near it; a pair
that is disrupted more than `enough` may stop pulling. Two terms are ours: `steadiness` against flicker, `roughness`
against what costs bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.heads import HEAD_SHARE, crop, crop_theta
from ..detectors.detector import FAKE, REAL
from ..generators.target import Target
from . import delivery
from .delivery import Channel

DISRUPTED = 0.05
"""A pair counts as disrupted from this mean squared error on [-1, 1] (Ruiz et al. 2020; `%dis`)."""

OFFSET = 0.005
"""Added to the distance before its logarithm: a pair below a tenth of the criterion does not pull without limit."""

Detector = Callable[[Tensor], Tensor]
"""Head crops (N, 3, S, S) RGB in [-1, 1] to (N, 2) logits of fake and real: `detectors.detector.Detector`."""


@dataclass(frozen=True)
class Delivery:
    """A batch of guard regions in [0, 1] on the attacker's side: unprotected (not encoded) and protected."""

    clean: Tensor
    seen: Tensor


def deliver(rgb: Tensor, delta: Tensor, channel: Channel) -> Delivery:
    """Guard regions (N, 3, S, S) in [0, 1] and deltas (N, 3, G, G) through the channel.

    The unprotected side is rescaled and blurred alike, so that a blur alone does not count as disruption.
    """
    base = delivery.resize(rgb, channel.side)
    with torch.no_grad():
        clean = channel.reshape(base)
    return Delivery(clean, channel(delivery.apply(base, delta)))


@dataclass(frozen=True)
class Attempt:
    """What an attacker gets: the protected head crop and its edit (N, 3, S, S) in [-1, 1], and the distance (N,).

    `distance` is the mean squared error on [-1, 1] to the edit of the unprotected crop.
    """

    face: Tensor
    edited: Tensor
    distance: Tensor


def attempt(target: Target, delivered: Delivery, theta: Tensor, condition: Tensor) -> Attempt:
    """The target's edit of the head crops at `theta` (N, 2, 3) under `condition` (N, C)."""
    face = _to_generator(delivered.seen, theta, target.size)
    with half_on_gpu(face.device):
        with torch.no_grad():
            reference = target.plain(_to_generator(delivered.clean, theta, target.size), condition).float()
        edited = target(face, condition).float()
    return Attempt(face, edited, (edited - reference).square().mean((1, 2, 3)))


def half_on_gpu(device: torch.device) -> torch.autocast:
    """bfloat16 where a GPU is faster with it; a processor with instructions for it gains a sixth of a step here."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def random_attempt(target: Target, delivered: Delivery, rng: torch.Generator, jitter: float = 0.08) -> Attempt:
    """A random crop and condition for each image: P learns no single class (class-transferable)."""
    n = len(delivered.seen)
    return attempt(target, delivered, crop_theta(n, HEAD_SHARE, jitter, rng), target.sample(n, rng))


def _to_generator(rgb: Tensor, theta: Tensor, size: int) -> Tensor:
    return crop(rgb, theta, size).clamp(0, 1) * 2 - 1


def gain(distance: Tensor, log: bool = True, enough: float = 0.0) -> Tensor:
    """E[L_D]: to be raised. Pairs beyond `enough` (0: none) count as that and no longer pull."""
    if enough:
        distance = distance.clamp(max=enough)
    return (torch.log(distance + OFFSET) if log else distance).mean()


def excess(rms: Tensor, budget: float) -> Tensor:
    """E[(||P(x)|| - eps)+] relative to eps, the root mean square allowed."""
    return F.relu(rms / budget - 1).mean()


def called_real(detectors: Sequence[Detector], image: Tensor, log: bool = True) -> Tensor:
    """Eq. 5, E[D(image)] over the detectors; with `log`, -log(1 - D), whose gradient lasts where D is sure."""
    logits = _real_logits(detectors, image)
    return (F.softplus(logits) if log else torch.sigmoid(logits)).mean()


def called_fake(detectors: Sequence[Detector], image: Tensor, log: bool = True) -> Tensor:
    """Eq. 6, E[1 - D(image)] over the detectors; with `log`, -log D."""
    logits = _real_logits(detectors, image)
    return (F.softplus(-logits) if log else torch.sigmoid(-logits)).mean()


def _real_logits(detectors: Sequence[Detector], image: Tensor) -> Tensor:
    """(K, N): log-odds of *real*."""
    with half_on_gpu(image.device):
        logits = torch.stack([detector(image).float() for detector in detectors])
    return logits[..., REAL] - logits[..., FAKE]


def roughness(delta: Tensor) -> Tensor:
    """0 to 1: the share of a delta's energy that a 3 x 3 binomial filter takes away: the bits it costs."""
    taps = delta.new_tensor([0.25, 0.5, 0.25])
    kernel = (taps[:, None] * taps[None, :]).expand(delta.shape[1], 1, 3, 3)
    smooth = F.conv2d(F.pad(delta, (1, 1, 1, 1), mode="replicate"), kernel, groups=delta.shape[1])
    return (delta - smooth).square().mean() / (delta.square().mean() + 1e-12)


def neighbour(rgb: Tensor, rng: torch.Generator, jitter: float = 0.02) -> tuple[Tensor, Tensor]:
    """(the guard regions as the next frame might show them, their crop grids (N, 2, 3) in the first ones).

    Shifted and scaled by up to `jitter` of the side, 3 % brighter or darker, with sensor noise of a level.
    """
    theta = crop_theta(len(rgb), 1.0, jitter, rng)
    light = 1 + 0.06 * (torch.rand(len(rgb), 1, 1, 1, generator=rng) - 0.5).to(rgb.device)
    noise = torch.randn_like(rgb) / 255
    return (crop(rgb, theta, rgb.shape[-1]) * light + noise).clamp(0, 1), theta


def unsteadiness(delta: Tensor, next_delta: Tensor, theta: Tensor) -> Tensor:
    """How much of the next frame's delta is not this frame's, seen at the same place of the face; 0 is steady.

    The energy of the difference over that of this frame's, which is no way to shrink: the divisor has no gradient.
    """
    moved = crop(delta, theta, delta.shape[-1])
    weight = delivery.window(delta.shape[-1], delta.device)
    difference = ((next_delta - moved) * weight).square().mean()
    return difference / ((delta * weight).square().mean().detach() + 1e-12)
