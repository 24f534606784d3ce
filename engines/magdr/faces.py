"""Faces for MagDR: clean ones and attacked ones of held-out people, as 8-bit head crops, before and after a codec.

Attacks are made once for each face and kept in a work folder, so that calibration and tables see the same ones.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from stream_guard.errors import EngineError, UsageError
from stream_guard.media.loopback import h264_loopback, jpeg_loopback

from ..attacks.base import Attack, Linf, Model
from ..attacks.cw import CarliniWagner
from ..attacks.pgd import PGD
from ..data import pack
from ..data.heads import HEAD_SHARE, Heads, crop, crop_theta, spread
from ..data.origin import DRAWN
from ..disrupter import delivery
from ..evaluation.protectors import Engine
from ..generators.target import Target
from ..training import weights_sum
from ..writing import whole

Crops = npt.NDArray[np.uint8]
"""(N, S, S, 3)."""

EPSILON = 0.05
BATCH = 8

ATTACKS: dict[str, Callable[[int], Attack]] = {
    "pgd": lambda seed: PGD(Linf(EPSILON), 0.01, 10, seed),
    "cw": lambda seed: CarliniWagner(Linf(2 * EPSILON), iterations=25, seed=seed),
}
"""PGD: 10 steps of .01 within .05. C&W: the smallest change that reaches an L2 of .06, within .1; 25 steps of Adam."""

CHANNELS: dict[str, Callable[[Crops], Crops]] = {
    "8bit": lambda heads: heads,
    "h264_crf23": lambda heads: h264_loopback(heads, 23),
}
CLEAN_CHANNELS: dict[str, Callable[[Crops], Crops]] = {
    **CHANNELS,
    "h264_crf28": lambda heads: h264_loopback(heads, 28),
    "jpeg75": lambda heads: jpeg_loopback(heads, 75),
}


@dataclass(frozen=True)
class Split:
    """The guard regions (N, 3, 288, 288) RGB in [0, 1] of some people, by name; `size` is the side of a head crop.

    `kinds` says what each picture is, where the pack tells (`engines.data.origin`).
    """

    names: list[str]
    guards: Tensor
    size: int = 128
    kinds: Sequence[str] = ()

    def heads(self, guards: Tensor | None = None) -> Tensor:
        """The head crops (N, 3, size, size) in [0, 1] of these guard regions, or of changed ones."""
        images = self.guards if guards is None else guards
        return crop(images, crop_theta(len(images), HEAD_SHARE, 0.0, None), self.size).clamp(0, 1)

    def delivered(self, change: Tensor, channel: Callable[[Crops], Crops]) -> Crops:
        """Head crops after `change` (N, 3, S, S), of the head crop or of the guard region, and the channel."""
        if change.shape[-1] == self.size:
            change = spread(change, self.guards.shape[-1])
        seen = channel(to_bytes((self.guards + change).clamp(0, 1)))
        return to_bytes(self.heads(to_unit(seen)))


def split(
    data: Path,
    names: Sequence[str],
    count: int,
    seed: int,
    size: int = 128,
    skip: int = 0,
    photographs: bool = False,
    evenly: bool = False,
    without: Container[str] = (),
) -> Split:
    """`count` heads of the pack's splits `names`, in an order drawn by the seed, after the first `skip`.

    `photographs` leaves out the faces that a network drew, `without` those of these names; `evenly` lets the kinds of
    picture take turns, so that the many do not crowd out the few. Raises UsageError where there are not as many.
    """
    heads = [head for head in heads_of(data, names, skip + count, photographs) if head.name not in without]
    _enough(heads, skip + count, data, names)
    order = [heads[k] for k in np.random.default_rng(seed).permutation(len(heads))]
    chosen = (_in_turns(order) if evenly else order)[skip : skip + count]
    kept = Heads(chosen, torch.device("cpu"))
    return Split(kept.names, kept.rgb.float() / 255, size, [head.origin for head in chosen])


def _in_turns(heads: Sequence[pack.Head]) -> list[pack.Head]:
    """One of each origin, one more of each, and so on; within an origin they keep their order."""
    turns: Counter[str] = Counter()
    turn = {}
    for head in heads:
        turn[head.name] = turns[head.origin]
        turns[head.origin] += 1
    return sorted(heads, key=lambda head: turn[head.name])


def heads_of(data: Path, names: Sequence[str], least: int, photographs: bool = False) -> list[pack.Head]:
    """The heads of the pack's splits `names`. Raises UsageError where there are fewer than `least`."""
    heads = [head for head in pack.read(data, list(names)) if not (photographs and head.origin == DRAWN)]
    _enough(heads, least, data, names)
    return heads


def _enough(heads: Sequence[pack.Head], least: int, data: Path, names: Sequence[str]) -> None:
    if len(heads) < least:
        raise UsageError(f"{data} has {len(heads)} heads of {', '.join(names)}; {least} were asked for")


def clean(people: Split, channel: str) -> Crops:
    """The people's head crops, not attacked, after one of CLEAN_CHANNELS."""
    if channel == "8bit":
        return to_bytes(people.heads())
    return people.delivered(torch.zeros_like(people.guards), CLEAN_CHANNELS[channel])


def attacked(people: Split, target: Target, asked: Sequence[int], attack: str, seed: int, cache: Path) -> Tensor:
    """The change (N, 3, size, size), on [0, 1], that an attack makes to each head; face k under condition k mod C.

    `asked` are the rows of the target's conditions. Made once: `cache` is an .npz of these people, and is made anew for
    another attack, seed or target. Raises UsageError where it holds other people or conditions.
    """
    key = _key(target, attack, seed)
    if cache.exists() and (kept := _kept(cache, people, asked, key)) is not None:
        return torch.from_numpy(kept.astype(np.float32))
    x = people.heads() * 2 - 1
    change = torch.zeros_like(x)
    for position, row in enumerate(asked):
        mine = list(range(position, len(x), len(asked)))
        for start in range(0, len(mine), BATCH):
            rows = mine[start : start + BATCH]
            made = ATTACKS[attack](seed)(_bound(target, target.conditions[row].expand(len(rows), -1)), x[rows])
            change[rows] = (made - x[rows]) / 2
            print(f"{attack}: {rows[-1] + 1} of {len(x)} faces", flush=True)
    kept = change.numpy().astype(np.float16)
    with whole(cache) as file:
        np.savez(file, change=kept, names=np.array(people.names), asked=np.array(asked), key=np.array(key))
    return torch.from_numpy(kept.astype(np.float32))  # as the next run will read it


def _key(target: Target, attack: str, seed: int) -> str:
    """Whose attack on what a change is. The conditions belong to it: First Order Motion's are its driving frames."""
    conditions = round(float(target.conditions.double().abs().sum()), 6)
    return json.dumps({"attack": attack, "seed": seed, "weights": weights_sum(target), "conditions": conditions})


def _kept(cache: Path, people: Split, asked: Sequence[int], key: str) -> npt.NDArray[np.float16] | None:
    """The change in the file; None where it was made with another key."""
    stored = arrays_in(cache)
    if list(stored["names"]) != people.names or list(stored["asked"]) != list(asked):
        raise UsageError(f"{cache} holds other faces or conditions; use another --work folder, or empty this one")
    # Files of before there were keys are taken for what their names say; no new ones are written.
    return stored["change"] if str(stored.get("key", key)) == key else None


def arrays_in(cache: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a file in the work folder. Raises EngineError for one that was cut off."""
    try:
        return pack.arrays_of(cache)
    except pack.UNREADABLE as error:
        raise EngineError(
            f"{cache} was cut off, or is of something else ({error}): delete it to make it anew"
        ) from error


def _bound(target: Target, condition: Tensor) -> Model:
    return lambda image: target(image, condition)


def protected(people: Split, engine: Engine) -> Tensor:
    """The change (N, 3, 288, 288) on [0, 1] of the guard regions that the disrupter makes, before any rounding."""
    side = engine.card.input_shape("face")[-1]
    small = F.interpolate(people.guards, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
    delta = engine.delta(to_bytes(small))
    whole = people.guards.shape[-1]
    spread = F.interpolate(delta, size=(whole, whole), mode="bilinear", align_corners=False)
    return delivery.to_rgb(spread) * delivery.window(whole, delta.device)


def to_bytes(images: Tensor) -> Crops:
    """(N, 3, S, S) in [0, 1] to 8 bits (N, S, S, 3)."""
    levels: Crops = (images.permute(0, 2, 3, 1) * 255).round().clamp(0, 255).byte().numpy()
    return np.ascontiguousarray(levels)


def to_unit(crops: Crops) -> Tensor:
    return torch.from_numpy(crops.astype(np.float32) / 255).permute(0, 3, 1, 2).contiguous()
