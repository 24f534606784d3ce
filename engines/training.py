"""What every training run shares: the clock, the device, checkpoints that survive a crash, and a stop on NaN."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pickle
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from stream_guard.commands.stopping import Interrupted, stopping
from stream_guard.errors import EngineError, UsageError

S = TypeVar("S")

UNNAMED = "stargan"
"""What a run folder holds that was written before runs carried their name, unless it has the disrupter's part `p`."""

ADOPTED = "adopted"
"""The note of a run whose weights were published by others (`python -m engines adopt`): `file` and `sha256`."""
IMPORTED = "imported"
"""The note of a run whose weights come from the zoo (`python -m engines import`), by the engine's name."""

DEVICES = ("cpu", "cuda")

QUIET_SECONDS = 30.0
"""A run with long steps logs at least this often."""


def pick_device(name: str) -> torch.device:
    """`auto` is the first GPU, or the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("no CUDA device is visible to torch; use --device cpu or auto")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"no device is called {name!r}; use --device auto, cpu or cuda") from error
    if device.type not in DEVICES:
        raise UsageError(f"training runs on a processor or a CUDA GPU, not on {name!r}; use --device auto, cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"torch sees {torch.cuda.device_count()} CUDA device(s), cuda:0 the first; got {name!r}")
    return device


def weights_sum(network: torch.nn.Module) -> float:
    """Tells one training's weights from another's."""
    return round(float(sum(p.double().abs().sum() for p in network.parameters())), 6)


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@dataclass(frozen=True)
class Stored:
    """What a run folder holds: the trained network's name, its settings, each part's state, steps and seconds spent.

    `notes` has a row for each call that was noted differently: what was given to it, and from which step on.
    """

    name: str
    settings: dict[str, Any]
    parts: dict[str, Any]
    step: int
    seconds: float
    notes: list[dict[str, Any]]


def stored(folder: Path) -> Stored:
    """The last checkpoint of a run. Raises UsageError where there is no run, EngineError where it is unreadable."""
    path = folder / "state.pt"
    if not path.exists():
        raise UsageError(
            f"{folder} is no run folder (no state.pt): train one with: python -m engines train NAME --out DIR"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return Stored(
            str(state.get("name") or ("disrupter" if "p" in state["parts"] else UNNAMED)),
            json.loads(state["settings"]),
            state["parts"],
            int(state["step"]),
            float(state["seconds"]),
            json.loads(state.get("notes", "[]")),
        )
    except pickle.UnpicklingError as error:
        raise EngineError(f"{path} is a pickle that would run code when loaded: no checkpoint of a run") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"{path} is not a readable checkpoint of a run ({error})") from error


def settings_of(folder: Path, kind: type[S]) -> S:
    """The settings that a run was trained with; those it did not know yet keep their defaults.

    Raises EngineError where the run has settings that `kind` has not: it is of another network, or of another version.
    """
    return as_settings(stored(folder).settings, kind, str(folder))


def as_settings(found: dict[str, Any], kind: type[S], of: str) -> S:
    """Stored settings, those of the run or card `of`, as `kind`. Raises EngineError for settings that it has not."""
    known = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(found) - known):
        raise EngineError(f"{of} was trained with settings that are not known here: {', '.join(unknown)}")
    return kind(**found)


def noted(folder: Path) -> dict[str, Any]:
    """What another run notes of this one: its name, steps and settings, and the file whose weights it adopted."""
    found = stored(folder)
    origin = found.notes[-1].get(ADOPTED) if found.notes else None
    facts = {"name": found.name, "steps": found.step, "settings": found.settings}
    return facts | ({ADOPTED: origin["file"]} if origin else {})


def load_part(folder: Path, part: str, network: torch.nn.Module) -> None:
    """Fill a network from a run's checkpoint; raises EngineError when the run holds another one."""
    found, kind = stored(folder), type(network).__qualname__.lstrip("_")
    if part not in found.parts:
        raise EngineError(f"the run in {folder} is of {found.name!r}, not of {kind}: name another run folder")
    try:
        network.load_state_dict(found.parts[part])
    except (RuntimeError, KeyError, ValueError) as error:
        raise EngineError(
            f"the run in {folder} has weights of {found.name!r} that do not fit {kind} as it is set here, such as: "
            f"{str(error).strip().splitlines()[-1].strip()} Set what it was trained with, or name another run folder"
        ) from error


def draw_on(rng: torch.Generator, seed: int, starts: Sequence[Path]) -> None:
    """Let `rng` draw otherwise than the runs that this one begins with drew: more of the same teaches less."""
    rng.manual_seed(seed + max((stored(folder).step for folder in starts), default=0))


@dataclass
class Run:
    """A time-boxed, resumable run in a folder: `state.pt` (tensors and numbers only) and `log.jsonl`.

    `name` and `settings` are stored; resuming with others is refused, because the result would be of neither. `notes`
    (plain values) are stored beside them, and may differ from call to call.
    """

    folder: Path
    settings: dict[str, Any]
    minutes: float
    step: int = 0
    seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)
    _saved: float = field(default_factory=time.monotonic)
    _logged: float = field(default_factory=time.monotonic)
    _kept: bool = False
    name: str = ""
    notes: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    """What an older checkpoint is taken to have for settings that it did not know yet."""
    _noted: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.notes:
            self._noted = [{**self.notes, "from_step": 0}]

    @classmethod
    def of(cls, folder: Path, settings: Any, minutes: float, name: str, notes: dict[str, Any] | None = None) -> Run:
        """A run of a dataclass of settings, all of which have defaults."""
        run = cls(folder, dataclasses.asdict(settings), minutes, name=name, notes=notes or {})
        run.defaults = dataclasses.asdict(type(settings)())
        return run

    @property
    def spent_seconds(self) -> float:
        return self.seconds + time.monotonic() - self.started

    @property
    def progress(self) -> float:
        """0 at the start of this call, 1 at the end of its time box."""
        if self.minutes <= 0:
            return 1.0
        return min((time.monotonic() - self.started) / (self.minutes * 60), 1.0)

    @property
    def over(self) -> bool:
        return self.progress >= 1.0

    def resume(self, parts: dict[str, Any], rng: torch.Generator) -> None:
        """Load each part's state, where there is one, and let `rng` draw otherwise than in the calls before.

        Raises UsageError when the run is of another network or settings, EngineError for a state that does not fit.
        """
        if not (self.folder / "state.pt").exists():
            return
        state = stored(self.folder)
        if self.name and state.name != self.name:
            raise UsageError(f"{self.folder} holds a run of {state.name!r}, not of {self.name!r}: use another --out")
        before = {**self.defaults, **state.settings}
        if json.dumps(before, sort_keys=True) != json.dumps(self.settings, sort_keys=True):
            raise UsageError(
                f"{self.folder} was trained with other settings ({_changes(before, self.settings)}): "
                "use the same settings, or another --out"
            )
        if lacking := sorted(set(parts) - set(state.parts)):
            raise EngineError(
                f"the checkpoint in {self.folder} has no part {lacking[0]!r} (one that was imported has weights "
                "alone): begin another run with its weights (--start), where that network takes it"
            )
        try:
            for name, part in parts.items():
                part.load_state_dict(state.parts[name])
        except (RuntimeError, KeyError, ValueError) as error:
            raise EngineError(f"the checkpoint in {self.folder} does not fit this network: {error}") from error
        self.step, self.seconds, self._kept = state.step, state.seconds, True
        rng.manual_seed(int(self.settings.get("seed", 0)) + self.step)
        same = bool(state.notes) and {**state.notes[-1], "from_step": 0} == {**self.notes, "from_step": 0}
        self._noted = state.notes + ([] if same or not self.notes else [{**self.notes, "from_step": self.step}])

    def save(self, parts: dict[str, Any]) -> None:
        """Write the checkpoint beside the old one and swap them, so that a crash leaves one whole.

        Raises EngineError for weights that are not finite, which a last step can leave behind a finite loss, and where
        there is no room; the old one is kept.
        """
        states = {name: part.state_dict() for name, part in parts.items()}
        if bad := [name for name, state in states.items() if not _finite(state)]:
            raise self._lost(f"the weights of {', '.join(bad)}")
        state = {
            "name": self.name,
            "settings": json.dumps(self.settings, sort_keys=True),
            "parts": states,
            "step": self.step,
            "seconds": self.spent_seconds,
            "notes": json.dumps(self._noted),
        }
        scratch = self.folder / "state.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            torch.save(state, scratch)
            os.replace(scratch, self.folder / "state.pt")
        except (OSError, RuntimeError) as error:  # torch says of a full disk that a position is unexpected
            scratch.unlink(missing_ok=True)
            raise EngineError(
                f"the checkpoint could not be written to {self.folder} ({error}): make room there; an earlier one is "
                "kept, and --resume goes on from it"
            ) from error
        self._saved, self._kept = time.monotonic(), True

    def steps(self, parts: dict[str, Any]) -> Iterator[int]:
        """The number of each step until the run is over: what every training loops over.

        A signal that ends a command is heard between two steps: what was learned is saved, and Interrupted raised. A
        second one acts as if nobody listened, and leaves the last checkpoint.
        """
        with stopping() as stop:
            while not self.over:
                yield self.step
                if stop.is_set():
                    self.save(parts)
                    raise Interrupted(f"stopped; {self.folder} keeps step {self.step}: --resume goes on from it")

    def tick(self, losses: dict[str, float], parts: dict[str, Any], log_every: int = 50) -> None:
        """Count a step; log now and then, save at a new run's first step and then once a minute.

        Raises EngineError on NaN, leaving the last good checkpoint.
        """
        if bad := [k for k, v in losses.items() if not math.isfinite(v)]:
            raise self._lost(", ".join(bad))
        self.step += 1
        if self.step % log_every == 0 or time.monotonic() - self._logged > QUIET_SECONDS:
            self._log(losses)
        if not self._kept or time.monotonic() - self._saved > 60:
            self.save(parts)

    def _lost(self, what: str) -> EngineError:
        kept = (self.folder / "state.pt").exists()
        return EngineError(
            f"{what} became NaN or infinite at step {self.step}; "
            + (f"the last good checkpoint is kept in {self.folder}" if kept else "there is no checkpoint yet")
            + ": train with a lower learning rate (--set lr=...) into another --out"
            + (f", from there where that network takes --start {self.folder}" if kept else "")
        )

    def _log(self, losses: dict[str, float]) -> None:
        self._logged = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        row = {
            "step": self.step,
            "seconds": round(self.spent_seconds, 1),
            **{k: round(v, 5) for k, v in losses.items()},
        }
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)


def _finite(state: dict[str, Any]) -> bool:
    """Whether a network's state is; an optimiser's has no tensors at this level."""
    return all(bool(v.isfinite().all()) for v in state.values() if isinstance(v, torch.Tensor))


def _changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Which settings differ, as `key was 1, now 2`."""
    keys = sorted(set(before) | set(now))
    return "; ".join(
        f"{k} was {before.get(k, 'unknown')}, now {now.get(k, 'unknown')}" for k in keys if before.get(k) != now.get(k)
    )
