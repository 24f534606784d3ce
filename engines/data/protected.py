"""Pictures as our own protection leaves them, for detectors that must not take it for forgery."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import torch
from torch import Tensor

from stream_guard.errors import EngineError
from stream_guard.media import pixels
from stream_guard.stages.disrupt import DisruptOptions, DisruptStage
from stream_guard.types import GUARD_SCALE, HEAD_SCALE, HEAD_UP, Box, Face, Frame, Protection


class Protector:
    """The runtime's own `disrupt` stage on guard regions, with the zoo's disrupter; opened when it is first used."""

    def __init__(self, engine: str | None = None, strength: float = 1.0) -> None:
        self._stage = DisruptStage(DisruptOptions(engine=engine, strength=strength, min_face=1))
        self._open = False

    def about(self) -> dict[str, str]:
        """Name, backend and sha256 of the disrupter."""
        self._opened()
        return self._stage.about()

    def __call__(self, guard: Tensor) -> Tensor:
        """(N, 3, S, S) uint8 guard regions, S even, to the same protected. Raises EngineError where that fails."""
        stage = self._opened()
        return torch.stack([_protected(stage, one) for one in guard.cpu()]).to(guard.device)

    def close(self) -> None:
        self._stage.close()
        self._open = False

    def _opened(self) -> DisruptStage:
        if not self._open:
            self._stage.open()
            self._open = True
        return self._stage


def _protected(stage: DisruptStage, rgb: Tensor) -> Tensor:
    """4:4:4, so that nothing but the perturbation and the rounding of the colours changes."""
    array = np.ascontiguousarray(rgb.permute(1, 2, 0).numpy())
    picture = av.VideoFrame.from_ndarray(array, format="rgb24").reformat(format="yuv444p")
    frame = Frame(picture, 0, Fraction(1, 25), 0, faces=(Face(1, face_of(array.shape[0]), 1.0),), faces_known=True)
    (done,) = stage.process(frame)
    stage.process(replace(frame, faces=()))  # the next picture is another person
    if done.faces[0].protection is not Protection.PROTECTED:
        raise EngineError(f"a picture could not be protected: {done.faces[0].reason}")
    return torch.from_numpy(pixels.whole_rgb(done.picture)).permute(2, 0, 1).contiguous()


def face_of(side: int) -> Box:
    """The face's box in a picture that is its guard region."""
    half, middle = side / GUARD_SCALE / 2, side / 2 + HEAD_UP * HEAD_SCALE / GUARD_SCALE * side
    return Box(side / 2 - half, middle - half, side / 2 + half, middle + half)
