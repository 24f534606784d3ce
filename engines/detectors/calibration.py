"""Calibration: one temperature (Guo et al., ICML 2017, https://arxiv.org/abs/1706.04599), and how far off it is."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 15


def temperature(logits: Tensor, labels: Tensor) -> float:
    """The divisor of (N, 2) logits with the least log loss on `labels` (N,), within [0.05, 20]."""
    low, high = math.log(0.05), math.log(20.0)
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(60):  # the loss has one minimum in the logarithm of the temperature
        a, b = high - golden * (high - low), low + golden * (high - low)
        if _loss(logits, labels, a) < _loss(logits, labels, b):
            high = b
        else:
            low = a
    return math.exp((low + high) / 2)


def _loss(logits: Tensor, labels: Tensor, log_temperature: float) -> float:
    return F.cross_entropy(logits.double() / math.exp(log_temperature), labels).item()


def calibration_error(p_real: Tensor, real: Tensor, bins: int = BINS) -> float:
    """Expected calibration error of the answer given: |accuracy - confidence|, weighted over equal bins."""
    confidence, right = torch.maximum(p_real, 1 - p_real), (p_real > 0.5) == real.bool()
    at = (confidence * bins).long().clamp(max=bins - 1)
    total = 0.0
    for k in range(bins):
        inside = at == k
        if inside.any():
            total += float(inside.float().mean() * (right[inside].float().mean() - confidence[inside].mean()).abs())
    return total
