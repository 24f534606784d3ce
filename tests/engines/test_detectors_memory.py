"""Groups of pictures are seen several times, in other company."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from engines.detectors.memory import KEPT, Memory


class Maker:
    """Groups of two pictures, whose brightness and label tell the group."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> tuple[Tensor, Tensor]:
        self.count += 1
        x = torch.linspace(-1, 1, 4).expand(2, 3, 4, 4) * ((self.count % 100 + 1) / 100)
        return x.clone(), torch.tensor([self.count, self.count])


@pytest.mark.parametrize(("groups", "reuse", "made"), [(4, 4, 100), (4, 1, 400), (2, 4, 50)])
def test_as_many_are_made_as_are_used_up(groups: int, reuse: int, made: int) -> None:
    maker, rng = Maker(), torch.Generator().manual_seed(0)
    memory = Memory(maker, groups, reuse)
    for _ in range(100):
        memory.batch(rng)
    assert made <= maker.count <= made + groups


def test_batches_hold_whole_groups_mirrored_or_not() -> None:
    memory, rng = Memory(Maker(), 4, 4), torch.Generator().manual_seed(1)
    seen: Counter[bool] = Counter()
    for _ in range(30):
        x, y = memory.batch(rng)
        assert x.shape == (8, 3, 4, 4)
        assert sorted(Counter(y.tolist()).values()) == [2, 2, 2, 2]
        for picture, label in zip(x, y.tolist(), strict=True):
            side = picture[0, 0, 3]
            assert abs(abs(float(side)) - (label % 100 + 1) / 100) < 0.01  # 8 bits
            seen[bool(side > 0)] += 1
    assert min(seen.values()) > 80


def test_old_groups_are_forgotten() -> None:
    memory, rng = Memory(Maker(), 8, 1), torch.Generator().manual_seed(2)
    for _ in range(KEPT // 8 + 20):
        _, y = memory.batch(rng)
    assert int(y.min()) > 100
