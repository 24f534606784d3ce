"""A picture by which a person can judge a surrogate: sources down, motions across, key points drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .animate import Animator, absolute
from .geometry import KeyPoints

COLOURS = torch.tensor(
    [
        [1.0, 0.2, 0.2],
        [0.2, 1.0, 0.2],
        [0.3, 0.4, 1.0],
        [1.0, 1.0, 0.2],
        [1.0, 0.3, 1.0],
        [0.2, 1.0, 1.0],
        [1.0, 0.6, 0.1],
        [1.0, 1.0, 1.0],
        [0.6, 0.3, 0.9],
        [0.1, 0.6, 0.4],
    ]
)


@torch.no_grad()
def sheet(network: Animator, sources: Tensor, driving: Tensor, initial: Tensor) -> npt.NDArray[np.uint8]:
    """RGB picture. Sources (N, 3, S, S), driving and initial (K, 3, S, S), all in [-1, 1].

    First two rows: the initial and the driving frames, with key points. Then a row a source: with its key points, as
    reconstructed, moved by each pair, and put into each driving frame's pose.
    """
    moved = network.condition(driving, initial)
    condition = torch.cat([moved, absolute(moved)])
    still = network.condition(initial[:1], initial[:1])
    blank = torch.ones_like(initial[:1])
    rows = [[blank, blank, *2 * _marked(network, frames).split(1)] for frames in (initial, driving)]
    for source in sources.split(1):
        results = network(source.expand(len(condition), -1, -1, -1), condition)
        rows.append([_marked(network, source), network(source, still), *results.split(1)])
    return to_rgb(rows)


def to_rgb(rows: Sequence[Sequence[Tensor]]) -> npt.NDArray[np.uint8]:
    picture = torch.cat([torch.cat([cell[0] for cell in row], 2) for row in rows], 1)
    return ((picture.permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5).round().byte().numpy()


def _marked(network: Animator, images: Tensor) -> Tensor:
    kp: KeyPoints = network.kp_detector((images + 1) / 2)
    marked = images.clone()
    size = images.shape[-1]
    for image, points in zip(marked, kp.value, strict=True):
        for k, (x, y) in enumerate(((points.clamp(-1, 1) + 1) / 2 * (size - 1)).round().int().tolist()):
            colour = COLOURS[k % len(COLOURS)] * 2 - 1
            image[:, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = colour[:, None, None]
    return marked
