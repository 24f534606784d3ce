"""How strong a perturbation is: its root mean square over the head, and the PSNR that it leaves."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..data.heads import HEAD_SHARE
from .delivery import window


def head_rms(delta: Tensor) -> Tensor:
    """(N,): root mean square of a perturbation in RGB over the head, in delta's unit; its -20 log10 on [0, 1] is PSNR.

    Where the rim around the head is perturbed more than the head, the whole region's counts: nobody should see a frame.
    Written out, since P's own graph holds it: no einsum, no maximum.
    """
    grid = int(delta.shape[-1])
    margin = round(grid * (1 - HEAD_SHARE) / 2)
    y, cb, cr = delta[:, 0:1], delta[:, 1:2], delta[:, 2:3]
    red, green, blue = y + 1.5748 * cr, y - 0.1873 * cb - 0.4681 * cr, y + 1.8556 * cb
    squared = (red * red + green * green + blue * blue) / 3 * window(grid, delta.device).to(delta).square()
    head = squared[..., margin : grid - margin, margin : grid - margin].mean((1, 2, 3))
    return (head + F.relu(squared.mean((1, 2, 3)) - head) + 1e-12).sqrt()


def rms_of_psnr(psnr_db: float) -> float:
    return 10 ** (-psnr_db / 20)
