"""The networks of tables I to IV, trained on the same pictures: the paper's, and ours beyond it.

The best epoch is the one with the greatest AUROC on the val split's people, and the last layer's bias is shifted to
where they are told best (the paper's stays at .5); the test split is never looked at. Weights are averaged.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from stream_guard.errors import EngineError

from ...attacks.classifier import PAPER_EPSILON
from ...data.heads import crop
from ...detectors.architectures import architecture
from ...detectors.degrade import Path as Delivery
from ...detectors.degrade import blur, resize
from ...detectors.detector import Detector
from ...detectors.lipschitz import penalty, smooth
from ...detectors.measure import auroc
from ...writing import unreadable, whole
from . import adversary, operating
from .data import MARGIN, Pictures
from .drawn import Drawn
from .recipes import RECIPES, Recipe

AVERAGED = 0.99
"""How much of the averaged weights stays in each step: they are what is kept."""
DELIVERED_PX = 192
"""Side of the head in the delivered frame, for what is encoded."""


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
    half: bool = False,
    drawn: Drawn | None = None,
) -> Trained:
    """Train RECIPES[name], from `start` if given: epochs over reals and fakes in equal parts, at most so many minutes.

    The best epoch is the one of the greatest AUROC on the val split, its fakes attacked where the recipe attacks; the
    last where drawn pictures are learnt from, of which that split has none.
    `half`: convolutions in bfloat16, but for eq. 7, whose gradients of gradients want all digits.
    """
    recipe = RECIPES[name]
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    detector = build(recipe, pictures.size)
    detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types do not know it
    if start is not None:
        detector.load_state_dict(start.state_dict())
    mean = AveragedModel(detector, multi_avg_fn=get_ema_multi_avg_fn(AVERAGED), use_buffers=True)
    averaged = cast(Detector, mean.module)
    opt = torch.optim.AdamW(detector.parameters(), recipe.lr, weight_decay=0.02)
    per_epoch = 2 * pictures.train.people // batch
    plan = torch.optim.lr_scheduler.OneCycleLR(opt, recipe.lr, total_steps=recipe.epochs * per_epoch + 1)
    started, best, done = time.monotonic(), detector.state_dict(), 0
    found: list[float] = []
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(pictures.train), generator=rng)
        for k in range(per_epoch):
            people = order[k * batch // 2 : (k + 1) * batch // 2]
            x, labels = _batch(pictures, recipe, people, rng)
            with torch.autocast("cpu", torch.bfloat16, enabled=half and not recipe.lipschitz):
                if recipe.adversarial:
                    epsilon = adversary.epsilon(1.0 if recipe.start else (epoch + k / per_epoch) / recipe.epochs)
                    x = adversary.against(detector, x, labels, epsilon, recipe.adversarial)
                if drawn is not None and recipe.drawn:
                    more, words = drawn.some(recipe.drawn, rng)
                    x, labels = torch.cat([x, more]), torch.cat([labels, words])
                loss = _loss(detector, recipe, x, labels)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(detector.parameters(), 1.0)
            opt.step()
            plan.step()
            mean.update_parameters(detector)
        found.append(validation(averaged, pictures, PAPER_EPSILON if recipe.adversarial else 0.0))
        if found[-1] >= max(found) or recipe.drawn:
            best, done = copy.deepcopy(averaged.state_dict()), epoch + 1
        say(f"{name}: epoch {epoch + 1} of {recipe.epochs}, val AUROC {found[-1]:.4f}")
        if time.monotonic() - started > minutes * 60:
            break
    detector.load_state_dict(best)
    by = operating.shift(detector, pictures.val, PAPER_EPSILON if recipe.adversarial else 0.0)
    facts = {
        **asdict(recipe),
        "size": pictures.size,
        "batch": batch,
        "seed": seed,
        "bfloat16": half and not recipe.lipschitz,
        "epochs_run": len(found),
        "best_epoch": done,
        "val_auroc": [round(v, 4) for v in found],
        "drawn_pictures": len(drawn.labels) if drawn is not None and recipe.drawn else 0,
        "bias_shifted_by": round(by, 4),
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
    return (rgb * 2 - 1).contiguous(memory_format=torch.channels_last), labels


def _some_blurred(rgb: Tensor, share: float, size: int, rng: torch.Generator) -> Tensor:
    sigma = (3 + 2 * float(torch.rand(1, generator=rng))) * size / 224
    chosen = torch.rand(len(rgb), generator=rng) < share
    return torch.where(chosen[:, None, None, None], blur(rgb, sigma), rgb)


def _some_delivery(rng: torch.Generator) -> Delivery:
    u, q = torch.rand(2, generator=rng).tolist()
    if u < 0.5:
        return Delivery(DELIVERED_PX, "h264", 18 + int(15 * q))
    return Delivery(DELIVERED_PX, "jpeg", 50 + int(46 * q))


def _loss(detector: Detector, recipe: Recipe, x: Tensor, labels: Tensor) -> Tensor:
    detector.train()
    loss = F.cross_entropy(detector(x), labels)
    if recipe.lipschitz:
        loss = loss + recipe.lipschitz * penalty(detector, x).mean()
    return loss


def validation(detector: Detector, pictures: Pictures, epsilon: float = 0.0) -> float:
    """AUROC on the val split, its fakes attacked by FGSM with `epsilon` if that is not 0."""
    reals, fakes = operating.logits(detector, pictures.val, epsilon)
    return auroc(reals.numpy(), fakes.numpy())


def save(trained: Trained, path: Path) -> None:
    with whole(path) as file:
        torch.save({"name": trained.name, "facts": trained.facts, "weights": trained.detector.state_dict()}, file)


def load(path: Path) -> Trained:
    """Raises EngineError for a file that `save` did not write, or of a recipe that has changed since."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        recipe = RECIPES[found["name"]]
        detector = build(recipe, found["facts"]["size"])
        detector.load_state_dict(found["weights"])
        detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types do not know it
    except (OSError, RuntimeError, KeyError, TypeError, UnpicklingError) as error:
        raise EngineError(
            f"{path} is no network of the detection tables ({unreadable(error)}): delete it to train it"
        ) from error
    return Trained(found["name"], recipe, detector.eval().requires_grad_(False), found["facts"])
