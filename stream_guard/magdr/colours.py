"""From a change of RGB to that of Y, Cb, Cr, by the picture's own matrix."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def ycbcr_change(change: Floats, kr: float, kb: float) -> Floats:
    """(H, W, 3) in RGB to (3, H, W) in full-range Y, Cb, Cr; `kr` and `kb`: the shares of red and blue in luma."""
    luma = np.array([kr, 1 - kr - kb, kb])
    blue, red = ((np.eye(3)[k] - luma) / (2 * (1 - luma[k])) for k in (2, 0))
    matrix = np.stack([luma, blue, red]).astype(np.float32)
    changed: Floats = np.einsum("ij,hwj->ihw", matrix, change)
    return changed
