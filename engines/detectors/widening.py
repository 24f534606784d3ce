"""A trained network's weights for one several times as wide that answers the same (Net2WiderNet, Chen et al., ICLR
2016, https://arxiv.org/abs/1511.05641): each unit k times over, each input's weight a kth.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

NOISE = 0.1
"""How far, as a share of a tensor's standard deviation, copies are moved apart so that they learn different things."""


def widened(weights: Mapping[str, Tensor], like: Mapping[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
    """`weights` in the shapes of `like`, whose sides are whole multiples of theirs; those that fit are as they were.

    Raises ValueError where a tensor is missing or its shape is no multiple: it is another network.
    """
    if missing := sorted(set(like) ^ set(weights)):
        raise ValueError(f"only one of the two networks has {', '.join(missing[:4])}")
    return {key: _widened(key, value, like[key].shape, rng) for key, value in weights.items()}


def _widened(key: str, value: Tensor, shape: torch.Size, rng: torch.Generator) -> Tensor:
    if value.shape == shape:
        return value
    if value.ndim != len(shape) or any(new % old for new, old in zip(shape, value.shape, strict=True)):
        raise ValueError(f"{key} is {tuple(value.shape)}, which can't be widened to {tuple(shape)}")
    times = [new // old for new, old in zip(shape, value.shape, strict=True)]
    wide = value
    for side, count in enumerate(times):  # copies side by side: what is concatenated stays in its order
        wide = wide.repeat_interleave(count, side)
    if value.ndim < 2:  # a norm's statistics and a bias: the copies stay alike
        return wide
    if value.shape[2:] != shape[2:]:
        raise ValueError(f"{key} has kernels of {tuple(value.shape[2:])}, not of {tuple(shape[2:])}")
    spread = NOISE * float(wide.std()) * torch.randn(wide.shape, generator=rng).to(wide)
    return (wide + spread) / times[1]
