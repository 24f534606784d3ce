"""An identity embedding of a head crop, by an ONNX network of 112 px (MobileFaceNet), for the tables only.

Its input is RGB in [-1, 1] of the face's box enlarged by 1.2: of the ways tried on talking heads that one told two
frames of one person from two persons best (cosines .75 against .14).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor

from stream_guard.errors import EngineError
from stream_guard.types import HEAD_SCALE, HEAD_UP

from ..data.heads import crop

SIZE = 112
SCALE = 1.2

Cosines = npt.NDArray[np.float64]


class Identity:
    """`embed`: head crops (N, 3, S, S) in [-1, 1] to unit vectors (N, D)."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises classes of its own, without a common base
            raise EngineError(f"{path} is no ONNX network to tell identities by: {error}") from error
        (self.input,) = (i.name for i in self.session.get_inputs())

    def embed(self, heads: Tensor) -> npt.NDArray[np.float64]:
        """One network call a face: the network takes a batch of one."""
        faces = crop(heads, _theta(len(heads)), SIZE).clamp(-1, 1).numpy()
        vectors = np.concatenate([self.session.run(None, {self.input: face[None]})[0] for face in faces])
        unit: npt.NDArray[np.float64] = vectors.astype(np.float64)
        return unit / np.linalg.norm(unit, axis=1, keepdims=True)


def cosines(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> Cosines:
    """(N,): row by row, of unit vectors."""
    out: Cosines = (a * b).sum(1)
    return out


def _theta(count: int) -> Tensor:
    """The face in the head crop, which was moved up by HEAD_UP of its side."""
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = SCALE / HEAD_SCALE
    theta[:, 1, 2] = 2 * HEAD_UP
    return theta
