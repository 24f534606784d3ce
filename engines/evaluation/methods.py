"""The ways of perturbing a face that are compared, each as a function that writes into a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import av
import numpy as np
import torch
from torch import Tensor, nn

from stream_guard.media import pixels
from stream_guard.stages.disrupt import DisruptStage
from stream_guard.types import Box, Face, Frame, Protection, guard_region, head_region

from ..attacks.base import Linf
from ..attacks.pgd import PGD
from ..attacks.through_delivery import ThroughDelivery
from ..data.pack import SIZE
from ..generators.target import Target
from .delivered import Perturb, Still, clip

YCBCR = torch.tensor([[0.2126, 0.7152, 0.0722], [-0.1146, -0.3854, 0.5], [0.5, -0.4542, -0.0458]])
"""RGB to YCbCr, BT.709, full range."""


def disrupter(stage: DisruptStage, track: int = 0) -> Perturb:
    """The shipped stage, as the pipeline runs it. Give each face a track of its own where the stage holds."""

    def perturb(picture: av.VideoFrame, box: Box) -> None:
        frame = Frame(picture, 0, Fraction(1, 25), 0, (Face(track, box, 1.0),), faces_known=True)
        (out,) = stage.process(frame)
        if out.faces[0].protection is not Protection.PROTECTED:
            raise RuntimeError(f"the stage left the face unprotected: {out.faces[0].reason}")

    return perturb


def fixed(delta: np.ndarray, region: Callable[[Box], Box], feather: float = pixels.FEATHER) -> Perturb:
    """One precomputed delta (3, G, G) for every frame of the clip, moved along with the face."""

    def perturb(picture: av.VideoFrame, box: Box) -> None:
        pixels.add_perturbation(picture, region(box), delta, 1.0, 1.0, feather)

    return perturb


def bound(
    stills: Sequence[Still],
    generator: nn.Module,
    conditions: Tensor,
    seed: int,
    psnr_db: float,
    epsilon: float,
    grid: int,
    answer: Callable[[Tensor], Tensor] | None = None,
) -> list[Perturb]:
    """PGD through the codec on each still: what any network with this grid and budget could reach.

    `answer` says what P answers to guard regions (N, 3, SIZE, SIZE) in [0, 1]; it begins with that as well.
    """
    attack = ThroughDelivery(psnr_db, epsilon, seed=seed, grid=grid)
    out = []
    for start in range(0, len(stills), 6):
        regions = torch.stack([_region(s) for s in stills[start : start + 6]])
        deltas = attack(generator, regions, conditions, answer(regions) if answer else None).numpy()
        out += [fixed(delta, guard_region) for delta in deltas]
        print(f"bound: {len(out)} of {len(stills)} faces", flush=True)
    return out


def pgd10(still: Still, generator: Target, conditions: Tensor, epsilon: float) -> Perturb:
    """Ten steps of PGD on the head crop against all conditions at once, with no codec in mind (Ruiz et al. 2020)."""
    x = _head(still, generator.size)[None] * 2 - 1

    def joint(image: Tensor) -> Tensor:
        return generator(image.expand(len(conditions), -1, -1, -1), conditions)

    x_adv = PGD(Linf(epsilon), epsilon / 5)(joint, x)
    delta = torch.einsum("ij,jhw->ihw", YCBCR, (x_adv - x)[0] / 2)
    return fixed(delta.numpy(), head_region, feather=0.0)  # to the very border, as it was made


def _first(still: Still, width: int = 160) -> tuple[av.VideoFrame, Box]:
    return next(clip(still, width))


def _region(still: Still) -> Tensor:
    """The guard region at the training size, (3, SIZE, SIZE) in [0, 1]."""
    picture, box = _first(still)
    return _tensor(pixels.read_rgb(picture, guard_region(box), SIZE))


def _head(still: Still, size: int) -> Tensor:
    picture, box = _first(still)
    return _tensor(pixels.read_rgb(picture, head_region(box), size))


def _tensor(rgb: np.ndarray) -> Tensor:
    return torch.from_numpy(rgb.copy()).permute(2, 0, 1).float() / 255
