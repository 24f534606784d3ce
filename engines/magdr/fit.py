"""Fits MagDR's detectors: what is usual on clean faces, weights on attacked ones, thresholds on other people.

Middles and widths are those of clean training faces. The weights w of eq. 6 (one a metric) and the balance lambda of
eq. 9 are the logistic regression with non-negative weights that tells attacked training faces from clean ones. The
thresholds are quantiles of clean validation faces, re-encoded ones among them, so that false alarms are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from stream_guard.errors import UsageError
from stream_guard.magdr.calibration import ProbeCalibration, Standard
from stream_guard.magdr.detector import Evidence, judge, standardised
from stream_guard.magdr.regions import NAMES
from stream_guard.magdr.views import METRICS

Floats = npt.NDArray[np.float64]

FALSE_ALARMS = 0.01
SHRINKAGE = 0.02
LEAST_WIDTH = 1e-4


@dataclass(frozen=True)
class Asked:
    """What a probe is asked, before anything is known of its answers."""

    probe_sha256: str
    parser_sha256: str
    conditions: tuple[str, ...]
    operations: int = 6
    seed: int = 0

    def draft(self) -> ProbeCalibration:
        """A calibration that only says what to measure."""
        flat = (0.0,) * len(METRICS)
        one = (1.0,) * len(METRICS)
        return ProbeCalibration(
            **self.__dict__,
            distortion=Standard(middle=(flat,) * len(NAMES), width=(one,) * len(NAMES), weights=one),
            consistency=Standard(middle=(flat,), width=(one,), weights=one),
            balance=1.0,
            threshold=0.0,
            threshold_distortion=0.0,
            threshold_consistency=0.0,
            slope=1.0,
        )


def fit(
    asked: Asked,
    clean: Sequence[Evidence],
    attacked: Sequence[Evidence],
    held_out: Sequence[Evidence],
    false_alarms: float = FALSE_ALARMS,
) -> ProbeCalibration:
    """The calibration of one probe. `held_out` are clean faces of other people than `clean` and `attacked`."""
    if not (clean and attacked and held_out):
        raise UsageError("a calibration needs clean, attacked and held-out faces")
    draft = asked.draft().model_copy(update={"distortion": _usual(clean), "consistency": _usual_spread(clean)})
    features = np.concatenate([np.stack([_features(e, draft) for e in part]) for part in (clean, attacked)])
    labels = np.r_[np.zeros(len(clean)), np.ones(len(attacked))]
    balanced = np.r_[np.full(len(clean), 0.5 / len(clean)), np.full(len(attacked), 0.5 / len(attacked))]
    weights = _non_negative_logistic(features, labels, balanced)
    first, second = weights[: len(METRICS)], weights[len(METRICS) :]
    fitted = draft.model_copy(
        update={
            "distortion": draft.distortion.model_copy(update={"weights": _normal(first)}),
            "consistency": draft.consistency.model_copy(update={"weights": _normal(second)}),
            "balance": round(float(first.sum() / max(second.sum(), 1e-6)), 4),
            "slope": round(float(max(second.sum(), 1e-3)), 4),
        }
    )
    return with_thresholds(fitted, held_out, false_alarms)


def with_thresholds(
    calibration: ProbeCalibration, held_out: Sequence[Evidence], false_alarms: float
) -> ProbeCalibration:
    """The three thresholds that at most this share of clean held-out faces exceeds."""
    scores = [judge(evidence, calibration) for evidence in held_out]

    def quantile(values: list[float]) -> float:
        return round(float(np.quantile(values, 1 - false_alarms, method="higher")) + 1e-4, 5)

    return calibration.model_copy(
        update={
            "threshold": quantile([s.final for s in scores]),
            "threshold_distortion": quantile([s.distortion for s in scores]),
            "threshold_consistency": quantile([s.consistency for s in scores]),
        }
    )


def _usual(clean: Sequence[Evidence]) -> Standard:
    """Median and 1.5 interquartile half-widths of each region and metric, of the faces where the region counts."""
    distances = np.stack([e.distances for e in clean])
    counts = np.stack([e.counts for e in clean])
    rows = []
    for region in range(len(NAMES)):
        seen = distances[:, :, region][counts[:, :, region]]
        rows.append(_middle_and_width(seen if len(seen) >= 8 else distances[:, :, region].reshape(-1, len(METRICS))))
    return _standard(rows)


def _usual_spread(clean: Sequence[Evidence]) -> Standard:
    return _standard([_middle_and_width(np.concatenate([e.spread for e in clean]))])


def _middle_and_width(values: Floats) -> tuple[Floats, Floats]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    return middle, np.maximum(0.75 * (high - low), LEAST_WIDTH)


def _standard(rows: list[tuple[Floats, Floats]]) -> Standard:
    def tidy(row: Floats) -> tuple[float, ...]:
        return tuple(float(f"{v:.5g}") for v in row)

    even = tuple([1 / len(METRICS)] * len(METRICS))
    return Standard(
        middle=tuple(tidy(middle) for middle, _ in rows), width=tuple(tidy(width) for _, width in rows), weights=even
    )


def _features(evidence: Evidence, calibration: ProbeCalibration) -> Floats:
    """(2M,): eq. 6 and eq. 7 with one weight a metric left open."""
    weights = evidence.counts / np.maximum(evidence.counts.sum(1, keepdims=True), 1)
    regions = (standardised(evidence.distances, calibration.distortion) * weights[..., None]).sum(1).mean(0)
    spread = standardised(evidence.spread[:, None], calibration.consistency)[:, 0].mean(0)
    joined: Floats = np.concatenate([regions, spread])
    return joined


def _non_negative_logistic(features: Floats, labels: Floats, rows: Floats) -> Floats:
    def loss(parameters: Floats) -> tuple[float, Floats]:
        weights, bias = parameters[:-1], parameters[-1]
        z = features @ weights + bias
        error = 1 / (1 + np.exp(-z.clip(-50, 50))) - labels
        value = float(rows @ (np.logaddexp(0, z) - labels * z) + SHRINKAGE / 2 * 0.1 * weights @ weights)
        return value, np.r_[features.T @ (rows * error) + SHRINKAGE * 0.1 * weights, rows @ error]

    start = np.r_[np.ones(features.shape[1]), -features.shape[1] / 2.0]
    bounds = [(0, None)] * features.shape[1] + [(None, None)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    result: Floats = found.x[:-1]
    return result


def _normal(weights: Floats) -> tuple[float, ...]:
    total = float(weights.sum())
    share = weights / total if total > 0 else np.full(len(weights), 1 / len(weights))
    return tuple(round(float(v), 5) for v in share)
