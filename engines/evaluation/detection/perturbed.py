"""The adversarial pictures of table II: made once for each network and attack, kept as 8 bits, then delivered.

Carlini-Wagner twice: `cw` at the paper's kappa, which slim networks hardly reach, and `near` at a small one, whose
pictures are about as close as FGSM's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from stream_guard.errors import EngineError

from ...attacks.base import Attack, Linf
from ...attacks.classifier import FGSM, PAPER_EPSILON, margin
from ...attacks.cw_l2 import CarliniWagnerL2
from ...detectors.degrade import Path as Delivery
from ...detectors.degrade import resize
from ...training import weights_sum
from ...writing import unreadable, whole
from .data import Part
from .networks import DELIVERED_PX, Trained

CHUNK = 128

DELIVERIES: dict[str, Callable[[Tensor], Tensor]] = {
    "8 bits": lambda rgb: rgb,
    "jpeg 75": Delivery(DELIVERED_PX, "jpeg", 75),
    "h264 crf 23": Delivery(DELIVERED_PX, "h264", 23),
}
"""What becomes of the 8-bit picture: nothing, or it is the head of a delivered frame, DELIVERED_PX wide."""

ATTACKS = ("fgsm", "cw", "near")
CLOSE = PAPER_EPSILON / 2
"""The root mean square on [0, 1] that FGSM has at most: as far as an attack may go unseen."""


@dataclass(frozen=True)
class Effort:
    """What Carlini-Wagner may cost here; the paper's is 5 steps of 1000 iterations on every fake."""

    faces: int = 24
    search_steps: int = 5
    iterations: int = 1000
    confidence: float = 200.0
    near: float = 1.0
    """Kappa of `near`."""
    near_iterations: int = 250


@dataclass(frozen=True)
class Perturbed:
    """`pictures` (N, 3, S, S) uint8 of the first N fakes of the test split, and how far they are from the fakes.

    `reached` (N,): whether Carlini-Wagner got to its kappa.
    """

    pictures: Tensor
    facts: dict[str, Any]
    reached: Tensor

    def images(self) -> Tensor:
        """(N, 3, S, S) in [-1, 1]."""
        return self.pictures.float() / 127.5 - 1

    def as_papers_code(self, part: Part) -> Tensor:
        """(N, 3, S, S): as the paper's code gives them, which returns the fake unchanged where kappa is not reached."""
        unchanged = part.first(len(self.pictures)).only_fakes()[0]
        return torch.where(self.reached[:, None, None, None], self.images(), unchanged)


def attack_of(name: str, effort: Effort) -> Attack:
    if name == "fgsm":
        return FGSM(Linf(PAPER_EPSILON))
    near = name == "near"
    return CarliniWagnerL2(
        c=(1e2, 1e4),
        search_steps=effort.search_steps,
        iterations=effort.near_iterations if near else effort.iterations,
        confidence=effort.near if near else effort.confidence,
    )


def make(trained: Trained, part: Part, name: str, effort: Effort, folder: Path) -> Perturbed:
    """The attack `name` on the network's answers to the fakes, from the folder where it was made before."""
    path = folder / f"{trained.name}-{name}.pt"
    wanted = {"attack": name, "network": trained.name, "weights": weights_sum(trained.detector)}
    wanted |= asdict(effort) if name != "fgsm" else {}
    before = _load(path) if path.exists() else None
    if before is not None and {key: before.facts.get(key) for key in wanted} == wanted:
        return before
    fakes = part.first(len(part) if name == "fgsm" else effort.faces)
    x, labels = fakes.only_fakes()
    start = time.process_time()
    attack = attack_of(name, effort)
    attacked = attack(trained.detector, x, labels)
    seconds = time.process_time() - start
    with torch.no_grad():
        logits = torch.cat([trained.detector(some) for some in attacked.split(CHUNK)])
    fled = -margin(logits, labels)
    reached = fled > getattr(attack, "confidence", -torch.inf)
    pictures = ((attacked + 1) * 127.5).round().byte()
    facts = wanted | _distances(x, pictures) | {"cpu_seconds_an_image": round(seconds / len(x), 4), "count": len(x)}
    facts |= {"reached": round(float(reached.float().mean()), 4), "held_close": _held_close(trained, x, pictures)}
    with whole(path) as file:
        torch.save({"pictures": pictures, "facts": facts, "reached": reached}, file)
    return Perturbed(pictures, facts, reached)


def _load(path: Path) -> Perturbed:
    """Raises EngineError for a file that `make` did not write."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        return Perturbed(found["pictures"], dict(found["facts"]), found["reached"])
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError, UnpicklingError) as error:
        raise EngineError(f"{path} holds no attacked pictures ({unreadable(error)}): delete it to make them") from error


@torch.no_grad()
def _held_close(trained: Trained, x: Tensor, pictures: Tensor) -> float:
    """The share of fakes that are still called fake, or had to be changed by more than CLOSE not to be."""
    after = pictures.float() / 127.5 - 1
    far = ((after - x) / 2).square().mean((1, 2, 3)).sqrt() > CLOSE
    says_fake = torch.cat([trained.detector.p_real(some) <= 0.5 for some in after.split(CHUNK)])
    return round(float((says_fake | far).float().mean()), 4)


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
