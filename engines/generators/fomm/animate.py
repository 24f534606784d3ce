"""Relative motion transfer, and the whole as one network for attacks and export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoint import LoadReport, load_into, read_parts
from .generator import OcclusionAwareGenerator
from .geometry import KeyPoints, normalize_kp
from .keypoints import KPDetector


class Animator(nn.Module):
    """Detector and generator together.

    `forward` is what a `Target` calls: source (N, 3, S, S) in [-1, 1] and condition (N, 12 K), the flat key points of
    the driving frame, then those of the initial driving frame, to the animated source in [-1, 1]. The source's own key
    points are found inside, so that an attack on it meets both networks. Where the initial half of a row is zero, the
    motion is not relative: the driving key points are used as they are. The published demo has both ways.
    """

    def __init__(self, kp_detector: KPDetector, generator: OcclusionAwareGenerator) -> None:
        super().__init__()
        self.kp_detector, self.generator = kp_detector, generator

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        half = condition.shape[1] // 2
        given = condition[:, half:].abs().amax(1, keepdim=True) > 0
        first = torch.where(given, condition[:, half:], condition[:, :half])
        driving, initial = KeyPoints.of_flat(condition[:, :half]), KeyPoints.of_flat(first)
        image = (image + 1) / 2
        source = self.kp_detector(image)
        moved = normalize_kp(source, driving, initial).flat()
        wanted = KeyPoints.of_flat(torch.where(given, moved, condition[:, :half]))
        return self.generator(image, source, wanted).prediction * 2 - 1

    def condition(self, driving: Tensor, initial: Tensor) -> Tensor:
        """(N, 12 K) of driving and initial frames (N, 3, S, S) in [-1, 1], for relative motion."""
        return torch.cat([self.kp_detector((x + 1) / 2).flat() for x in (driving, initial)], 1)


def absolute(condition: Tensor) -> Tensor:
    """The same conditions (N, 12 K) without their initial frames."""
    return torch.cat(
        [condition[:, : condition.shape[1] // 2], torch.zeros_like(condition[:, condition.shape[1] // 2 :])], 1
    )


@torch.no_grad()
def animate(
    generator: OcclusionAwareGenerator,
    kp_detector: KPDetector,
    source: Tensor,
    driving: Sequence[Tensor],
    relative: bool = True,
    adapt_movement_scale: bool = True,
) -> list[Tensor]:
    """`source` (1, 3, S, S) in [0, 1] moved as the frames of `driving` move; the first is the initial one.

    The defaults are those of the published demo.
    """
    kp_source, initial = kp_detector(source), kp_detector(driving[0])
    frames = []
    for frame in driving:
        moved = normalize_kp(kp_source, kp_detector(frame), initial, relative, relative, adapt_movement_scale)
        frames.append(generator(source, kp_source, moved).prediction)
    return frames


def load_fomm(kp_detector: KPDetector, generator: OcclusionAwareGenerator, path: str | Path) -> dict[str, LoadReport]:
    """Load the layout of the public `vox-cpk.pth.tar`: `generator` and `kp_detector` in one torch file.

    Discriminator and optimizers are left unread. Raises EngineError for another file, another network, or code.
    """
    parts = read_parts(path, ("generator", "kp_detector"))
    return {
        "generator": load_into(generator, parts["generator"]),
        "kp_detector": load_into(kp_detector, parts["kp_detector"]),
    }
