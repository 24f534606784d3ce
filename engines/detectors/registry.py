"""The detectors that can be trained, by name, each with the slim settings that a CPU trains in minutes.

`--set width=1 --set size=SIZE` is the published network; sizes are in architectures.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stream_guard.errors import UsageError

from ..training import Run, stored
from . import train_detector
from .architectures import ARCHITECTURES, architecture
from .detector import Detector
from .train_detector import Settings


@dataclass(frozen=True)
class XceptionSettings(Settings):
    width: float = 0.1875
    """channels, as a share of the published network's"""


@dataclass(frozen=True)
class ResNet18Settings(Settings):
    width: float = 0.25
    """channels, as a share of the published network's"""


@dataclass(frozen=True)
class ResNet50Settings(Settings):
    width: float = 0.25
    """channels, as a share of the published network's"""


@dataclass(frozen=True)
class VGG16Settings(Settings):
    width: float = 0.125
    """channels, as a share of the published network's"""
    lr: float = 5e-4


@dataclass(frozen=True)
class MultiAttentionSettings(Settings):
    width: float = 0.25
    """channels, as a share of the published network's; the depth falls with it, to B0's at a quarter"""


@dataclass(frozen=True)
class MesoNetSettings(Settings):
    width: float = 1.0
    """a whole multiple of the published channels"""
    lr: float = 2e-3


class Trainer:
    """A detector as the command line and the tables use it: the same names as a generator family's module."""

    def __init__(self, name: str, settings: type[Settings]) -> None:
        self.name, self.Settings = name, settings
        self.__doc__ = f"Trains a detector: {architecture(name).description}."

    def train(
        self,
        data: Path,
        out: Path,
        minutes: float,
        resume: bool,
        device: str,
        settings: Settings | None = None,
        fakes: Sequence[Path] = (),
        start: Sequence[Path] = (),
        teacher: Path | None = None,
    ) -> Run:
        """Train on a pack and the fakes of the generators in the run folders `fakes`, beginning as the runs `start`."""
        chosen = settings or self.Settings()
        return train_detector.train(self.name, data, out, minutes, resume, device, chosen, fakes, start, teacher)

    def load(self, folder: Path) -> Detector:
        """The run's best weights, calibrated, frozen, in eval mode."""
        return train_detector.load(folder, self.Settings)


TRAINERS: dict[str, Trainer] = {
    trainer.name: trainer
    for trainer in (
        Trainer("resnet18", ResNet18Settings),
        Trainer("resnet18_residue", ResNet18Settings),
        Trainer("resnet18_residue_pair", ResNet18Settings),
        Trainer("xception", XceptionSettings),
        Trainer("resnet50", ResNet50Settings),
        Trainer("vgg16", VGG16Settings),
        Trainer("multi_attention", MultiAttentionSettings),
        Trainer("mesonet", MesoNetSettings),
        Trainer("mesoinception4", MesoNetSettings),
    )
}


def trainer(name: str) -> Trainer:
    """The trainer called `name`. Raises UsageError listing those there are."""
    if name not in TRAINERS:
        raise UsageError(f"{name!r} is no trainable detector; choose one of: {', '.join(sorted(TRAINERS))}")
    return TRAINERS[name]


def detector_of(folder: Path) -> Detector:
    """The detector that a run folder holds, whichever it is: also one that can only be adopted."""
    return train_detector.load(folder, settings_kind(stored(folder).name))


def settings_kind(name: str) -> type[Settings]:
    """What the settings of a run of the detector `name` are. Raises UsageError for what is no detector."""
    if name in ARCHITECTURES and name not in TRAINERS:
        return Settings
    return trainer(name).Settings
