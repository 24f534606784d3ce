"""The generator families by name: what can be trained, and turned into a target for the disrupter and the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from torch import nn

from stream_guard.errors import UsageError

from ..training import Run, stored
from . import train_cyclegan, train_fomm, train_ganimation, train_stargan
from .target import Target


class Family(Protocol):
    """A module `train_NAME`. It passes `name=NAME` to its `Run`, so that the run folder says what it holds.

    `CARD` has the words of its probe's card: title, paper, data, notes (how it was trained, where it is weak) and
    condition (what a row of the input means).
    """

    @property
    def Settings(self) -> type: ...  # noqa: N802 - the modules' own name

    @property
    def CARD(self) -> dict[str, str]: ...  # noqa: N802

    def train(self, data: Path, out: Path, minutes: float, resume: bool, device: str, settings: Any = None) -> Run: ...

    def blank(self, settings: Any, data: Path | None = None) -> dict[str, Any]: ...

    def load(self, folder: Path) -> nn.Module: ...

    def target(self, folder: Path, data: Path | None = None) -> Target: ...


FAMILIES: dict[str, Family] = {
    "cyclegan": train_cyclegan,
    "fomm": train_fomm,
    "ganimation": train_ganimation,
    "stargan": train_stargan,
}


def family(name: str) -> Family:
    """The family called `name`. Raises UsageError listing those there are."""
    if name not in FAMILIES:
        raise UsageError(f"{name!r} is no generator; choose one of: {', '.join(sorted(FAMILIES))}")
    return FAMILIES[name]


def target_of(folder: Path, data: Path | None = None) -> Target:
    """The target that a run folder holds, whatever its family. `data` is a pack, for conditions taken from faces."""
    return family(stored(folder).name).target(folder, data)
