"""Trains the small face parser on the pack's parsing masks: weighted cross-entropy over 19 classes, and soft Dice.

Crops are the head region as the runtime reads it, shifted, scaled and mirrored; half are softened, noised or re-tinted,
because delivered video is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from stream_guard.errors import EngineError
from stream_guard.magdr.regions import CLASSES

from ..data import pack
from ..data.heads import HEAD_SHARE, Heads, crop, crop_theta
from ..data.origin import described
from ..training import Run, load_part, pick_device, seed_everything, settings_of
from ..writing import write_json
from .network import SIZE, FaceParser

NAME = "parser"
RESULTS = "results.json"
"""In the run folder: IoU of each class on held-out people."""

MIRRORED = tuple(
    CLASSES.index(
        ("r" if name[0] == "l" else "l") + name[1:] if name[:2] in ("l_", "r_") and "lip" not in name else name
    )
    for name in CLASSES
)
"""Which class each class becomes in a mirrored picture: the left eye is the right one."""


@dataclass(frozen=True)
class Settings:
    width: int = 16
    """channels of the first layer; 16 is 0.6 M parameters"""
    batch: int = 12
    lr: float = 3e-3
    rare: float = 0.35
    """a class weighs (its share of pixels) ** -rare"""
    half: bool = False
    """convolutions in bfloat16, also on a processor: sooner where it has the instructions"""
    seed: int = 0


class Trainer:
    """One batch a step; see `train`."""

    def __init__(self, settings: Settings, heads: Heads, device: torch.device) -> None:
        self.s, self.heads, self.device = settings, heads, device
        self.rng = torch.Generator().manual_seed(settings.seed)
        self.half = settings.half or device.type == "cuda"
        self.network = FaceParser(settings.width).to(device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), settings.lr, weight_decay=1e-3)
        shares = torch.bincount(heads.mask.flatten().long(), minlength=len(CLASSES)).float().clamp(min=1)
        weights = (shares / shares.sum()).pow(-settings.rare)
        self.weights = (weights / weights.mean()).to(device)

    @property
    def parts(self) -> dict[str, object]:
        return {"network": self.network, "optimizer": self.optimizer}

    def batch(self) -> tuple[Tensor, Tensor]:
        """(images in [-1, 1], classes (N, S, S))."""
        index = self.heads.pick(self.s.batch, self.rng)
        theta = crop_theta(len(index), HEAD_SHARE, 0.2, self.rng, flip=True)
        rgb = crop(self.heads.rgb[index].float() / 255, theta, SIZE).clamp(0, 1)
        mask = crop(self.heads.mask[index][:, None].float(), theta, SIZE, "nearest")[:, 0].long()
        swapped = torch.tensor(MIRRORED, device=mask.device)[mask]
        mask = torch.where((theta[:, 0, 0] < 0).to(mask.device)[:, None, None], swapped, mask)
        return disturbed(rgb, self.rng) * 2 - 1, mask

    def step(self, rate: float) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        images, classes = self.batch()
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            scores = self.network(images)
        scores = scores.float()
        entropy = F.cross_entropy(scores, classes, self.weights)
        overlap = _soft_overlap(scores.softmax(1), classes)
        self.optimizer.zero_grad(set_to_none=True)
        (entropy + 0.5 * (1 - overlap)).backward()
        self.optimizer.step()
        return {"entropy": entropy.item(), "overlap": overlap.item()}


def disturbed(rgb: Tensor, rng: torch.Generator) -> Tensor:
    """Half of the pictures with another tint and contrast, softened or noised; RGB in [0, 1]."""
    n = len(rgb)

    def chance(share: float) -> Tensor:
        return (torch.rand(n, 1, 1, 1, generator=rng) < share).to(rgb)

    tint = 1 + 0.2 * (torch.rand(n, 3, 1, 1, generator=rng).to(rgb) * 2 - 1) * chance(0.5)
    shift = 0.12 * (torch.rand(n, 1, 1, 1, generator=rng).to(rgb) * 2 - 1) * chance(0.5)
    soft = F.interpolate(F.avg_pool2d(rgb, 2), scale_factor=2.0, mode="bilinear", align_corners=False)
    rgb = torch.lerp(rgb, soft, chance(0.25))
    noise = torch.randn(rgb.shape, generator=rng).to(rgb) * 0.03 * chance(0.25)
    return (rgb * tint + shift + noise).clamp(0, 1)


def _soft_overlap(shares: Tensor, classes: Tensor) -> Tensor:
    """The mean soft Dice over the classes that the batch holds."""
    truth = F.one_hot(classes, len(CLASSES)).permute(0, 3, 1, 2).to(shares)
    both, sizes = (shares * truth).sum((0, 2, 3)), (shares + truth).sum((0, 2, 3))
    present = truth.sum((0, 2, 3)) > 0
    return (2 * both / sizes.clamp(min=1))[present].mean()


def train(data: Path, out: Path, minutes: float, resume: bool, device: str, settings: Settings | None = None) -> Run:
    """Train for `minutes` on the heads of the train split that have masks. Writes `out`/state.pt."""
    settings = settings or Settings()
    seed_everything(settings.seed)
    place = pick_device(device)
    trainer = Trainer(settings, Heads(pack.read(data, ["train"], with_mask=True), place), place)
    run = Run.of(out, settings, minutes, NAME, {"data": described(data, with_mask=True)})
    if resume:
        run.resume(trainer.parts, trainer.rng)
    (out / RESULTS).unlink(missing_ok=True)  # of the weights before: a run that is cut off has none
    for _ in run.steps(trainer.parts):
        warm = min(1.0, 0.1 + run.step / 100)
        run.tick(trainer.step(settings.lr * warm * (1 - 0.97 * run.progress)), trainer.parts)
    run.save(trainer.parts)
    write_json(out / RESULTS, measured(out, data))
    return run


def results(folder: Path) -> dict[str, float]:
    """What training measured at its end, for the card; empty where it was cut off before."""
    path = folder / RESULTS
    if not path.exists():
        return {}
    return {f"iou_{name}": value for name, value in json.loads(path.read_text(encoding="utf-8")).items()}


def load(folder: Path) -> FaceParser:
    """The trained parser of a run, frozen, in eval mode."""
    network = FaceParser(settings_of(folder, Settings).width)
    load_part(folder, "network", network)
    return network.requires_grad_(False).eval()


def overlaps(network: FaceParser, heads: Heads) -> dict[str, float]:
    """IoU of each class over all pixels of the heads' own crops, and `mean` over the classes that occur."""
    counts = torch.zeros(len(CLASSES), len(CLASSES), dtype=torch.long)
    for start in range(0, len(heads), 16):
        rows = slice(start, start + 16)
        theta = crop_theta(len(heads.rgb[rows]), HEAD_SHARE, 0.0, None)
        rgb = crop(heads.rgb[rows].float() / 255, theta, SIZE).clamp(0, 1)
        truth = crop(heads.mask[rows][:, None].float(), theta, SIZE, "nearest")[:, 0].long()
        with torch.no_grad():
            found = network(rgb * 2 - 1).argmax(1)
        counts += torch.bincount((truth * len(CLASSES) + found).flatten().cpu(), minlength=len(CLASSES) ** 2).view(
            len(CLASSES), -1
        )
    return iou(counts)


def iou(counts: Tensor) -> dict[str, float]:
    """A confusion matrix (truth, found) to the IoU of each class that occurs, and their `mean`."""
    both = counts.diag().double()
    union = counts.sum(0) + counts.sum(1) - both
    present = [k for k in range(len(counts)) if int(counts[k].sum())]
    if not present:
        raise EngineError("no pixel was compared: the faces have no masks")
    found = {CLASSES[k]: round(float(both[k] / union[k]), 4) for k in present}
    return {"mean": round(sum(found.values()) / len(found), 4), **found}


def measured(folder: Path, data: Path, splits: Sequence[str] = ("test",)) -> dict[str, float]:
    """The IoUs of a run on the people of `splits`, who were never trained on."""
    return overlaps(load(folder), Heads(pack.read(data, list(splits), with_mask=True), torch.device("cpu")))
