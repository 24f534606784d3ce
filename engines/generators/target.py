"""What attacks, the disrupter and the tables see of a generator: one call, one kind of condition, whatever the family.

A condition is always a flat row of floats: StarGAN's attributes, GANimation's action units, the key points of a
driving pair for First Order Motion, nothing (zero columns) for CycleGAN.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stream_guard.errors import UsageError


class Target(nn.Module):
    """A frozen generator: image (N, 3, size, size) RGB in [-1, 1] and condition (N, C) to the edited image, same range.

    `conditions` (K, C) are the fixed rows that tables and `audit` use, `condition_names` name them.
    """

    conditions: Tensor

    def __init__(
        self, network: nn.Module, family: str, conditions: Tensor, condition_names: list[str], size: int = 128
    ) -> None:
        super().__init__()
        if len(conditions) != len(condition_names):
            raise ValueError(f"{len(conditions)} conditions and {len(condition_names)} names")
        self.network, self.family, self.condition_names, self.size = network, family, condition_names, size
        self.register_buffer("conditions", conditions.float())
        self.requires_grad_(False)

    @property
    def plain(self) -> Target:
        """The generator without anything that an attacker puts before it: what it makes of a clean picture counts."""
        return self

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        return self.network(image, condition)

    def narrowed(self, names: Sequence[str]) -> Target:
        """The same network, asked for these conditions alone. Raises UsageError for a name that it does not know."""
        for name in names:
            if name not in self.condition_names:
                known = ", ".join(self.condition_names)
                raise UsageError(f"{self.family} has no condition {name!r}; it has {known}")
        rows = [self.condition_names.index(name) for name in names]
        return self.under(self.conditions[rows], list(names))

    def under(self, conditions: Tensor, names: list[str]) -> Target:
        """The same network, asked for these rows (K, C) alone; `names` are theirs."""
        return Target(self, self.family, conditions, names, self.size)

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """(n, C): random conditions for training. The fixed rows, unless a family overrides it with its whole range."""
        return self.conditions[torch.randint(len(self.conditions), (n,), generator=rng).to(self.conditions.device)]
