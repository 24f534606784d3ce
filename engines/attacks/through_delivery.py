"""PGD through the codec: what any network with the same grid and budget could reach, image by image.

Projected gradient ascent on the disrupter's own grid and objective (engines.disrupter.objective), expectation over
random deliveries, crops and conditions. It knows the image and the generators as P does, but takes minutes where P
takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stream_guard.errors import UsageError

from ..disrupter import delivery, objective
from ..disrupter.budget import head_rms, rms_of_psnr
from ..disrupter.network import GRID, SIZE, shrink, visibility_mask
from ..generators.target import Target


class ThroughDelivery:
    """The upper bound. `psnr_db` is the budget over the head, `epsilon` the hard one a value (levels / 255)."""

    def __init__(
        self, psnr_db: float, epsilon: float, iterations: int = 80, lr: float = 0.15, seed: int = 0, grid: int = GRID
    ) -> None:
        self.rms = rms_of_psnr(psnr_db)
        self.epsilon, self.iterations, self.lr, self.seed, self.grid = epsilon, iterations, lr, seed, grid

    def __call__(self, targets: nn.Module | Sequence[Target], rgb: Tensor, conditions: Tensor | None = None) -> Tensor:
        """rgb: guard regions (N, 3, S, S) in [0, 1]. Returns the delta (N, 3, grid, grid) found.

        With several targets, one delta against all of them. `conditions` (K, C) are the rows to draw from, for each
        target; without them each draws its own. Raises UsageError on a wrong shape or range.
        """
        against = [_bound(t, conditions) for t in ([targets] if isinstance(targets, nn.Module) else targets)]
        _check(against, rgb)
        rng = torch.Generator().manual_seed(self.seed)
        z = 0.3 * torch.randn(1, 3, self.grid, self.grid, generator=rng).to(rgb.device).repeat(len(rgb), 1, 1, 1)
        z = z.requires_grad_(True)
        mask = self.mask(rgb)
        optimizer = torch.optim.Adam([z], self.lr)
        for k in range(self.iterations):
            for group in optimizer.param_groups:
                group["lr"] = self.lr * (1 - 0.9 * k / self.iterations)
            delivered = objective.deliver(rgb, self.project(z, mask), delivery.random_channel(rng))
            attempts = [objective.random_attempt(target, delivered, rng) for target in against]
            loss = -torch.stack([torch.log(a.distance + objective.OFFSET) for a in attempts]).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return self.project(z, mask).detach()

    def mask(self, rgb: Tensor) -> Tensor:
        """P's own visibility mask, on this grid."""
        mask = visibility_mask(shrink(rgb, round(SIZE * self.grid / GRID)))
        if mask.shape[-1] != self.grid:
            raise UsageError(f"the visibility mask is {mask.shape[-1]} px wide, the grid {self.grid}")
        return mask

    def project(self, z: Tensor, mask: Tensor) -> Tensor:
        """Into the budgets: tanh and the visibility mask for the hard one, scaled to the head's root mean square."""
        delta = self.epsilon * mask * torch.tanh(z)
        scale = (self.rms / head_rms(delta).clamp(min=1e-8)).clamp(max=1.0)
        return delta * scale[:, None, None, None]


def _bound(target: nn.Module, conditions: Tensor | None) -> Target:
    """The target drawing from the given rows only."""
    if conditions is None and isinstance(target, Target):
        return target
    if conditions is None:
        raise UsageError("a bare network needs its conditions")
    names = [str(k) for k in range(len(conditions))]
    return Target(target, "given", conditions, names, getattr(target, "size", 128)).to(conditions.device)


def _check(targets: Sequence[Target], rgb: Tensor) -> None:
    if not targets:
        raise UsageError("the bound needs at least one target")
    if rgb.ndim != 4 or rgb.shape[1] != 3 or rgb.shape[2] != rgb.shape[3]:
        raise UsageError(f"the bound takes square regions (N, 3, S, S), got {tuple(rgb.shape)}")
    if float(rgb.min()) < 0 or float(rgb.max()) > 1:
        raise UsageError(f"the bound takes regions in [0, 1], got {float(rgb.min()):.3f} to {float(rgb.max()):.3f}")
