"""A patch discriminator with feature matching, as the published `vox-adv` run used one; smaller, without key points."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Discriminator(nn.Module):
    """Image (N, 3, H, W) in [0, 1] to the output of each layer; the last, (N, 1, h, w), is near 1 for real ones."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = (3, width, 2 * width, 4 * width, 8 * width)
        self.layers = nn.ModuleList(spectral_norm(nn.Conv2d(a, b, 4, 2, 1)) for a, b in pairwise(widths))
        self.last = spectral_norm(nn.Conv2d(widths[-1], 1, 3, 1, 1))

    def forward(self, image: Tensor) -> list[Tensor]:
        outs, h = [], image * 2 - 1
        for layer in self.layers:
            h = F.leaky_relu(layer(h), 0.2)
            outs.append(h)
        return [*outs, self.last(h)]


def discriminator_loss(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """Least squares: real to 1, fake to 0."""
    return (1 - real[-1]).square().mean() + fake[-1].square().mean()


def generator_loss(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """Least squares: fake to 1, and the layers' outputs as on the real frame (weight 10 each, as published)."""
    matched = sum(
        ((r.detach() - f).abs().mean() for r, f in zip(real[:-1], fake[:-1], strict=True)), fake[-1].new_zeros(())
    )
    return (1 - fake[-1]).square().mean() + 10 * matched
