"""Pictures for MagDR's stage, and what it says of them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np

from stream_guard.stages.magdr import MagdrStage
from stream_guard.types import Box, Face, Frame, Verdict

SIZE = (320, 256)
FACE = Box(100, 60, 200, 180)


def soft(index: int = 0) -> np.ndarray:
    """A smooth picture with a little grain: no operation changes it much, and it is no drawing."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    rgb = 110 + 40 * np.sin(x / 40)[..., None] + 20 * np.cos(y / 50)[..., None] + np.zeros(3)
    return (rgb + np.random.default_rng(index).normal(0, 1.5, rgb.shape)).clip(0, 255).astype(np.uint8)


def framed(
    rgb: np.ndarray, index: int = 0, boxes: tuple[Box, ...] = (FACE,), format: str = "yuv444p", **changes: Any
) -> Frame:
    picture = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=format)
    faces = tuple(Face(k + 1, box, 0.9) for k, box in enumerate(boxes))
    return Frame(picture, index, Fraction(1, 25), index, faces=faces, faces_known=changes.get("faces_known", True))


def verdicts(stage: MagdrStage, *frames: Frame) -> list[Verdict]:
    return [verdict for frame in frames for out in stage.process(frame) for verdict in out.verdicts]
