"""Where a network calls a picture real: chosen on the val split, and moved into its last bias, so that every attack
and every table meets the network as it would be used.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...attacks.base import Linf
from ...attacks.classifier import FGSM
from ...detectors.detector import Detector
from ...detectors.operating import move
from .data import Part

CHUNK = 128
NEARLY = 0.004
"""Thresholds that are this close to the best share are as good on so few people: the middle one is taken."""


def logits(detector: Detector, part: Part, epsilon: float = 0.0) -> tuple[Tensor, Tensor]:
    """The logit of `real` for the reals and the fakes of a split, the fakes after FGSM with epsilon if not 0."""
    detector.eval()
    x, labels = part.both()
    n = len(part)
    if epsilon:
        x = torch.cat([x[:n], FGSM(Linf(epsilon))(detector, x[n:], labels[n:])])
    with torch.no_grad():
        found = torch.cat([detector.logit_real(some) for some in x.split(CHUNK)])
    return found[:n], found[n:]


def threshold(reals: Tensor, fakes: Tensor) -> float:
    """The logit above which a picture is real, so that the mean of both recalls is greatest."""
    tried = torch.cat([reals, fakes]).sort().values
    right = (reals > tried[:, None]).float().mean(1) + (fakes <= tried[:, None]).float().mean(1)
    return float(tried[right >= right.max() - 2 * NEARLY].median())


def shift(detector: Detector, part: Part, epsilon: float = 0.0) -> float:
    """Move the split's threshold to p_real .5; returns by how much the logit fell.

    With an epsilon every fake counts twice: as it is, and attacked.
    """
    reals, fakes = logits(detector, part)
    if epsilon:
        fakes = torch.cat([fakes, logits(detector, part, epsilon)[1]])
    by = threshold(reals, fakes)
    move(detector, by)
    return by
