"""The methods that the tables compare, all seen as `Treated` faces: none, the disrupter, and attacks on one generator.

The disrupter runs as the product runs it, on every picture of the clip. An attack computes one perturbation for the
original face, which then moves along with it; `float` figures take it as it is, as the papers do.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from stream_guard.errors import UsageError
from stream_guard.inference import Card, Session, find_engine, open_session
from stream_guard.inference.card import load_card
from stream_guard.media import pixels
from stream_guard.stages.disrupt import DisruptOptions, DisruptStage
from stream_guard.types import Box, guard_region, head_region

from ..attacks.base import Linf, Model
from ..attacks.pgd import IFGSM
from ..attacks.through_delivery import ThroughDelivery
from ..attacks.universal import Universal
from ..data.heads import HEAD_SHARE, Heads, crop, crop_theta
from ..data.pack import SIZE, Head
from ..disrupter import delivery
from ..disrupter import train as disrupter_run
from ..disrupter.network import SIZE as NETWORK_SIZE
from ..disrupter.network import shrink
from ..export import OPSET, to_onnx, write_card
from ..generators.target import Target
from ..shipping import BUDGET_PSNR_DB
from ..training import settings_of
from .delivered import Still, clip
from .deliveries import Treated, Treatment
from .methods import YCBCR, disrupter, fixed

WIDTH = 256
"""The width of the face, in pixels, in the picture that attacks and float figures look at."""
BATCH = 8

Tick = Callable[[], None]


def budget_of(card: Card) -> float:
    """The PSNR in dB that a disrupter was trained to leave; the settings on its card say so."""
    settings = json.loads(str(card.results.get("settings", "{}")))
    return float(settings.get("psnr_db", BUDGET_PSNR_DB))


@dataclass(frozen=True)
class Engine:
    """The disrupter under test: its card, a session of ONNX Runtime, and the stage that the product runs."""

    card: Card
    session: Session
    stage: DisruptStage
    folder: tempfile.TemporaryDirectory[str] | None = None
    """Where the export of a run lies, as long as this engine lives."""

    @property
    def budget_psnr_db(self) -> float:
        return budget_of(self.card)

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

    def answer(self, regions: Tensor) -> Tensor:
        """(N, 3, G, G) for guard regions (N, 3, S, S) in [0, 1] of any size."""
        small = shrink(regions, self.card.input_shape("face")[-1])
        return self.delta((small.permute(0, 2, 3, 1) * 255).round().byte().numpy())

    def close(self) -> None:
        self.session.close()
        self.stage.close()
        if self.folder is not None:
            self.folder.cleanup()


def open_engine(source: str | Path | None, threads: int = 1) -> Engine:
    """A disrupter by its zoo name, or the folder of an exported one or of a run; None is the zoo's default."""
    folder = None
    if source is not None and (Path(source) / "state.pt").exists():
        folder = exported(Path(source))
        card = load_card(Path(folder.name))
    elif source is not None and Path(source).is_dir():
        card = load_card(Path(source))
    else:
        card = find_engine(source, "disrupter")
    return Engine(card, open_session(card, "onnxruntime", threads=threads), open_stage(card, threads=threads), folder)


def open_stage(card: Card, **options: int) -> DisruptStage:
    """The product's stage with this engine in ONNX Runtime and other options as they come."""
    values = {"engine": str(card.model_path), "backend": "onnxruntime", **options}
    stage = DisruptStage(DisruptOptions.model_validate(values))
    stage.open()
    return stage


def exported(run: Path) -> tempfile.TemporaryDirectory[str]:
    """A run of the disrupter as the runtime takes it: ONNX and a card, in a folder that goes with what is returned."""
    settings, network = settings_of(run, disrupter_run.Settings), disrupter_run.load(run)
    folder = tempfile.TemporaryDirectory(prefix="stream-guard-")
    face, epsilon = torch.rand(2, 3, NETWORK_SIZE, NETWORK_SIZE), settings.epsilon_levels / 255
    to_onnx(network, {"face": face}, "delta", Path(folder.name) / "model.onnx")
    with torch.no_grad():
        grid = network(face).shape[-1]
    sides = ("face", NETWORK_SIZE, [0, 1], "RGB guard region"), ("delta", grid, [-epsilon, epsilon], "Y, Cb, Cr")
    inputs, outputs = (
        [{"name": name, "shape": [-1, 3, side, side], "range": span, "meaning": meaning}]
        for name, side, span, meaning in sides
    )
    card = {
        "name": run.resolve().name,
        "kind": "disrupter",
        "title": "a run of the disrupter, exported to be measured",
        "file": "model.onnx",
        "opset": OPSET,
        "licence": "not for distribution",
        "epsilon": epsilon,
        "inputs": inputs,
        "outputs": outputs,
        "results": {"settings": json.dumps(asdict(settings))},
    }
    write_card(Path(folder.name), card)
    return folder


def none(stills: Sequence[Still]) -> Treated:
    """The control: delivered like the others, without a perturbation."""
    return Treated("none", [Treatment(None, lambda size: torch.zeros(3, size, size)) for _ in stills])


def ours(engine: Engine, stills: Sequence[Still]) -> Treated:
    """The disrupter. Its name is the card's hash, so that several may share one cache."""
    size = engine.card.input_shape("face")[-1]
    faces = np.stack([_read(still, guard_region, size) for still in stills])
    deltas = torch.cat([engine.delta(faces[i : i + BATCH]) for i in range(0, len(faces), BATCH)])
    treatments = [Treatment(disrupter(engine.stage, k), _spread(delta)) for k, delta in enumerate(deltas)]
    return Treated(f"ours {engine.card.sha256[:8]}", treatments)


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
    name: str,
    engine: Engine,
    targets: Sequence[Target],
    stills: Sequence[Still],
    iterations: int,
    seed: int,
    tick: Tick,
) -> Treated:
    """PGD through the codec with the disrupter's own grid and budget: what any network of its kind could reach.

    With several targets one perturbation must serve against all, as the disrupter's must.
    """
    attack = ThroughDelivery(engine.budget_psnr_db, engine.epsilon, iterations, seed=seed, grid=engine.grid)
    device, rows = targets[0].conditions.device, targets[0].conditions if len(targets) == 1 else None
    treatments = []
    for start in range(0, len(stills), BATCH):
        part = stills[start : start + BATCH]
        regions = torch.stack([_planes(_read(still, guard_region, SIZE)) for still in part])
        for delta in attack(list(targets), regions.to(device), rows, engine.answer(regions)).cpu():
            treatments.append(Treatment(fixed(delta.numpy(), guard_region), _spread(delta)))
            tick()
    return Treated(name, treatments)


def universal(delta: Tensor, stills: Sequence[Still]) -> Treated:
    """One perturbation (3, S, S) on [-1, 1] for every head, as CMUA's."""
    return Treated("universal", [_pixelwise(delta) for _ in stills])


def fit_universal(budget: Linf, targets: Sequence[Target], heads: Sequence[Head], seed: int, tick: Tick) -> Tensor:
    """(3, S, S) on [-1, 1] at the smallest target's size, after batches of heads, each under its own conditions."""
    attack, size = Universal(budget, seed=seed), min(target.size for target in targets)
    theta = crop_theta(len(heads), HEAD_SHARE, 0.0, None)
    x = crop(Heads(list(heads), torch.device("cpu")).rgb.float() / 255, theta, size).clamp(0, 1) * 2 - 1
    for number, start in enumerate(range(0, len(x), BATCH)):
        part = x[start : start + BATCH].to(targets[0].conditions.device)
        attack.fit([_resizing(target, number, len(part)) for target in targets], [part])
        for _ in part:
            tick()
    if attack.delta is None:
        raise UsageError("the universal perturbation needs at least one training face")
    return attack.delta.cpu()


def _resizing(target: Target, number: int, count: int) -> Model:
    """The target under one of its conditions, fed at its own size."""
    row = target.conditions[number % len(target.conditions)].expand(count, -1)
    return lambda image: target(delivery.resize(image, target.size), row)


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
