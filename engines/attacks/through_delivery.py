"""PGD through the codec: what any network with the same grid and budget could reach, image by image.

Projected gradient ascent on the disrupter's own grid and objective (engines.disrupter.objective), expectation over
random deliveries, crops and conditions. It knows the image and the generators as P does, but takes minutes where P
takes milliseconds. Begun with P's own answer as well as with noise, it says what P loses by answering at once.
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

GENTLE = 1 / 3
"""The rate of a search that begins with an answer, as a share of one that begins with noise."""


class ThroughDelivery:
    """The upper bound. `psnr_db` is the budget over the head, `epsilon` the hard one a value (levels / 255)."""

    def __init__(
        self, psnr_db: float, epsilon: float, iterations: int = 80, lr: float = 0.15, seed: int = 0, grid: int = GRID
    ) -> None:
        self.rms = rms_of_psnr(psnr_db)
        self.epsilon, self.iterations, self.lr, self.seed, self.grid = epsilon, iterations, lr, seed, grid

    def __call__(
        self,
        targets: nn.Module | Sequence[Target],
        rgb: Tensor,
        conditions: Tensor | None = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """rgb: guard regions (N, 3, S, S) in [0, 1]. Returns the delta (N, 3, grid, grid) found.

        With several targets, one delta against all of them. `conditions` (K, C) are the rows to draw from, for each
        target; without them each draws its own. With deltas to `start` from (N, 3, grid, grid) it begins twice, with
        noise and with them, and the one that disrupts more in the last quarter is found. Raises UsageError on a wrong
        shape or range.
        """
        against = [_bound(t, conditions) for t in ([targets] if isinstance(targets, nn.Module) else targets)]
        _check(against, rgb)
        rng = torch.Generator().manual_seed(self.seed)
        noise = 0.3 * torch.randn(1, 3, self.grid, self.grid, generator=rng).to(rgb.device).repeat(len(rgb), 1, 1, 1)
        mask = self.mask(rgb)
        begins = [noise] if start is None else [noise, self.unprojected(start.to(rgb.device), mask)]
        rgb, mask = rgb.repeat(len(begins), 1, 1, 1), mask.repeat(len(begins), 1, 1, 1)
        begins = [z.requires_grad_(True) for z in begins]
        rates = [self.lr, self.lr * GENTLE][: len(begins)]
        optimizer = torch.optim.Adam([{"params": [z], "lr": lr} for z, lr in zip(begins, rates, strict=True)])
        reached = torch.zeros(len(rgb), device=rgb.device)
        for k in range(self.iterations):
            for group, lr in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = lr * (1 - 0.9 * k / self.iterations)
            delivered = objective.deliver(rgb, self.project(torch.cat(begins), mask), delivery.random_channel(rng))
            attempts = [objective.random_attempt(target, delivered, rng) for target in against]
            gained = torch.stack([torch.log(a.distance + objective.OFFSET) for a in attempts]).sum(0)
            if k >= self.iterations * 3 // 4:
                reached += gained.detach()
            optimizer.zero_grad(set_to_none=True)
            (-gained.sum()).backward()
            optimizer.step()
        found = self.project(torch.cat(begins), mask).detach()
        return _best(found, reached, len(begins))

    def mask(self, rgb: Tensor) -> Tensor:
        """P's own visibility mask, on this grid."""
        mask = visibility_mask(shrink(rgb, round(SIZE * self.grid / GRID)))
        if mask.shape[-1] != self.grid:
            raise UsageError(f"the visibility mask is {mask.shape[-1]} px wide, the grid {self.grid}")
        return mask

    def unprojected(self, delta: Tensor, mask: Tensor) -> Tensor:
        """What `project` makes this delta of, but for its scale."""
        if delta.shape != mask.shape:
            raise UsageError(f"the bound starts from deltas {tuple(mask.shape)}, got {tuple(delta.shape)}")
        return torch.atanh((delta / (self.epsilon * mask).clamp(min=1e-6)).clamp(-0.999, 0.999))

    def project(self, z: Tensor, mask: Tensor) -> Tensor:
        """Into the budgets: tanh and the visibility mask for the hard one, scaled to the head's root mean square."""
        delta = self.epsilon * mask * torch.tanh(z)
        scale = (self.rms / head_rms(delta).clamp(min=1e-8)).clamp(max=1.0)
        return delta * scale[:, None, None, None]


def _best(found: Tensor, reached: Tensor, begins: int) -> Tensor:
    """Of each image's deltas (begins * N, ...), the one that reached most."""
    best = reached.reshape(begins, -1).argmax(0)
    return found.reshape(begins, -1, *found.shape[1:])[best, torch.arange(len(best), device=best.device)]


def _bound(target: nn.Module, conditions: Tensor | None) -> Target:
    """The target drawing from the given rows only."""
    if conditions is None and isinstance(target, Target):
        return target
    if conditions is None:
        raise UsageError("a bare network needs its conditions")
    names = [str(k) for k in range(len(conditions))]
    if isinstance(target, Target):
        return target.under(conditions, names).to(conditions.device)
    return Target(target, "given", conditions, names, getattr(target, "size", 128)).to(conditions.device)


def _check(targets: Sequence[Target], rgb: Tensor) -> None:
    if not targets:
        raise UsageError("the bound needs at least one target")
    if rgb.ndim != 4 or rgb.shape[1] != 3 or rgb.shape[2] != rgb.shape[3]:
        raise UsageError(f"the bound takes square regions (N, 3, S, S), got {tuple(rgb.shape)}")
    if float(rgb.min()) < 0 or float(rgb.max()) > 1:
        raise UsageError(f"the bound takes regions in [0, 1], got {float(rgb.min()):.3f} to {float(rgb.max()):.3f}")
