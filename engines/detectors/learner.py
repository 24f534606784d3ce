"""What learning to tell two classes of pictures apart shares: remembered groups, a running mean, the best on val.

Making a group costs more than learning from it, so that each is seen `reuse` times, in other company and mirrored at
random. What counts is the weights' running mean, at its best by the log loss on the val split's people, whose
temperature is then fitted.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from stream_guard.errors import EngineError, UsageError

from ..norms import settle
from ..settings import sized
from ..training import IMPORTED, Run, draw_on, load_part, settings_of, stored
from .architectures import PAIRED, architecture
from .calibration import temperature
from .detector import Detector
from .memory import Memory
from .pair import Pair
from .residue import BESIDE
from .widening import widened

GROUP = 8
"""Pictures that share how they were made and a path; a batch is some of these groups."""
VAL_GROUPS = 48
WARM_UP = 400
"""Steps in which the learning rate rises: fewer undo much of what a run began with."""
SETTLED_ON = 16
"""Groups on which norms are settled."""
CHECKS = 8
"""How many times in a call the val split is looked at."""
MEAN = 0.998
"""Decay of the weights' running mean: about the last 500 steps, fewer while there are few."""

Group = tuple[Tensor, Tensor]
"""Pictures (GROUP, 3, size, size) in [-1, 1] and their labels (GROUP,), or probabilities of them (GROUP, 2)."""


@dataclass(frozen=True)
class Settings:
    width: float = 1.0
    """channels, as a share of the published network's"""
    size: int = 128
    """side of the network's input in pixels"""
    batch: int = 32
    """pictures a step, half of either class; a multiple of 8"""
    lr: float = 1e-3
    weight_decay: float = 0.02
    reuse: int = 4
    """how many batches see a group of pictures; 1 on a GPU"""
    half: bool = False
    """convolutions in bfloat16 on a processor too: sooner where it has instructions for that, but for ResNet50"""
    last: bool = False
    """the weights' running mean at the end of each call counts, not the best that val saw"""
    seed: int = 0

    def check(self) -> None:
        """Raises UsageError for values that no run can have."""
        sized(self.size, 32)
        if self.batch < GROUP or self.batch % GROUP:
            raise UsageError(f"batch={self.batch}: pictures come in groups of {GROUP}, so it must be a multiple")
        if self.reuse < 1:
            raise UsageError(f"reuse={self.reuse}: each group is seen at least once, so it must be 1 or more")


class Best:
    """The weights with the least loss on val so far; `calibrated` once a run's end has set what they answer with."""

    def __init__(self, detector: Detector) -> None:
        self.loss, self.step, self.calibrated = math.inf, 0, False
        self.detector = copy.deepcopy(detector).eval().requires_grad_(False)

    def offer(self, detector: Detector, loss: float, step: int) -> None:
        if loss < self.loss:
            self.loss, self.step = loss, step
            self.detector.load_state_dict(detector.state_dict())

    def published(self) -> None:
        """Its weights are finished ones, never measured here."""
        self.loss, self.calibrated = 0.0, True

    def state_dict(self) -> dict[str, Any]:
        about = {"loss": self.loss, "step": self.step, "calibrated": self.calibrated}
        return {**about, "detector": self.detector.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loss, self.step, self.calibrated = state["loss"], state["step"], state.get("calibrated", True)
        self.detector.load_state_dict(state["detector"])


@dataclass
class _Weights:
    """Takes the best weights out of a run's part, widened if need be; the temperature is fitted anew.

    What stands beside the network in question (`residue`) keeps its own weights where the run has none.
    """

    detector: Detector

    def load_state_dict(self, state: dict[str, Any]) -> None:
        rng = torch.Generator().manual_seed(0)
        own = self.detector.state_dict()
        beside = {key: value for key, value in own.items() if key.startswith(f"network.{BESIDE}")}
        self.detector.load_state_dict(widened({**beside, **state["detector"]}, own, rng))
        self.detector.temperature.fill_(1.0)


class Learner(ABC):
    """A detector that learns from the groups that `made` gives and is judged on those of `held_out`."""

    def __init__(self, detector: Detector, settings: Settings, device: torch.device) -> None:
        self.device, self.half, self.width = device, settings.half or device.type == "cuda", settings.width
        self.seed, self.rng = settings.seed, torch.Generator().manual_seed(settings.seed)
        # Several times as fast on a processor.
        self.detector = detector.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.opt = torch.optim.AdamW(self.detector.parameters(), settings.lr, weight_decay=settings.weight_decay)
        self.mean = AveragedModel(self.detector, avg_fn=running_mean, use_buffers=True)
        self.memory = Memory(self.made, settings.batch // GROUP, settings.reuse)
        self.best = Best(self.detector)
        self.val: list[Group] = []

    @abstractmethod
    def made(self) -> Group:
        """A group of the train split."""

    @abstractmethod
    def held_out(self, rng: torch.Generator) -> Group:
        """A group of the val split."""

    def ready(self) -> None:
        """Make the val groups: the same at each look."""
        rng = torch.Generator().manual_seed(1)
        self.val = [self.held_out(rng) for _ in range(VAL_GROUPS)]

    @property
    def parts(self) -> dict[str, Any]:
        return {"detector": self.detector, "opt": self.opt, "mean": self.mean, "best": self.best}

    def start(self, folders: Sequence[Path]) -> None:
        """Begin with the best weights of other runs of the same network, of this width or a whole part of it.

        Of several, each begun with the one before, the mean (model soups, Wortsman et al., ICML 2022,
        https://arxiv.org/abs/2203.05482): it errs less than any where they overfit apart. A pair may begin with two
        runs of what it is a pair of.
        """
        draw_on(self.rng, self.seed, folders)
        if joins(self.detector.name, folders):
            pair = cast(Pair, self.detector.network)
            for place, folder in zip((pair.first, pair.second), folders, strict=True):
                place.load_state_dict(self._weights(folder, PAIRED[self.detector.name]).network.state_dict())
        else:
            found = [self._weights(folder, self.detector.name).state_dict() for folder in folders]
            self.detector.load_state_dict(
                {key: torch.stack([f[key].float() for f in found]).mean(0).to(v.dtype) for key, v in found[0].items()}
            )
        self.mean.module.load_state_dict(self.detector.state_dict())

    def _weights(self, folder: Path, name: str) -> Detector:
        """The best weights of a run as a network `name` of this learner's width and size; norms out of the zoo settled.

        Those have not the statistics of what is learned from: an exporter folds them away.
        """
        detector = architecture(name).detector(self.width, self.detector.size).to(self.device).eval()
        load_part(folder, "best", _Weights(detector))  # type: ignore[arg-type]  # loads like a module
        check_chosen(folder)
        if any(IMPORTED in note for note in stored(folder).notes):
            pictures = torch.cat([self.made()[0] for _ in range(SETTLED_ON)])
            norms = [m for m in detector.modules() if isinstance(m, nn.BatchNorm2d)]
            settle(norms, lambda: detector(pictures))
        return detector

    def batch(self) -> tuple[Tensor, Tensor]:
        return self.memory.batch(self.rng)

    def step(self) -> dict[str, float]:
        x, y = self.batch()
        self.detector.train()
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            logits = self.detector(x)
        loss = F.cross_entropy(logits.float(), y)
        self.opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.detector.parameters(), 1.0)
        self.opt.step()
        self.mean.update_parameters(self.detector)
        label = y if y.ndim == 1 else y.argmax(1)
        return {"loss": loss.item(), "right": (logits.argmax(1) == label).float().mean().item()}

    @torch.no_grad()
    def answers(self, detector: Detector, groups: Sequence[Group] | None = None) -> tuple[Tensor, Tensor]:
        """(logits, labels) of groups, or of the val groups."""
        detector.eval()
        found = self.val if groups is None else groups
        return torch.cat([detector(x) for x, _ in found]), torch.cat([y for _, y in found])

    def look(self, step: int) -> float:
        """Log loss of the weights' mean on val; the best are kept."""
        mean = cast(Detector, self.mean.module)
        loss = F.cross_entropy(*self.answers(mean)).item()
        self.best.offer(mean, loss, step)
        return loss

    def renew(self) -> None:
        """The val fakes of this call may be others than before: the best weights, if any, are judged on them anew."""
        if self.best.loss == math.inf:
            return
        self.best.calibrated = False
        self.best.detector.temperature.fill_(1.0)
        self.best.loss = F.cross_entropy(*self.answers(self.best.detector)).item()

    def usual(self) -> list[Group]:
        """Groups of the val split as most content comes: those that the temperature is fitted on."""
        return self.val

    def calibrate(self) -> None:
        self.best.detector.temperature.fill_(1.0)
        self.best.detector.temperature.fill_(temperature(*self.answers(self.best.detector, self.usual())))


def joins(name: str, folders: Sequence[Path]) -> bool:
    """Whether the detector `name` is a pair that takes each half from one of these runs.

    Raises UsageError where there are not two.
    """
    if name not in PAIRED or all(stored(folder).name == name for folder in folders):
        return False
    if len(folders) != 2:
        raise UsageError(f"{name} begins with two runs of {PAIRED[name]}, or with its own; --start has {len(folders)}")
    return True


def running_mean(mean: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
    """The next running mean of one tensor after `count` of them; whole numbers (counters) are taken as they are."""
    if not mean.is_floating_point():
        return current
    decay = min(MEAN, (1 + float(count)) / (10 + float(count)))
    return mean + (1 - decay) * (current - mean)


def fit(learner: Learner, run: Run, settings: Settings, resume: bool) -> Run:
    """Learn until the run is over; checkpoints, looks at val, calibrates and saves."""
    learner.ready()
    if resume:
        run.resume(learner.parts, learner.rng)
        if run.step:
            learner.renew()
    looks = 0
    mean: dict[str, float] = {}
    val = float("nan")
    for _ in run.steps(learner.parts):
        for group in learner.opt.param_groups:
            group["lr"] = settings.lr * min(1.0, (1 + run.step) / WARM_UP, 1.45 * (1 - run.progress) + 0.01)
        report = learner.step()
        mean = {k: 0.97 * mean.get(k, v) + 0.03 * v for k, v in report.items()}
        run.tick(mean | ({"val": val} if looks else {}), learner.parts)
        if run.progress * CHECKS >= looks + 1:
            looks += 1
            val = learner.look(run.step)
    loss = learner.look(run.step)
    if settings.last:
        learner.best.loss = math.inf
        learner.best.offer(cast(Detector, learner.mean.module), loss, run.step)
    learner.calibrate()
    learner.best.calibrated = True
    run.save(learner.parts)
    return run


def load(folder: Path, kind: type[Settings], network: str = "") -> Detector:
    """The best weights of a run, calibrated, frozen, in eval mode; `network` where the run is not named after it.

    Raises EngineError for a run that was stopped before its end, and never went on to one.
    """
    settings = settings_of(folder, kind)
    detector = architecture(network or stored(folder).name).detector(settings.width, settings.size)
    holder = Best(detector)
    load_part(folder, "best", holder)  # type: ignore[arg-type]  # loads like a module
    check_chosen(folder)
    if not holder.calibrated:
        raise EngineError(
            f"the run in {folder} was stopped before its end, where temperature and threshold are set: what it calls "
            "real means nothing yet; end it (train --resume, --minutes 0 sets only these)"
        )
    return holder.detector


def check_chosen(folder: Path) -> None:
    """Raises EngineError for a run stopped before its first look at val: its "best" weights are those it began with."""
    if stored(folder).parts["best"]["loss"] == math.inf:
        raise EngineError(
            f"the run in {folder} was stopped before its weights were judged for the first time, an eighth into its "
            "minutes: there are no best ones yet; go on with it (train --resume)"
        )
