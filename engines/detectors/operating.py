"""Where a detector calls a picture real: moved to p_real .5, so that everything meets it as it is used."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .degrade import Path
from .detector import REAL, Detector
from .seen import seen

BATCH = 32


def equal_error(reals: Tensor, fakes: Tensor) -> float:
    """The logit of `real` at which as large a share of the reals fails as of the fakes passes.

    The log loss alone leaves a detector of easy fakes too careful: it calls many reals fake to let no fake pass.
    """
    tried = torch.cat([reals, fakes]).sort().values
    between = (tried[1:] + tried[:-1]) / 2
    failed = (reals <= between[:, None]).float().mean(1)
    passed = (fakes > between[:, None]).float().mean(1)
    apart = (failed - passed).abs()
    return float(between[apart <= apart.min() + 1e-6].median())


@torch.no_grad()
def logits(detector: Detector, rgb: Tensor, way: Path) -> Tensor:
    """(N,): the logit of `real` for pictures (N, 3, S, S) in [0, 1] after a delivery."""
    return torch.cat([detector.logit_real(seen(way(part)) * 2 - 1) for part in rgb.split(BATCH)])


@torch.no_grad()
def move(detector: Detector, by: float) -> None:
    """Take `by` from the logit of `real`, in the network's last bias."""
    last = [module for module in detector.network.modules() if isinstance(module, nn.Linear)][-1]
    # MesoNet's last layer has one output, the logit of `real` itself.
    last.bias[min(1 - REAL if detector.real_first else REAL, len(last.bias) - 1)] -= by * detector.temperature
