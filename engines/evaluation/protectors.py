"""The methods that the tables compare, all seen as `Treated` faces: none, the disrupter, and attacks on one generator.

The disrupter runs as the product runs it, on every picture of the clip. An attack computes one perturbation for the
original face, which then moves along with it; `float` figures take it as it is, as the papers do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from stream_guard.inference import Card, Session, find_engine, open_session
from stream_guard.inference.card import load_card
from stream_guard.media import pixels
from stream_guard.stages.disrupt import DisruptOptions, DisruptStage
from stream_guard.types import Box, guard_region, head_region

from ..attacks.base import Model
from ..attacks.pgd import IFGSM
from ..attacks.through_delivery import ThroughDelivery
from ..data.heads import HEAD_SHARE, crop, crop_theta
from ..data.pack import SIZE
from ..disrupter import delivery
from ..generators.target import Target
from ..shipping import BUDGET_PSNR_DB
from .delivered import Still, clip
from .deliveries import Treated, Treatment
from .methods import YCBCR, disrupter, fixed

WIDTH = 256
"""The width of the face, in pixels, in the picture that attacks and float figures look at."""
BATCH = 8

Tick = Callable[[], None]


@dataclass(frozen=True)
class Engine:
    """The disrupter under test: its card, a session of ONNX Runtime, and the stage that the product runs."""

    card: Card
    session: Session
    stage: DisruptStage

    @property
    def budget_psnr_db(self) -> float:
        """What it was trained to cost; the settings on its card say so."""
        settings = json.loads(str(self.card.results.get("settings", "{}")))
        return float(settings.get("psnr_db", BUDGET_PSNR_DB))

    @property
    def grid(self) -> int:
        return int(self.card.outputs[0].shape[-1])

    @property
    def epsilon(self) -> float:
        return self.card.epsilon or 0.0

    def delta(self, faces: npt.NDArray[np.uint8]) -> Tensor:
        """(N, 3, G, G) for guard regions (N, S, S, 3) of the size on the card."""
        planes = np.ascontiguousarray(faces.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
        return torch.from_numpy(self.session.run({"face": planes})["delta"]).clamp(-self.epsilon, self.epsilon)

    def close(self) -> None:
        self.session.close()
        self.stage.close()


def open_engine(source: str | Path | None, threads: int = 1) -> Engine:
    """A disrupter by its zoo name, or the folder of an exported one; None is the zoo's default."""
    card = load_card(Path(source)) if source is not None and Path(source).is_dir() else find_engine(source, "disrupter")
    stage = DisruptStage(
        DisruptOptions.model_validate({"engine": str(card.model_path), "backend": "onnxruntime", "threads": threads})
    )
    stage.open()
    return Engine(card, open_session(card, "onnxruntime", threads=threads), stage)


def none(stills: Sequence[Still]) -> Treated:
    """The control: delivered like the others, without a perturbation."""
    return Treated("none", [Treatment(None, lambda size: torch.zeros(3, size, size)) for _ in stills])


def ours(engine: Engine, stills: Sequence[Still]) -> Treated:
    """The disrupter. Its name is the card's hash, so that several may share one cache."""
    size, perturb = engine.card.input_shape("face")[-1], disrupter(engine.stage)
    faces = np.stack([_read(still, guard_region, size) for still in stills])
    deltas = torch.cat([engine.delta(faces[i : i + BATCH]) for i in range(0, len(faces), BATCH)])
    return Treated(f"ours {engine.card.sha256[:8]}", [Treatment(perturb, _spread(delta)) for delta in deltas])


def iterated(name: str, attack: IFGSM, target: Target, stills: Sequence[Still], tick: Tick) -> Treated:
    """I-FGSM or PGD on the head crop, one condition a step in turn (Ruiz et al.'s iterative class conditional).

    I-FGSM flees from a black picture: fleeing from its own output it would never move (engines/attacks/pgd.py).
    """
    treatments = []
    black = type(attack) is IFGSM
    for start in range(0, len(stills), BATCH):
        part = stills[start : start + BATCH]
        x = torch.stack([_planes(_read(still, head_region, target.size)) for still in part]) * 2 - 1
        x_adv = _class_by_class(attack, target, x.to(target.conditions.device), black).cpu()
        treatments += [_pixelwise(change) for change in x_adv - x]
        for _ in part:
            tick()
    return Treated(name, treatments)


def bound(
    name: str, engine: Engine, target: Target, stills: Sequence[Still], iterations: int, seed: int, tick: Tick
) -> Treated:
    """PGD through the codec with the disrupter's own grid and budget: what any network of its kind could reach."""
    attack = ThroughDelivery(engine.budget_psnr_db, engine.epsilon, iterations, seed=seed, grid=engine.grid)
    treatments = []
    for start in range(0, len(stills), BATCH):
        part = stills[start : start + BATCH]
        regions = torch.stack([_planes(_read(still, guard_region, SIZE)) for still in part])
        device = target.conditions.device
        for delta in attack(target, regions.to(device), target.conditions).cpu():
            treatments.append(Treatment(fixed(delta.numpy(), guard_region), _spread(delta)))
            tick()
    return Treated(name, treatments)


def universal(delta: Tensor, stills: Sequence[Still]) -> Treated:
    """One perturbation (3, S, S) on [-1, 1] for every head, as CMUA's."""
    return Treated("universal", [_pixelwise(delta) for _ in stills])


def _class_by_class(attack: IFGSM, target: Target, x: Tensor, black: bool) -> Tensor:
    rows = [row.expand(len(x), -1) for row in target.conditions]
    with torch.no_grad():
        goals = [torch.full_like(x, -1.0) if black else target(x, row) for row in rows]
    x_adv = attack.start(x)
    for k in range(attack.iterations):
        x_adv, _ = attack.one_step(_bound_to(target, rows[k % len(rows)]), x, x_adv, goals[k % len(rows)])
    return attack.budget.clip(x, x_adv).detach()


def _bound_to(target: Target, condition: Tensor) -> Model:
    return lambda image: target(image, condition)


def _pixelwise(change: Tensor) -> Treatment:
    """A change (3, S, S) on [-1, 1] of the head crop, to its very border."""
    planes = torch.einsum("ij,jhw->ihw", YCBCR, change / 2).numpy()
    return Treatment(fixed(planes, head_region, feather=0.0), lambda size: _resized(change, size))


def _spread(delta: Tensor) -> Callable[[int], Tensor]:
    """What a delta (3, G, G) on the guard region's grid does to a head crop of any size, before any rounding."""

    def difference(size: int) -> Tensor:
        whole = round(size / HEAD_SHARE)
        spread = F.interpolate(delta[None], size=(whole, whole), mode="bilinear", align_corners=False)
        rgb = delivery.to_rgb(spread) * delivery.window(whole, delta.device)
        return 2 * crop(rgb, crop_theta(1, HEAD_SHARE, 0.0, None), size)[0]

    return difference


def _resized(change: Tensor, size: int) -> Tensor:
    if change.shape[-1] == size:
        return change
    return F.interpolate(change[None], size=(size, size), mode="bilinear", align_corners=False, antialias=True)[0]


def _read(still: Still, region: Callable[[Box], Box], size: int) -> npt.NDArray[np.uint8]:
    picture, box = next(clip(still, WIDTH))
    return pixels.read_rgb(picture, region(box), size)


def _planes(rgb: npt.NDArray[np.uint8]) -> Tensor:
    """(S, S, 3) in 8 bits as (3, S, S) in [0, 1]."""
    return torch.from_numpy(rgb.copy()).permute(2, 0, 1).float() / 255
