"""Groups of pictures that were made at some cost and are seen several times, each time in other company."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

KEPT = 384
"""Groups that are remembered: 150 MB at 128 px."""


class Memory:
    """Batches of `groups` groups; a group is in about `reuse` batches before it is forgotten.

    `make` returns one group: pictures (G, 3, S, S) in [-1, 1] and labels (G,). They are kept as 8 bits.
    """

    def __init__(self, make: Callable[[], tuple[Tensor, Tensor]], groups: int, reuse: int) -> None:
        self._make, self._groups, self._reuse = make, groups, reuse
        self._kept: deque[tuple[Tensor, Tensor]] = deque(maxlen=KEPT)
        self._owed = 0.0

    def batch(self, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Pictures (groups * G, 3, S, S) in [-1, 1], each mirrored or not, and their labels."""
        self._owed += self._groups / self._reuse
        while self._owed >= 1 or len(self._kept) < self._groups:
            pictures, labels = self._make()
            self._kept.append((((pictures + 1) * 127.5).round().clamp(0, 255).byte(), labels))
            self._owed = max(0.0, self._owed - 1)
        chosen = [self._kept[k] for k in torch.randperm(len(self._kept), generator=rng)[: self._groups].tolist()]
        pictures = torch.cat([x for x, _ in chosen]).float() / 127.5 - 1
        mirrored = (torch.rand(len(pictures), generator=rng) < 0.5).to(pictures.device)
        pictures = torch.where(mirrored[:, None, None, None], pictures.flip(3), pictures)
        return pictures, torch.cat([y for _, y in chosen])
