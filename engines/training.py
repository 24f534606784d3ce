"""What every training run shares: the clock, the device, checkpoints that survive a crash, and a stop on NaN."""

from __future__ import annotations

import json
import math
import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stream_guard.errors import EngineError, UsageError


def pick_device(name: str) -> torch.device:
    """`auto` is the first GPU, or the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("no CUDA device is visible to torch; use --device cpu or auto")
    return torch.device(name)


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@dataclass
class Run:
    """A time-boxed, resumable run in a folder: `state.pt` (tensors and numbers only) and `log.jsonl`.

    `settings` are stored; resuming with others is refused, because the result would be of neither.
    """

    folder: Path
    settings: dict[str, Any]
    minutes: float
    step: int = 0
    seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)
    _saved: float = field(default_factory=time.monotonic)

    @property
    def spent_seconds(self) -> float:
        return self.seconds + time.monotonic() - self.started

    @property
    def progress(self) -> float:
        """0 at the start of this call, 1 at the end of its time box."""
        return min((time.monotonic() - self.started) / (self.minutes * 60), 1.0)

    @property
    def over(self) -> bool:
        return self.progress >= 1.0

    def resume(self, parts: dict[str, Any]) -> None:
        """Load each part's state; raises UsageError when the run was made with other settings."""
        path = self.folder / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["settings"] != json.dumps(self.settings, sort_keys=True):
            raise UsageError(
                f"{path} was trained with {state['settings']}, not {json.dumps(self.settings, sort_keys=True)}: "
                "use the same settings, or another --out"
            )
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
        self.step, self.seconds = state["step"], state["seconds"]

    def save(self, parts: dict[str, Any]) -> None:
        """Write the checkpoint beside the old one and swap them, so that a crash leaves one whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "settings": json.dumps(self.settings, sort_keys=True),
            "parts": {name: part.state_dict() for name, part in parts.items()},
            "step": self.step,
            "seconds": self.spent_seconds,
        }
        torch.save(state, self.folder / "state.tmp")
        os.replace(self.folder / "state.tmp", self.folder / "state.pt")
        self._saved = time.monotonic()

    def tick(self, losses: dict[str, float], parts: dict[str, Any], log_every: int = 50) -> None:
        """Count a step; log and save now and then. Raises EngineError on NaN, leaving the last good checkpoint."""
        bad = [k for k, v in losses.items() if not math.isfinite(v)]
        if bad:
            raise EngineError(
                f"{', '.join(bad)} became NaN or infinite at step {self.step}; the last good checkpoint is kept in "
                f"{self.folder}: lower the learning rate and --resume"
            )
        self.step += 1
        if self.step % log_every == 0:
            self._log(losses)
        if time.monotonic() - self._saved > 60:
            self.save(parts)

    def _log(self, losses: dict[str, float]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        row = {
            "step": self.step,
            "seconds": round(self.spent_seconds, 1),
            **{k: round(v, 5) for k, v in losses.items()},
        }
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)
