"""PGD through the codec: what any network with the same grid and budget could reach, image by image.

Projected gradient ascent on the disrupter's own grid and objective (engines.disrupter.objective), expectation over
random deliveries, crops and conditions. It knows the image and the generator as P does, but takes minutes where P
takes milliseconds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..disrupter import objective
from ..disrupter.network import GRID, shrink, visibility_mask


class ThroughDelivery:
    """The upper bound. `psnr_db` is the budget over the head, `epsilon` the hard one a value (levels / 255)."""

    def __init__(
        self, psnr_db: float, epsilon: float, iterations: int = 80, lr: float = 0.15, seed: int = 0, grid: int = GRID
    ) -> None:
        self.rms = objective.rms_of_psnr(psnr_db)
        self.epsilon, self.iterations, self.lr, self.seed, self.grid = epsilon, iterations, lr, seed, grid

    def __call__(self, generator: nn.Module, rgb: Tensor, conditions: Tensor) -> Tensor:
        """rgb: guard regions (N, 3, S, S) in [0, 1]. Returns the best delta (N, 3, grid, grid)."""
        rng = torch.Generator().manual_seed(self.seed)
        z = 0.3 * torch.randn(len(rgb), 3, self.grid, self.grid, generator=rng).to(rgb.device)
        z = z.requires_grad_(True)
        mask = visibility_mask(shrink(rgb, 2 * self.grid))
        optimizer = torch.optim.Adam([z], self.lr)
        for k in range(self.iterations):
            for group in optimizer.param_groups:
                group["lr"] = self.lr * (1 - 0.9 * k / self.iterations)
            view = objective.random_view(len(rgb), conditions, rng)
            distance = objective.distances(generator, rgb, self.project(z, mask), view)
            optimizer.zero_grad(set_to_none=True)
            (-torch.log(distance + 0.005).sum()).backward()
            optimizer.step()
        return self.project(z, mask).detach()

    def project(self, z: Tensor, mask: Tensor) -> Tensor:
        """Into the budgets: tanh and the visibility mask for the hard one, scaled to the head's root mean square."""
        delta = self.epsilon * mask * torch.tanh(z)
        scale = (self.rms / objective.head_rms(delta).clamp(min=1e-8)).clamp(max=1.0)
        return delta * scale[:, None, None, None]
