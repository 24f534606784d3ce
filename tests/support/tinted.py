"""Made-up pictures for detectors: fakes are tinted, so that small networks learn them in seconds."""

from __future__ import annotations

import torch

from engines.evaluation.detection.data import Part
from engines.purification.prior import Settings

SIZE = 32
QUICK = Settings(channels=(4, 4), skips=(0, 0), depth=2, iterations=12, every=2)


def part(count: int, size: int, seed: int) -> Part:
    rng = torch.Generator().manual_seed(seed)
    reals = torch.randint(30, 200, (count, 3, 4, 4), generator=rng, dtype=torch.uint8)
    reals = reals.repeat_interleave(size // 4, 2).repeat_interleave(size // 4, 3)
    fakes = reals.clone()
    fakes[:, 0] += 50
    return Part(tuple(f"person{seed}-{k}" for k in range(count)), ("made",) * count, reals, fakes)
