"""The adversarial pictures of table II: made once for each network and attack, kept as 8 bits, then delivered."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...attacks.base import Attack, Linf
from ...attacks.classifier import FGSM, PAPER_EPSILON
from ...attacks.cw_l2 import CarliniWagnerL2
from ...detectors.degrade import Path as Delivery
from ...detectors.degrade import resize
from .data import Part
from .networks import DELIVERED_PX, Trained

DELIVERIES: dict[str, Callable[[Tensor], Tensor]] = {
    "8 bits": lambda rgb: rgb,
    "jpeg 75": Delivery(DELIVERED_PX, "jpeg", 75),
    "h264 crf 23": Delivery(DELIVERED_PX, "h264", 23),
}
"""What becomes of the 8-bit picture: nothing, or it is the head of a delivered frame, DELIVERED_PX wide."""

ATTACKS = ("fgsm", "cw")


@dataclass(frozen=True)
class Effort:
    """What Carlini-Wagner may cost here; the paper's is 5 steps of 1000 iterations on every fake."""

    faces: int = 24
    search_steps: int = 5
    iterations: int = 1000
    confidence: float = 200.0


@dataclass(frozen=True)
class Perturbed:
    """`pictures` (N, 3, S, S) uint8 of the first N fakes of the test split, and how far they are from the fakes."""

    pictures: Tensor
    facts: dict[str, Any]

    def images(self) -> Tensor:
        """(N, 3, S, S) in [-1, 1]."""
        return self.pictures.float() / 127.5 - 1


def attack_of(name: str, effort: Effort) -> Attack:
    if name == "fgsm":
        return FGSM(Linf(PAPER_EPSILON))
    return CarliniWagnerL2(
        c=(1e2, 1e4),
        search_steps=effort.search_steps,
        iterations=effort.iterations,
        confidence=effort.confidence,
    )


def make(trained: Trained, part: Part, name: str, effort: Effort, folder: Path) -> Perturbed:
    """The attack `name` on the network's answers to the fakes, from the folder where it was made before."""
    path = folder / f"{trained.name}-{name}.pt"
    wanted = {"attack": name, "network": trained.name, "weights": _sum(trained)}
    wanted |= asdict(effort) if name == "cw" else {}
    if path.exists():
        found = torch.load(path, map_location="cpu", weights_only=True)
        if {key: found["facts"].get(key) for key in wanted} == wanted:
            return Perturbed(found["pictures"], found["facts"])
    fakes = part.first(effort.faces if name == "cw" else len(part))
    x, labels = fakes.only_fakes()
    start = time.process_time()
    attacked = attack_of(name, effort)(trained.detector, x, labels)
    seconds = time.process_time() - start
    pictures = ((attacked + 1) * 127.5).round().byte()
    facts = wanted | _distances(x, pictures) | {"cpu_seconds_an_image": round(seconds / len(x), 4), "count": len(x)}
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"pictures": pictures, "facts": facts}, path)
    return Perturbed(pictures, facts)


def _sum(trained: Trained) -> float:
    """Tells one training's weights from another's."""
    return round(float(sum(p.double().abs().sum() for p in trained.detector.parameters())), 6)


def _distances(x: Tensor, pictures: Tensor) -> dict[str, float]:
    """On [0, 1], as delivered in 8 bits."""
    away = (pictures.float() / 127.5 - 1 - x) / 2
    norms = away.flatten(1).norm(dim=1)
    return {
        "l2_mean": round(float(norms.mean()), 4),
        "l2_median": round(float(norms.median()), 4),
        "linf_mean": round(float(away.abs().flatten(1).amax(1).mean()), 4),
        "psnr_db": round(float(-10 * away.square().mean().log10()), 2),
    }


def delivered(images: Tensor, way: str, size: int) -> Tensor:
    """(N, 3, S, S) in [-1, 1] after a delivery, at the detector's size again."""
    rgb = DELIVERIES[way]((images + 1) / 2)
    return resize(rgb, size).clamp(0, 1) * 2 - 1
