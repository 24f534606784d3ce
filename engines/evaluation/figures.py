"""The figures of the tables and their 95 % intervals; definitions as the papers give them.

A figure is `{"value", "n", "ci95"}`: shares carry Wilson's interval with faces as clusters, means a bootstrap over
faces, precision and F1 what follows from Jeffreys' posteriors of the two shares they are made of: a bootstrap of faces
that were all told rightly has no width. Images are (N, 3, H, W) in [-1, 1]; a face is known by its picture's name.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stream_guard.audit.interval import share_interval

from ..attacks.universal import masked_distance

Values = npt.NDArray[np.float64]
Figure = dict[str, Any]

RESAMPLES = 1000


def l2(edited: Tensor, reference: Tensor) -> Tensor:
    """(N,): the mean squared error of each pair, as the field calls L2."""
    return (edited - reference).square().mean((1, 2, 3))


def sr_mask(edited: Tensor, reference: Tensor, x: Tensor) -> Tensor:
    """(N,) bool, CMUA's success: the error over the edited pixels alone exceeds 0.05; an empty mask is no success."""
    images = zip(x.split(1), reference.split(1), edited.split(1), strict=True)
    return torch.tensor([masked_distance(*three).success for three in images])


def share(outcomes: Sequence[bool] | npt.NDArray[np.bool_], faces: Sequence[Hashable]) -> Figure:
    """The share of True, Wilson's interval with the effective number of pairs."""
    flags = [bool(o) for o in outcomes]
    interval = share_interval(zip(faces, flags, strict=True))
    return _figure(sum(flags) / len(flags), len(flags), interval or (0.0, 1.0))


def mean(values: Sequence[float] | Values, faces: Sequence[Hashable], seed: int = 0) -> Figure:
    """The mean, bootstrapped over faces."""
    array = np.asarray(values, np.float64)
    return _figure(float(array.mean()), len(array), bootstrap(lambda w: w @ array / w.sum(1), faces, seed))


def detection(real_pass: npt.NDArray[np.bool_], fake_pass: npt.NDArray[np.bool_], seed: int = 0) -> dict[str, Figure]:
    """Precision, recall and F1 where *real* is positive; entry i of both is the same face, or fakes repeat the faces.

    `real_pass` (N,) and `fake_pass` (N,) or (N, K) say what the detector passed as real. With K fakes a face each
    counts 1/K, so that reals and fakes weigh alike.
    """
    fakes = fake_pass.reshape(len(real_pass), -1).mean(1)
    reals = real_pass.astype(np.float64)
    n = len(reals)
    found = [np.array([part.sum()]) for part in (reals, fakes)]
    drawn = [n * _jeffreys(float(part[0]), n, seed + k) for k, part in enumerate(found)]

    def figure(of: Callable[[Values, Values, Values], Values]) -> Figure:
        value = float(of(found[0], found[1], np.array([float(n)]))[0])
        low, high = np.percentile(of(drawn[0], drawn[1], np.full(RESAMPLES, float(n))), [2.5, 97.5])
        return _figure(value, n, (min(float(low), value), max(float(high), value)))

    return {"precision": figure(precision), "recall": share(real_pass, range(len(reals))), "f1": figure(f1)}


def _jeffreys(part: float, of: int, seed: int) -> Values:
    """(RESAMPLES,): the share that `part` of `of` may stand for, drawn from Jeffreys' posterior."""
    drawn: Values = np.random.default_rng(seed).beta(part + 0.5, of - part + 0.5, size=RESAMPLES)
    return drawn


def precision(reals_passed: Values, fakes_passed: Values, reals: Values) -> Values:
    """reals passed / all passed; 0 where nothing passes. All three are counts, of one draw or of many."""
    return _ratio(reals_passed, reals_passed + fakes_passed)


def recall(reals_passed: Values, fakes_passed: Values, reals: Values) -> Values:
    """reals passed / reals."""
    return _ratio(reals_passed, reals)


def f1(reals_passed: Values, fakes_passed: Values, reals: Values) -> Values:
    """The harmonic mean of precision and recall; 0 where both are."""
    return _ratio(2 * reals_passed, reals + reals_passed + fakes_passed)


def bootstrap(of: Callable[[Values], Values], faces: Sequence[Hashable], seed: int = 0) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of a statistic, whole faces drawn with replacement.

    `of` gets the weights (RESAMPLES, N) of the N rows: how often each row's face was drawn.
    """
    order = {face: k for k, face in enumerate(dict.fromkeys(faces))}
    owner = np.array([order[face] for face in faces])
    drawn = np.random.default_rng(seed).multinomial(len(order), np.full(len(order), 1 / len(order)), size=RESAMPLES)
    low, high = np.percentile(of(drawn[:, owner].astype(np.float64)), [2.5, 97.5])
    return float(low), float(high)


def _ratio(above: Values, below: Values) -> Values:
    out: Values = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return out


def _figure(value: float, n: int, interval: tuple[float, float]) -> Figure:
    return {"value": round(value, 4), "n": n, "ci95": [round(x, 4) for x in interval]}


def as_flags(values: Tensor) -> npt.NDArray[np.bool_]:
    """A bool tensor as numpy."""
    return values.detach().cpu().numpy().astype(np.bool_)


def as_values(values: Tensor) -> Values:
    """A tensor as float64 numpy."""
    return values.detach().to(torch.float64).cpu().numpy()
