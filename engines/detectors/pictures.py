"""Reals and the fakes made of them: head crops from stills and clips, edited on the fly by frozen generators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stream_guard.errors import EngineError

from ..data import clips, pack
from ..data.heads import HEAD_SHARE, crop, crop_theta, spread
from ..data.protected import Protector
from ..generators.target import Target
from . import deepfakes

BATCH = 32


class Pictures:
    """The guard regions of a split on one device: stills, frames of talking heads, and real deepfakes with originals.

    Each kind is (N, 3, S, S) uint8; kinds that the pack has not are left out.
    """

    def __init__(self, data: Path, splits: Sequence[str], device: torch.device, even: bool = False) -> None:
        """`even`: random stills of each of the pack's origins as often, however many each has."""
        self.device = device
        self.protector = Protector()
        heads = pack.read(data, splits)
        if not heads:
            raise EngineError(f"{data} has no face in the split {', '.join(splits)}: pack more images")
        self.names = [head.name for head in heads]
        self.stills = self._tensor(np.stack([head.rgb for head in heads]))
        origins = Counter(head.origin for head in heads)
        self.chances = torch.tensor([1.0 / origins[head.origin] for head in heads]) if even else None
        frames = [clip.frames for clip in clips.read_clips(data, splits)]
        self.frames = self._tensor(np.concatenate(frames)) if frames else None
        found = deepfakes.read(data, splits)
        pairs = [[c.frames for c in found if c.fake == fake] for fake in (False, True)]
        self.deepfakes = [self._tensor(np.concatenate(part)) for part in pairs] if all(pairs) else None

    def _tensor(self, frames: np.ndarray) -> Tensor:
        return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous().to(self.device)

    def heads(self, n: int, size: int, rng: torch.Generator, frames: float = 0.35, protected: float = 0.0) -> Tensor:
        """(n, 3, size, size) in [0, 1]: random head crops of stills, or with probability `frames` of clips.

        With probability `protected` all of them are protected by the zoo's disrupter first.
        """
        from_clips = float(torch.rand(1, generator=rng)) < frames
        if from_clips and self.frames is not None:
            source, index = self.frames, torch.randint(len(self.frames), (n,), generator=rng)
        else:
            source, index = self.stills, self.random_stills(n, rng)
        chosen = source[index.to(source.device)]
        if protected and float(torch.rand(1, generator=rng)) < protected:
            chosen = self.protector(chosen)
        return random_crops(chosen, size, rng)

    def random_stills(self, n: int, rng: torch.Generator) -> Tensor:
        """Indices (n,) of stills, with repetition."""
        if self.chances is None:
            return torch.randint(len(self.stills), (n,), generator=rng)
        return torch.multinomial(self.chances, n, replacement=True, generator=rng)

    def pairs(self, n: int, target: Target, rng: torch.Generator, protected: float = 0.0) -> Tensor:
        """(2 n, 3, S, S) in [0, 1]: n reals, then the target's edits of the very same crops, 8 bits."""
        real = self.heads(n, target.size, rng, protected=protected)
        return torch.cat([real, edited(target, real, target.sample(n, rng).to(self.device))])

    def laundered_pairs(self, n: int, target: Target, rng: torch.Generator) -> Tensor:
        """As `pairs`, of stills, but reals and edits are both protected by the zoo's disrupter afterwards."""
        guards = self.stills[self.random_stills(n, rng).to(self.device)]
        fakes = with_edits(guards, target, target.sample(n, rng).to(self.device))
        theta = crop_theta(n, HEAD_SHARE, 0.12, rng, flip=True)
        done = [self.protector(part).float() / 255 for part in (guards, fakes)]
        return torch.cat([crop(part, theta, target.size).clamp(0, 1) for part in done])

    def deepfake_pairs(self, n: int, size: int, rng: torch.Generator) -> Tensor | None:
        """(2 n, 3, size, size): n frames of originals, then n of deepfakes of the same people; None without any."""
        if self.deepfakes is None:
            return None
        drawn = [part[torch.randint(len(part), (n,), generator=rng).to(part.device)] for part in self.deepfakes]
        return torch.cat([random_crops(part, size, rng) for part in drawn])


def with_edits(guards: Tensor, target: Target, condition: Tensor) -> Tensor:
    """Guard regions (N, 3, S, S) uint8 with the target's edit of each head in its place."""
    whole = guards.float() / 255
    head = crop(whole, crop_theta(len(guards), HEAD_SHARE, 0.0, None), target.size).clamp(0, 1)
    changed = whole + spread(edited(target, head, condition) - head, guards.shape[-1])
    return (changed.clamp(0, 1) * 255).round().byte()


def random_crops(guards: Tensor, size: int, rng: torch.Generator) -> Tensor:
    """Guard regions (N, 3, S, S) uint8 to a random head crop of each, (N, 3, size, size) in [0, 1]."""
    theta = crop_theta(len(guards), HEAD_SHARE, 0.12, rng, flip=True)
    return crop(guards.float() / 255, theta, size).clamp(0, 1)


@torch.no_grad()
def edited(target: Target, rgb: Tensor, condition: Tensor) -> Tensor:
    """The target's edit of (N, 3, S, S) in [0, 1], as a picture of 8 bits."""
    return ((target(rgb * 2 - 1, condition) + 1) * 127.5).round().clamp(0, 255) / 255


def heads_and_fakes(pictures: Pictures, target: Target, faces: int = 0) -> tuple[Tensor, Tensor]:
    """(reals, fakes), each (N, 3, size, size) in [0, 1]: person n edited with condition n modulo K."""
    stills = pictures.stills[: faces or None]
    real = crop(stills.float() / 255, crop_theta(len(stills), HEAD_SHARE, 0.0, None), target.size).clamp(0, 1)
    condition = target.conditions[torch.arange(len(real)).to(target.conditions.device) % len(target.conditions)]
    parts = [
        edited(target, real[k : k + BATCH], condition[k : k + BATCH].to(real.device))
        for k in range(0, len(real), BATCH)
    ]
    return real, torch.cat(parts)
