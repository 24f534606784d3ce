"""Our attacks beside foolbox's on the same network and pictures: success, distance, and CPU time."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from stream_guard.errors import UsageError

from ...attacks.base import Linf
from ...attacks.classifier import FGSM, PAPER_EPSILON
from ...attacks.cw_l2 import CarliniWagnerL2
from .data import Part
from .networks import Trained

Row = dict[str, Any]


def compare(trained: Trained, part: Part, search_steps: int, iterations: int) -> list[Row]:
    """One row an attack. Carlini-Wagner with confidence 0 and c from 1, where the distance means something.

    Raises UsageError where foolbox is not installed.
    """
    foolbox = _foolbox()
    x, labels = part.only_fakes()
    # What the network gets wrong already is no attack's success, and the libraries count it differently.
    with torch.no_grad():
        known = trained.detector(x).argmax(1) == labels
    x, labels = x[known], labels[known]
    theirs = foolbox.PyTorchModel(
        trained.detector, bounds=(0, 1), device="cpu", preprocessing={"mean": [0.5] * 3, "std": [0.5] * 3, "axis": -3}
    )
    unit = (x + 1) / 2
    works: dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]] = {
        "FGSM": (
            lambda: FGSM(Linf(PAPER_EPSILON))(trained.detector, x, labels),
            lambda: foolbox.attacks.FGSM()(theirs, unit, labels, epsilons=PAPER_EPSILON / 2)[1],
        ),
    }
    for early, words in ((False, "every iteration"), (True, "each stops early")):
        works[f"Carlini-Wagner L2, {words}"] = (
            _ours(trained, x, labels, search_steps, iterations, early),
            _theirs(foolbox, theirs, unit, labels, search_steps, iterations, early),
        )
    rows = []
    for name, (our, their) in works.items():
        mine, seconds = _timed(our)
        other, their_seconds = _timed(their)
        row = {"attack": name, "count": len(x), "foolbox": metadata.version("foolbox")}
        row |= {"ours": _facts(trained, unit, (mine + 1) / 2, labels, seconds)}
        row |= {"theirs": _facts(trained, unit, other, labels, their_seconds)}
        row |= {"search_steps": search_steps, "iterations": iterations} if name != "FGSM" else {}
        rows.append(row | {"times_as_fast": round(their_seconds / max(seconds, 1e-9), 2)})
    return rows


def _ours(
    trained: Trained, x: Tensor, labels: Tensor, search_steps: int, iterations: int, early: bool
) -> Callable[[], Tensor]:
    attack = CarliniWagnerL2(
        c=(1.0, 1e10), search_steps=search_steps, iterations=iterations, confidence=0.0, early=early
    )
    return lambda: attack(trained.detector, x, labels)


def _theirs(
    foolbox: Any, model: Any, x: Tensor, labels: Tensor, search_steps: int, iterations: int, early: bool
) -> Callable[[], Tensor]:
    attack = foolbox.attacks.L2CarliniWagnerAttack(
        search_steps, iterations, stepsize=0.01, initial_const=1.0, abort_early=early
    )
    return lambda: attack(model, x, labels, epsilons=None)[1]


def _foolbox() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it imports names that SciPy is about to drop
            import foolbox
    except ImportError as error:
        raise UsageError("the comparison needs foolbox: pip install foolbox") from error
    return foolbox


def _timed(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    start = time.process_time()
    return work(), time.process_time() - start


@torch.no_grad()
def _facts(trained: Trained, x: Tensor, attacked: Tensor, labels: Tensor, seconds: float) -> Row:
    """On [0, 1]."""
    fooled = trained.detector(attacked * 2 - 1).argmax(1) != labels
    distance = (attacked - x).flatten(1).norm(dim=1)
    return {
        "success": round(float(fooled.float().mean()), 4),
        "l2_mean": round(float(distance.mean()), 4),
        "cpu_seconds": round(seconds, 2),
    }
