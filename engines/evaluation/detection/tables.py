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
TRADED = (0.6, 0.7, 0.8, 0.9)


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
    plain = _by_delivery(part.only_fakes()[0])
    known = {
        (t.name, attack): _by_delivery(made[t.name, attack].images())
        for t in networks
        for attack in ATTACKS
        if (t.name, attack) in made and t.name in map(surrogate, networks)
    }
    for trained in networks:
        row: Row = {"network": trained.name, "title": trained.recipe.title}
        row["unperturbed"] = _kept(trained, plain, part.names)
        for attack in ATTACKS:
            for box, source in (("blackbox", surrogate(trained)), ("whitebox", trained.name)):
                if (source, attack) not in made:
                    continue
                found = made[source, attack]
                names = part.names[: len(found.pictures)]
                shown = known.get((source, attack)) or _by_delivery(found.images())
                row[f"{attack}_{box}"] = _kept(trained, shown, names)
                if attack == "cw":
                    shown = _by_delivery(found.as_papers_code(part))
                    row[f"cw_{box}_papers_code"] = _kept(trained, shown, names)
            if (trained.name, attack) in made:
                row[f"{attack}_facts"] = made[trained.name, attack].facts
        rows.append(row)
    return rows


def trade(networks: Sequence[Trained], part: Part, made: Mapping[tuple[str, str], Perturbed]) -> list[Row]:
    """What stricter thresholds would give a network that learned from attacks: reals that pass, by the share of FGSM's
    white-box pictures that are still called fake. Its signs are the same at every threshold."""
    rows = []
    reals = part.both()[0][: len(part)]
    for trained in networks:
        if trained.recipe.adversarial and (trained.name, "fgsm") in made:
            attacked = p_real(trained, made[trained.name, "fgsm"].images())
            passed = p_real(trained, reals)
            recall = {str(kept): _short((passed > attacked.quantile(kept)).float().mean()) for kept in TRADED}
            rows.append({"network": trained.name, "title": trained.recipe.title, "real_recall_at": recall})
    return rows


def surrogate(trained: Trained) -> str:
    """Whose pictures attack this network when it is not known."""
    return "resnet" if trained.recipe.architecture == "vgg16" else "vgg"


def _by_delivery(images: Tensor) -> dict[str, Tensor]:
    """The pictures (N, 3, S, S) after each delivery."""
    return {way: delivered(images, way, images.shape[-1]) for way in DELIVERIES}


def _kept(trained: Trained, shown: Mapping[str, Tensor], names: Sequence[str]) -> Row:
    return {way: share(p_real(trained, images) <= 0.5, names) for way, images in shown.items()}


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
