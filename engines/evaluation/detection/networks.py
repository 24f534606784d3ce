"""The networks of tables I to IV, trained on the same pictures: the paper's, and ours beyond it.

The best epoch is the one with the least log loss on the val split's people; the test split is never looked at.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stream_guard.errors import EngineError

from ...attacks.base import Linf
from ...attacks.classifier import FGSM, PAPER_EPSILON
from ...data.heads import crop
from ...detectors.architectures import architecture
from ...detectors.degrade import Path as Delivery
from ...detectors.degrade import blur, resize
from ...detectors.detector import Detector
from ...detectors.lipschitz import penalty, smooth
from .data import MARGIN, Pictures

RAMP = 0.7
"""The share of a training over which the attacks of adversarial training grow to the paper's epsilon."""
DELIVERED_PX = 192
"""Side of the head in the delivered frame, for what is encoded."""


@dataclass(frozen=True)
class Recipe:
    """One network of the tables and how it is trained; `title` as the paper names it."""

    title: str
    architecture: str = "resnet18"
    width: float = 0.125
    lipschitz: float = 0.0
    blurred: float = 0.0
    """Share of pictures blurred as the paper did for its DIP classifier: sigma 3 to 5 of 224 px, here of the size."""
    adversarial: float = 0.0
    """Share of batches whose pictures are attacked first; epsilon grows to the paper's over RAMP."""
    compressed: float = 0.0
    """Share of batches that go through H.264 (crf 18 to 32) or JPEG (50 to 95)."""
    epochs: int = 12
    """Fewer where a step costs several."""
    lr: float = 2e-3
    start: str = ""
    """The network whose weights it begins with: adversarial training from random ones stays at chance here."""


RECIPES: dict[str, Recipe] = {
    "vgg": Recipe("VGG", "vgg16", 0.125, lr=1e-3),
    "resnet": Recipe("ResNet"),
    "lipschitz5": Recipe("ResNet (Regularized: lambda=5)", lipschitz=5.0, epochs=6),
    "lipschitz50": Recipe("ResNet (Regularized: lambda=50)", lipschitz=50.0, epochs=6),
    "lipschitz500": Recipe("ResNet (Regularized: lambda=500)", lipschitz=500.0, epochs=6),
    "lipschitz5000": Recipe("ResNet (Regularized: lambda=5000)", lipschitz=5000.0, epochs=6),
    "blurred": Recipe("ResNet (Data Augmented)", blurred=0.4),
    "compressed": Recipe("ResNet (H.264 and JPEG in training)", compressed=0.5),
    "adversarial": Recipe(
        "ResNet (adversarial training)", adversarial=1.0, compressed=0.25, lr=1e-3, start="compressed"
    ),
}
"""The first seven are the paper's; the last two are ours."""


@dataclass(frozen=True)
class Trained:
    """A network, frozen, in eval mode, and what is to be said of its training."""

    name: str
    recipe: Recipe
    detector: Detector
    facts: dict[str, Any]


def build(recipe: Recipe, size: int) -> Detector:
    detector = architecture(recipe.architecture).detector(recipe.width, size)
    if recipe.lipschitz:
        smooth(detector)
    return detector


def train(
    name: str,
    pictures: Pictures,
    seed: int = 0,
    minutes: float = 15.0,
    batch: int = 32,
    say: Callable[[str], None] = print,
    start: Detector | None = None,
) -> Trained:
    """Train RECIPES[name], from `start` if given: epochs over reals and fakes in equal parts, at most so many minutes.

    The best epoch is the one of the least log loss on the val split, attacked where the recipe attacks.
    """
    recipe = RECIPES[name]
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    detector = build(recipe, pictures.size)
    if start is not None:
        detector.load_state_dict(start.state_dict())
    opt = torch.optim.AdamW(detector.parameters(), recipe.lr, weight_decay=0.02)
    per_epoch = 2 * len(pictures.train) // batch
    plan = torch.optim.lr_scheduler.OneCycleLR(opt, recipe.lr, total_steps=recipe.epochs * per_epoch + 1)
    started, best, least, done = time.monotonic(), detector.state_dict(), float("inf"), 0
    losses: list[float] = []
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(pictures.train), generator=rng)
        for k in range(per_epoch):
            people = order[k * batch // 2 : (k + 1) * batch // 2]
            epsilon = PAPER_EPSILON * min((epoch + k / per_epoch) / recipe.epochs / RAMP, 1.0)
            loss = _loss(detector, recipe, *_batch(pictures, recipe, people, rng), epsilon)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(detector.parameters(), 1.0)
            opt.step()
            plan.step()
        losses.append(validation(detector, pictures, PAPER_EPSILON if recipe.adversarial else 0.0))
        if losses[-1] < least:
            least, best, done = losses[-1], copy.deepcopy(detector.state_dict()), epoch + 1
        say(f"{name}: epoch {epoch + 1} of {recipe.epochs}, val log loss {losses[-1]:.4f}")
        if time.monotonic() - started > minutes * 60:
            break
    detector.load_state_dict(best)
    facts = {
        **asdict(recipe),
        "size": pictures.size,
        "batch": batch,
        "seed": seed,
        "epochs_run": len(losses),
        "best_epoch": done,
        "val_log_loss": [round(v, 4) for v in losses],
        "seconds": round(time.monotonic() - started, 1),
        "parameters": sum(p.numel() for p in detector.parameters()),
    }
    return Trained(name, recipe, detector.eval().requires_grad_(False), facts)


def _batch(pictures: Pictures, recipe: Recipe, people: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random crops and mirrors of the reals and of the fakes of the same people, changed as the recipe says."""
    part = pictures.train
    rgb = torch.cat([part.reals[people], part.fakes[people]]).float() / 255
    theta = torch.zeros(len(rgb), 2, 3)
    r = torch.rand(len(rgb), 3, generator=rng) * 2 - 1
    theta[:, 0, 0], theta[:, 1, 1] = torch.where(r[:, 2] < 0, -1.0, 1.0) / MARGIN, 1 / MARGIN
    theta[:, :, 2] = r[:, :2] * (1 - 1 / MARGIN)
    rgb = crop(rgb, theta, pictures.size).clamp(0, 1)
    if recipe.blurred:
        rgb = _some_blurred(rgb, recipe.blurred, pictures.size, rng)
    if recipe.compressed and float(torch.rand(1, generator=rng)) < recipe.compressed:
        rgb = resize(_some_delivery(rng)(rgb), pictures.size).clamp(0, 1)
    _, labels = part.first(len(people)).both()
    return rgb * 2 - 1, labels


def _some_blurred(rgb: Tensor, share: float, size: int, rng: torch.Generator) -> Tensor:
    sigma = (3 + 2 * float(torch.rand(1, generator=rng))) * size / 224
    chosen = torch.rand(len(rgb), generator=rng) < share
    return torch.where(chosen[:, None, None, None], blur(rgb, sigma), rgb)


def _some_delivery(rng: torch.Generator) -> Delivery:
    u, q = torch.rand(2, generator=rng).tolist()
    if u < 0.5:
        return Delivery(DELIVERED_PX, "h264", 18 + int(15 * q))
    return Delivery(DELIVERED_PX, "jpeg", 50 + int(46 * q))


def _loss(detector: Detector, recipe: Recipe, x: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    if recipe.adversarial and epsilon > 0 and float(torch.rand(1)) < recipe.adversarial:
        x = _attacked(detector, x, labels, epsilon)
    detector.train()
    loss = F.cross_entropy(detector(x), labels)
    if recipe.lipschitz:
        loss = loss + recipe.lipschitz * penalty(detector, x).mean()
    return loss


def _attacked(detector: Detector, x: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """One step of 1.25 epsilon from a random start, in eval mode (Wong et al.: Fast is better than free, ICLR 2020)."""
    detector.eval()
    budget = Linf(epsilon)
    inner = budget.clip(x, x + epsilon * (torch.rand_like(x) * 2 - 1)).requires_grad_(True)
    (grad,) = torch.autograd.grad(F.cross_entropy(detector(inner), labels), inner)
    return budget.clip(x, inner.detach() + 1.25 * epsilon * grad.sign())


def validation(detector: Detector, pictures: Pictures, epsilon: float = 0.0) -> float:
    """Log loss on the val split, attacked by FGSM with `epsilon` if that is not 0."""
    detector.eval()
    x, labels = pictures.val.both()
    if epsilon:
        x = FGSM(Linf(epsilon))(detector, x, labels)
    with torch.no_grad():
        return F.cross_entropy(detector(x), labels).item()


def save(trained: Trained, path: Path) -> None:
    torch.save({"name": trained.name, "facts": trained.facts, "weights": trained.detector.state_dict()}, path)


def load(path: Path) -> Trained:
    """Raises EngineError for a file that `save` did not write, or of a recipe that has changed since."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        recipe = RECIPES[found["name"]]
        detector = build(recipe, found["facts"]["size"])
        detector.load_state_dict(found["weights"])
    except (OSError, RuntimeError, KeyError, TypeError, UnpicklingError) as error:
        raise EngineError(f"{path} is no network of the detection tables ({error}): delete it to train it") from error
    return Trained(found["name"], recipe, detector.eval().requires_grad_(False), found["facts"])
