"""The pictures of tables I to IV: one head crop a person, and edits of the same crop; made once, kept as 8 bits.

Differences from the paper: its 5,000 fakes are of one few-shot generator and other people than its reals; ours are
edits of the very reals, by several surrogates in turn, so that neither person, camera nor framing tells the classes.
The split is by person (pack.split_of). Train crops are an eighth larger, for random crops in training. In val and test
a person stands once, in train ROUNDS times, each with the edit of another generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stream_guard.errors import EngineError
from stream_guard.stages.classifier import CROP
from stream_guard.types import GUARD_SCALE

from ...data import clips, pack
from ...data.heads import crop, crop_theta
from ...detectors.degrade import resize
from ...detectors.detector import FAKE, REAL
from ...detectors.pictures import edited
from ...generators.families import target_of
from ...generators.target import Target
from ...training import stored
from ...writing import unreadable, whole

MARGIN = 9 / 8
BATCH = 16
ROUNDS = 3
"""Edits of each person to learn from, at most as many as there are generators."""


@dataclass(frozen=True)
class Part:
    """Pictures of one split: `reals` and `fakes` (N, 3, S, S) uint8, in the order of `names`; `by` made each fake."""

    names: tuple[str, ...]
    by: tuple[str, ...]
    reals: Tensor
    fakes: Tensor

    def __len__(self) -> int:
        return len(self.names)

    @property
    def people(self) -> int:
        """How many there are, however often they stand here."""
        return len(set(self.names))

    def first(self, count: int) -> Part:
        return Part(self.names[:count], self.by[:count], self.reals[:count], self.fakes[:count])

    def both(self) -> tuple[Tensor, Tensor]:
        """(2 N, 3, S, S) in [-1, 1] and their labels: reals first."""
        x = torch.cat([self.reals, self.fakes]).float() / 127.5 - 1
        return x, torch.tensor([REAL] * len(self) + [FAKE] * len(self))

    def only_fakes(self) -> tuple[Tensor, Tensor]:
        """(N, 3, S, S) in [-1, 1] and their labels."""
        return self.fakes.float() / 127.5 - 1, torch.full((len(self),), FAKE)


@dataclass(frozen=True)
class Pictures:
    """`size` is the side that networks take; train pictures are MARGIN larger. `made_by` says what made the fakes."""

    size: int
    train: Part
    val: Part
    test: Part
    made_by: dict[str, int]
    """Steps that each generator was trained for, by the run folder's name."""


def make(data: Path, fakes: Sequence[Path], size: int, seed: int = 0) -> Pictures:
    """Edit every person of the pack with the generators in turn: once, and those to learn from ROUNDS times."""
    targets = {folder.name: target_of(folder, data) for folder in fakes}
    rng = torch.Generator().manual_seed(seed)
    large = round(size * MARGIN)
    sides = {"train": large, "val": size, "test": size}
    train, val, test = (_part(pack.read(data, [split]), targets, sides[split], split, rng) for split in sides)
    more = [_again(data, targets, k, large, seed) for k in range(1, min(ROUNDS, len(targets)))]
    train = joined([train, *more], torch.Generator().manual_seed(seed))
    return Pictures(size, train, val, test, {folder.name: stored(folder).step for folder in fakes})


def _again(data: Path, targets: dict[str, Target], later: int, side: int, seed: int) -> Part:
    """The train split, every person edited by the generator that is so much later in turn."""
    names = list(targets)
    turned = {name: targets[name] for name in names[later:] + names[:later]}
    # The seed of the first round deals the people to the turns as they were.
    return _part(pack.read(data, ["train"]), turned, side, "train", torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class _Shown:
    """A frame in place of a packed head."""

    name: str
    rgb: npt.NDArray[np.uint8]


def frames(data: Path, fakes: Sequence[Path], size: int, count: int, seed: int = 0) -> Part:
    """`count` frames of the train split's talking heads, as many of each clip, edited by the generators in turn.

    Raises EngineError for a pack without any.
    """
    found = clips.read_clips(data, ["train"])
    if not found:
        raise EngineError(f"{data} has no talking heads in the split train: pack some with --clips")
    each = -(-count // len(found))
    shown: list[_Shown] = []
    for clip in found:
        picked = np.linspace(0, len(clip.frames) - 1, min(each, len(clip.frames))).round().astype(int)
        shown += [_Shown(clip.person, clip.frames[k]) for k in picked]
    targets = {folder.name: target_of(folder, data) for folder in fakes}
    return _part(shown[:count], targets, round(size * MARGIN), "train", torch.Generator().manual_seed(seed))


def joined(parts: Sequence[Part], rng: torch.Generator) -> Part:
    """All of them, mixed."""
    mixed = torch.randperm(sum(map(len, parts)), generator=rng)
    names = [name for part in parts for name in part.names]
    by = [name for part in parts for name in part.by]
    return Part(
        tuple(names[k] for k in mixed.tolist()),
        tuple(by[k] for k in mixed.tolist()),
        torch.cat([part.reals for part in parts])[mixed],
        torch.cat([part.fakes for part in parts])[mixed],
    )


def _part(
    heads: Sequence[pack.Head | _Shown], targets: dict[str, Target], side: int, split: str, rng: torch.Generator
) -> Part:
    if not heads:
        raise EngineError(f"the pack has no face in the split {split}: pack more images")
    order = torch.randperm(len(heads), generator=rng).tolist()
    share = CROP / GUARD_SCALE * (MARGIN if split == "train" else 1.0)
    reals, fakes, names, by = [], [], [], []
    turn = list(targets)
    for number, (name, target) in enumerate(targets.items()):
        mine = [heads[k] for k in order[number :: len(turn)]]
        for k in range(0, len(mine), BATCH):
            some = mine[k : k + BATCH]
            guard = torch.from_numpy(np.stack([head.rgb for head in some])).permute(0, 3, 1, 2).float() / 255
            real = crop(guard, crop_theta(len(some), share, 0.0, None), target.size).clamp(0, 1)
            real = (real * 255).round() / 255
            fake = edited(target, real, target.sample(len(some), rng))
            reals.append(_bytes(real, side))
            fakes.append(_bytes(fake, side))
            names += [head.name for head in some]
            by += [name] * len(some)
    mixed = torch.randperm(len(names), generator=rng)
    picked = mixed.tolist()
    return Part(
        tuple(names[k] for k in picked),
        tuple(by[k] for k in picked),
        torch.cat(reals)[mixed],
        torch.cat(fakes)[mixed],
    )


def _bytes(rgb: Tensor, side: int) -> Tensor:
    return (resize(rgb, side).clamp(0, 1) * 255).round().byte()


def save(pictures: Pictures, path: Path) -> None:
    """As tensors and plain values, so that it loads without running code."""
    parts = {
        split: {"names": list(part.names), "by": list(part.by), "reals": part.reals, "fakes": part.fakes}
        for split, part in (("train", pictures.train), ("val", pictures.val), ("test", pictures.test))
    }
    with whole(path) as file:
        torch.save({"size": pictures.size, "made_by": pictures.made_by, "parts": parts}, file)


def load(path: Path) -> Pictures:
    """Raises EngineError for a file that `save` did not write."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        train, val, test = (
            Part(tuple(p["names"]), tuple(p["by"]), p["reals"], p["fakes"])
            for p in (found["parts"][split] for split in ("train", "val", "test"))
        )
        return Pictures(found["size"], train, val, test, found["made_by"])
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, UnpicklingError) as error:
        raise EngineError(
            f"{path} holds no pictures of the detection tables ({unreadable(error)}): delete it, and make them anew "
            "with: python -m engines evaluate detection --steps pictures"
        ) from error
