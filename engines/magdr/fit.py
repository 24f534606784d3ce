"""Fits MagDR's detectors: what is usual on clean faces, weights on attacked ones, thresholds on other people.

Middles and widths are those of clean training faces. The weights w of eq. 6 and the balance lambda of eq. 9 are the
logistic regression that tells attacked training faces from clean ones, shrunk towards 0. The thresholds are quantiles
of clean people who were not trained on, re-encoded ones among them, so that false alarms are known; of each kind of
picture by itself, so that many small stills do not speak for a few photographs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from stream_guard.errors import UsageError
from stream_guard.magdr.calibration import Cube, ProbeCalibration, Standard
from stream_guard.magdr.detector import SMALLEST, Evidence, judge, standardised
from stream_guard.magdr.regions import NAMES
from stream_guard.magdr.sensitivity import CHANGES
from stream_guard.magdr.views import METRICS

Floats = npt.NDArray[np.float64]

HeldOut = Mapping[str, Sequence[Sequence[Evidence]]]
"""The clean faces of each of other people, as they were delivered, by kind of picture; no kind is empty."""

FALSE_ALARMS = 0.01
RIDGE = 0.005
LESS = 0.2
"""What the distances of eq. 6 are multiplied by before the regression: there are many, and they tell little. This and
RIDGE were chosen by cross-validation over the training people."""
WIDTHS = 2.0
"""A width is this many standard deviations: most clean faces lie where the sigmoid is almost straight."""
LEAST_WIDTH = 0.1
FEW = 8
"""A region that fewer clean faces have says nothing."""


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
        count = len(self.conditions)
        return ProbeCalibration(
            **self.__dict__,
            distortion=_standard(
                np.zeros((count, len(NAMES), len(METRICS))), np.ones((count, len(NAMES), len(METRICS)))
            ),
            consistency=_standard(
                np.zeros((count, self.operations, len(CHANGES))), np.ones((count, self.operations, len(CHANGES)))
            ),
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
    held_out: HeldOut,
    false_alarms: float = FALSE_ALARMS,
) -> ProbeCalibration:
    """The calibration of one probe."""
    if not (clean and attacked and held_out):
        raise UsageError("a calibration needs clean, attacked and held-out faces")
    draft = asked.draft().model_copy(update={"distortion": _usual(clean), "consistency": _usual_changes(clean)})
    features = np.concatenate([np.stack([_features(e, draft) for e in part]) for part in (clean, attacked)])
    labels = np.r_[np.zeros(len(clean)), np.ones(len(attacked))]
    balanced = np.r_[np.full(len(clean), 0.5 / len(clean)), np.full(len(attacked), 0.5 / len(attacked))]
    weights = _logistic(features, labels, balanced)
    shape = (len(asked.conditions), len(NAMES), len(METRICS))
    first, second = np.split(weights, [shape[0] * shape[1] * shape[2]])
    first = first * LESS
    loud, fragile = float(np.abs(first).sum()), float(max(np.abs(second).sum(), 1e-6))
    fitted = draft.model_copy(
        update={
            "distortion": _weighed(draft.distortion, first.reshape(shape)),
            "consistency": _weighed(draft.consistency, second.reshape(shape[0], asked.operations, len(CHANGES))),
            "balance": round(loud / fragile, 4),
            "slope": round(fragile, 4),
        }
    )
    return with_thresholds(fitted, held_out, false_alarms)


def with_thresholds(calibration: ProbeCalibration, held_out: HeldOut, false_alarms: float) -> ProbeCalibration:
    """The three thresholds that at most this share of clean people, of any kind, exceeds by any of their faces."""
    kinds = [[[judge(face, calibration) for face in faces] for faces in people] for people in held_out.values()]

    finals = [score.final for people in kinds for scores in people for score in scores]

    def limit(name: str) -> float:
        worst = [sorted(max(getattr(score, name) for score in scores) for scores in people) for people in kinds]
        return round(max(scores[-1 - int(false_alarms * len(scores))] for scores in worst) + 1e-4, 5)

    return calibration.model_copy(
        update={
            "threshold": limit("final"),
            "usual": round(float(np.median(finals)), 5),
            "threshold_distortion": limit("distortion"),
            "threshold_consistency": limit("consistency"),
        }
    )


def _usual(clean: Sequence[Evidence]) -> Standard:
    """Of the faces where a region counts; one that is hardly ever there gets a width that silences it."""
    logarithms = np.log(np.maximum([e.distances for e in clean], SMALLEST))
    counts = np.stack([e.counts for e in clean])
    middle, width = np.zeros(logarithms.shape[1:]), np.full(logarithms.shape[1:], 1e3)
    for condition, region in np.ndindex(*counts.shape[1:]):
        seen = logarithms[counts[:, condition, region], condition, region]
        if len(seen) >= FEW:
            middle[condition, region], width[condition, region] = np.median(seen, 0), _width(seen)
    return _standard(middle, width)


def _usual_changes(clean: Sequence[Evidence]) -> Standard:
    logarithms = np.log(np.maximum([e.changes for e in clean], SMALLEST))
    return _standard(np.median(logarithms, 0), _width(logarithms))


def _width(logarithms: Floats) -> Floats:
    widths: Floats = np.maximum(WIDTHS * logarithms.std(0), LEAST_WIDTH)
    return widths


def _standard(middle: Floats, width: Floats) -> Standard:
    even = np.full(middle.shape, 1 / middle.size)
    return Standard(middle=_cube(middle), width=_cube(width), weights=_cube(even))


def _weighed(standard: Standard, weights: Floats) -> Standard:
    return standard.model_copy(update={"weights": _cube(weights / max(float(np.abs(weights).sum()), 1e-9))})


def _cube(values: Floats) -> Cube:
    return tuple(tuple(tuple(float(f"{v:.5g}") for v in row) for row in part) for part in values)


def _features(evidence: Evidence, calibration: ProbeCalibration) -> Floats:
    """Everything that eq. 6 and eq. 7 weigh, in one row."""
    apart = standardised(evidence.distances, calibration.distortion) * evidence.counts[..., None]
    moved = standardised(evidence.changes, calibration.consistency)
    joined: Floats = np.concatenate([LESS * apart.ravel(), moved.ravel()])
    return joined


def _logistic(features: Floats, labels: Floats, rows: Floats) -> Floats:
    """Ridge logistic regression with a weight for each row; the constant is not shrunk, and left to the threshold."""

    def loss(parameters: Floats) -> tuple[float, Floats]:
        weights, bias = parameters[:-1], parameters[-1]
        z = features @ weights + bias
        error = 1 / (1 + np.exp(-z.clip(-50, 50))) - labels
        value = float(rows @ (np.logaddexp(0, z) - labels * z) + RIDGE / 2 * weights @ weights)
        return value, np.r_[features.T @ (rows * error) + RIDGE * weights, rows @ error]

    found = minimize(loss, np.zeros(features.shape[1] + 1), jac=True, method="L-BFGS-B")
    result: Floats = found.x[:-1]
    return result
