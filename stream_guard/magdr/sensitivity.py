"""How an edit answers to the operations of eq. 7: what each changes of the input, and of the output.

An edit of a clean face follows its input. A perturbation makes the edit depend on what an operation takes away: little
is changed of the input, and much of the output. Low frequencies are looked at by themselves, since they survive codecs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

CHANGES = ("output", "gain", "low_output", "low_gain")
"""Root mean square of what an operation changes of the output, that over what it changes of the input, and both of
pictures that are averaged over blocks of BLOCK pixels."""
BLOCK = 8
LEAST = 1e-4
"""Added to a change of the input before something is divided by it: some operations leave even pictures as they are."""


def changes(inputs: Floats, outputs: Floats) -> npt.NDArray[np.float64]:
    """(K, len(CHANGES)) of pictures (K + 1, 3, S, S) in [-1, 1], the untouched one first; S a multiple of BLOCK."""
    before, after = _moved(inputs), _moved(outputs)
    low_before, low_after = _moved(_pooled(inputs)), _moved(_pooled(outputs))
    return np.stack([after, after / (before + LEAST), low_after, low_after / (low_before + LEAST)], 1)


def _moved(pictures: Floats) -> npt.NDArray[np.float64]:
    moved: npt.NDArray[np.float64] = np.sqrt(np.square(pictures[1:] - pictures[:1]).mean((1, 2, 3), dtype=np.float64))
    return moved


def _pooled(pictures: Floats) -> Floats:
    count, planes, side, _ = pictures.shape
    blocks = pictures.reshape(count, planes, side // BLOCK, BLOCK, side // BLOCK, BLOCK)
    pooled: Floats = blocks.mean((3, 5))
    return pooled
