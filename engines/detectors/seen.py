"""What a detector sees of a delivered head: the stage cuts out less than the crop that generators edit."""

from __future__ import annotations

from torch import Tensor

from stream_guard.stages.classifier import CROP
from stream_guard.types import HEAD_SCALE

SHARE = CROP / HEAD_SCALE


def seen(rgb: Tensor) -> Tensor:
    """The middle (N, 3, T, T) of head crops (N, 3, S, S), T about S * SHARE."""
    edge = round(rgb.shape[-1] * (1 - SHARE) / 2)
    return rgb[..., edge : rgb.shape[-2] - edge, edge : rgb.shape[-1] - edge]
