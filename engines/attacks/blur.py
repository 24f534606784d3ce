"""The blurs that Ruiz et al. 2020 defend with and attack through, with zeros beyond the border as in their code.

Borders therefore darken. `SPREAD` is the official schedule of the spread-spectrum attack; its average blurs are 5, 7
and 9 wide, never 3, because the official code grows the size in the pass that changes over.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stream_guard.errors import UsageError


@dataclass(frozen=True)
class Blur:
    """A square kernel `size` pixels wide: a Gaussian of `sigma` pixels, or an average where sigma is 0."""

    size: int
    sigma: float = 0.0

    def __post_init__(self) -> None:
        if self.size < 1 or self.size % 2 == 0 or self.sigma < 0:
            raise UsageError(f"a blur has an odd size and a sigma of 0 or more, got {self.size} and {self.sigma}")

    def kernel(self) -> Tensor:
        """(size, size), with the sum 1."""
        at = torch.arange(self.size) - self.size // 2
        line = torch.exp(-0.5 * (at / self.sigma) ** 2) if self.sigma else torch.ones(self.size)
        kernel = line[:, None] * line[None, :]
        return kernel / kernel.sum()

    def __call__(self, image: Tensor) -> Tensor:
        """(N, C, H, W), each channel by itself."""
        kernel = self.kernel().to(image).expand(image.shape[1], 1, -1, -1)
        return F.conv2d(image, kernel, padding=self.size // 2, groups=image.shape[1])


SPREAD = (*(Blur(11, sigma) for sigma in (1.0, 1.5, 2.0, 2.5, 3.0)), Blur(5), Blur(7), Blur(9))
