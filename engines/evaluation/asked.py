"""A run's generator as `audit` asks one from the zoo, so that what is measured is the network that was attacked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from stream_guard.audit.probes import Probe

from ..generators.families import family
from ..generators.target import Target
from ..training import ADOPTED, noted

Array = npt.NDArray[np.float32]


class TargetSession:
    """An inference session over a target in torch: `image` and `condition` to `edited`."""

    backend = "torch"
    inputs: tuple[str, ...] = ("image", "condition")
    outputs: tuple[str, ...] = ("edited",)

    def __init__(self, target: Target) -> None:
        self._target = target

    @torch.no_grad()
    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        image, condition = (torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in self.inputs)
        return {"edited": self._target(image, condition).numpy()}

    def close(self) -> None:
        """Holds nothing."""


def probe_of(name: str, target: Target, title: str, surrogate: bool = True) -> Probe:
    """The probe called `name` over a target, with the target's own conditions."""
    rows = target.conditions.numpy()
    names = tuple(target.condition_names)
    return Probe(name, title, TargetSession(target), names, rows, size=target.size, surrogate=surrogate)


def whose(others: Sequence[str]) -> str:
    """What kind of generators were asked; `others` are the titles of those whose weights were adopted."""
    ours = "our own surrogates, not the published weights"
    return f"{ours}, but for: {'; '.join(others)}" if others else ours


def probe_of_run(folder: Path, target: Target) -> Probe:
    """The probe of a run folder: a surrogate, unless its weights were adopted."""
    facts = noted(folder)
    title = family(facts["name"]).CARD["title"]
    if file := facts.get(ADOPTED):
        return probe_of(folder.name, target, f"{title.removesuffix(' surrogate')}, weights of {file}", surrogate=False)
    return probe_of(folder.name, target, title)
