"""Tables I and II, and what the paper has not: the worst of several attacks, with checks for masked gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from stream_guard.audit.interval import share_interval

from ...attacks.classifier import PAPER_EPSILON
from ...attacks.suite import gradient_checks, held_by, standard
from ...detectors.detector import FAKE, REAL
from ...detectors.measure import auroc
from .data import Part
from .networks import Trained
from .perturbed import ATTACKS, DELIVERIES, Perturbed, delivered

Row = dict[str, Any]
CHUNK = 64


@torch.no_grad()
def p_real(trained: Trained, images: Tensor) -> Tensor:
    """(N,)."""
    return torch.cat([trained.detector.p_real(x) for x in images.split(CHUNK)])


def share(right: Tensor, names: Sequence[str]) -> Row:
    """A share of True with its 95 % interval by person."""
    outcomes = list(zip(names, right.tolist(), strict=True))
    low, high = share_interval(outcomes) or (0.0, 1.0)
    return {"value": _short(right.float().mean()), "ci95": [_short(low), _short(high)], "count": len(right)}


def table1(networks: Sequence[Trained], part: Part) -> list[Row]:
    """Unperturbed pictures: accuracy, AUROC, and precision and recall of fakes and of reals."""
    rows = []
    for trained in networks:
        x, labels = part.both()
        p = p_real(trained, x)
        says = torch.where(p > 0.5, REAL, FAKE)
        row: Row = {"network": trained.name, "title": trained.recipe.title}
        row["accuracy"] = share(says == labels, part.names * 2)
        row["auroc"] = _short(auroc(p[labels == REAL].numpy(), p[labels == FAKE].numpy()))
        for word, label in (("fake", FAKE), ("real", REAL)):
            hit = ((says == label) & (labels == label)).sum()
            row[f"precision_{word}"] = _short(hit / (says == label).sum().clamp(min=1))
            row[f"recall_{word}"] = _short(hit / (labels == label).sum())
        rows.append(row)
    return rows


def table2(networks: Sequence[Trained], part: Part, made: Mapping[tuple[str, str], Perturbed]) -> list[Row]:
    """The share of fakes still called fake, by attack, by who knew the network, and by delivery.

    Black box: pictures made on VGG for every ResNet, on the plain ResNet for VGG.
    """
    rows = []
    for trained in networks:
        row: Row = {"network": trained.name, "title": trained.recipe.title}
        row["unperturbed"] = _kept(trained, part.only_fakes()[0], part.names)
        for attack in ATTACKS:
            for box, source in (("blackbox", surrogate(trained)), ("whitebox", trained.name)):
                if (source, attack) not in made:
                    continue
                found = made[source, attack]
                row[f"{attack}_{box}"] = _kept(trained, found.images(), part.names[: len(found.pictures)])
            if (trained.name, attack) in made:
                row[f"{attack}_facts"] = made[trained.name, attack].facts
        rows.append(row)
    return rows


def surrogate(trained: Trained) -> str:
    """Whose pictures attack this network when it is not known."""
    return "resnet" if trained.recipe.architecture == "vgg16" else "vgg"


def _kept(trained: Trained, images: Tensor, names: Sequence[str]) -> Row:
    size = trained.detector.size
    return {way: share(p_real(trained, delivered(images, way, size)) <= 0.5, names) for way in DELIVERIES}


def suite(networks: Sequence[Trained], part: Part, iterations: int, queries: int, seed: int) -> list[Row]:
    """Fakes still called fake after the worst of Auto-PGD (two losses) and Square, at the paper's epsilon."""
    rows = []
    x, labels = part.only_fakes()
    for trained in networks:
        model = trained.detector
        held = held_by(model, x, labels, standard(PAPER_EPSILON, iterations, queries, seed))
        rows.append(
            {
                "network": trained.name,
                "title": trained.recipe.title,
                "epsilon": PAPER_EPSILON / 2,
                "clean": share(held.clean, part.names),
                **{name: share(kept, part.names) for name, kept in held.by_attack.items()},
                "worst": share(held.robust, part.names),
                "checks": gradient_checks(model, x[:16], labels[:16], PAPER_EPSILON, _first(held, 16)),
            }
        )
    return rows


def _first(held: Any, count: int) -> Any:
    return type(held)(held.clean[:count], {name: kept[:count] for name, kept in held.by_attack.items()})


def _short(value: Any) -> float:
    return round(float(value), 4)
