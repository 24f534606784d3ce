"""The figures of the tables and their 95 % intervals; definitions as the papers give them.

A figure is `{"value", "n", "ci95"}`: shares carry Wilson's interval with faces as clusters, means and F1 a bootstrap
over faces. Images are (N, 3, H, W) in [-1, 1]; faces are identified by the name of their picture.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stream_guard.audit.interval import share_interval

from ..disrupter.objective import DISRUPTED

Values = npt.NDArray[np.float64]
Figure = dict[str, Any]

RESAMPLES = 1000
MASKED = 0.5
"""CMUA's mask: where the edit itself changes the picture by more than this, summed over the channels."""


def l2(edited: Tensor, reference: Tensor) -> Tensor:
    """(N,): the mean squared error of each pair, as the field calls L2."""
    return (edited - reference).square().mean((1, 2, 3))


def sr_mask(edited: Tensor, reference: Tensor, x: Tensor) -> Tensor:
    """(N,) bool, CMUA's success: the error over the edited pixels alone exceeds 0.05; an empty mask is no success."""
    mask = ((reference - x).abs().sum(1, keepdim=True) > MASKED).to(x.dtype)
    count = 3 * mask.sum((1, 2, 3))
    error = ((edited - reference) * mask).square().sum((1, 2, 3))
    return (count > 0) & (error > DISRUPTED * count)


def share(outcomes: Sequence[bool] | npt.NDArray[np.bool_], faces: Sequence[Hashable]) -> Figure:
    """The share of True, Wilson's interval with the effective number of pairs."""
    flags = [bool(o) for o in outcomes]
    interval = share_interval(zip(faces, flags, strict=True))
    return _figure(sum(flags) / len(flags), len(flags), interval or (0.0, 1.0))


def mean(values: Sequence[float] | Values, faces: Sequence[Hashable], seed: int = 0) -> Figure:
    """The mean, bootstrapped over faces."""
    array = np.asarray(values, np.float64)
    return _figure(float(array.mean()), len(array), bootstrap(lambda rows: float(array[rows].mean()), faces, seed))


def detection(real_pass: npt.NDArray[np.bool_], fake_pass: npt.NDArray[np.bool_], seed: int = 0) -> dict[str, Figure]:
    """Precision, recall and F1 where *real* is positive; entry i of both is the same face, or fakes repeat the faces.

    `real_pass` (N,) and `fake_pass` (N,) or (N, K) say what the detector passed as real. With K fakes a face each
    counts 1/K, so that reals and fakes weigh alike.
    """
    fakes = fake_pass.reshape(len(real_pass), -1).mean(1)
    reals = real_pass.astype(np.float64)
    return {
        "precision": _resampled(precision, reals, fakes, seed),
        "recall": _resampled(recall, reals, fakes, seed),
        "f1": _resampled(f1, reals, fakes, seed),
    }


def _resampled(of: Callable[[Values, Values], float], reals: Values, fakes: Values, seed: int) -> Figure:
    def again(rows: npt.NDArray[np.int64]) -> float:
        return of(reals[rows], fakes[rows])

    return _figure(of(reals, fakes), len(reals), bootstrap(again, range(len(reals)), seed))


def precision(reals: Values, fakes: Values) -> float:
    """real_pass / (real_pass + fake_pass); 0 where nothing passes."""
    passed = float(reals.sum() + fakes.sum())
    return float(reals.sum()) / passed if passed else 0.0


def recall(reals: Values, fakes: Values) -> float:
    """real_pass / reals."""
    return float(reals.mean())


def f1(reals: Values, fakes: Values) -> float:
    """The harmonic mean of precision and recall; 0 where both are."""
    p, r = precision(reals, fakes), recall(reals, fakes)
    return 2 * p * r / (p + r) if p + r else 0.0


def bootstrap(
    of: Callable[[npt.NDArray[np.int64]], float], faces: Sequence[Hashable], seed: int = 0
) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of a statistic of row indices, whole faces drawn with replacement."""
    order = {face: k for k, face in enumerate(dict.fromkeys(faces))}
    owner = np.array([order[face] for face in faces])
    rows = [np.flatnonzero(owner == k) for k in range(len(order))]
    rng = np.random.default_rng(seed)
    drawn = [of(np.concatenate([rows[k] for k in rng.integers(len(rows), size=len(rows))])) for _ in range(RESAMPLES)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _figure(value: float, n: int, interval: tuple[float, float]) -> Figure:
    return {"value": round(value, 4), "n": n, "ci95": [round(x, 4) for x in interval]}


def as_flags(values: Tensor) -> npt.NDArray[np.bool_]:
    """A bool tensor as numpy."""
    return values.detach().cpu().numpy().astype(np.bool_)


def as_values(values: Tensor) -> Values:
    """A tensor as float64 numpy."""
    return values.detach().to(torch.float64).cpu().numpy()
