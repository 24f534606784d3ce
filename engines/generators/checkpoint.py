"""Loading published checkpoints: a report of missing and extra keys; never a pickle with code."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stream_guard.errors import EngineError


@dataclass(frozen=True)
class LoadReport:
    """What a checkpoint and a network did not share. `ok` when the network is wholly filled."""

    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        return not self.missing and not self.mismatched

    def __str__(self) -> str:
        parts = [
            f"{len(keys)} {word} ({', '.join(keys[:4])}{', …' if len(keys) > 4 else ''})"
            for word, keys in (("missing", self.missing), ("extra", self.extra), ("of another shape", self.mismatched))
            if keys
        ]
        return "; ".join(parts) or "every key fits"


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint. Raises EngineError when it is unreadable or would need to run code."""
    state = _read(path)
    if not _is_state_dict(state):
        raise EngineError(f"{path} holds no plain state_dict (a mapping of names to tensors)")
    return state


def read_parts(path: str | Path, names: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """The named state_dicts of a checkpoint that holds several networks; others are left. Raises EngineError."""
    state = _read(path)
    held = sorted(str(key) for key in state) if isinstance(state, dict) else []
    lacking = [name for name in names if name not in held or not _is_state_dict(state[name])]
    if lacking:
        raise EngineError(
            f"{path} has no network {' and no '.join(lacking)}; it holds {', '.join(held[:8]) or 'no names'}"
            f"{', …' if len(held) > 8 else ''}"
        )
    return {name: state[name] for name in names}


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(v, Tensor) for v in value.values())


def _read(path: str | Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise EngineError(f"no checkpoint at {path}") from error
    except pickle.UnpicklingError as error:
        raise EngineError(
            f"{path} is a pickle that would run code when loaded; only plain tensors are read: save its "
            f"state_dict alone"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise EngineError(f"{path} is not a torch checkpoint: {error}") from error


def load_into(
    network: nn.Module, state: dict[str, Tensor], ignore: Callable[[str], bool] = lambda key: False
) -> LoadReport:
    """Fill `network` with what fits, in place; raises EngineError when nothing is left to call it that network."""
    own = network.state_dict()
    state = {key: value for key, value in state.items() if not ignore(key)}
    mismatched = tuple(k for k in state if k in own and own[k].shape != state[k].shape)
    optional = {k for k in own if k.endswith("num_batches_tracked")}
    report = LoadReport(
        missing=tuple(k for k in own if k not in state and k not in optional),
        extra=tuple(k for k in state if k not in own),
        mismatched=mismatched,
    )
    if not report.ok:
        family = type(network).__module__.rpartition(".")[2]
        raise EngineError(f"this checkpoint is not of {family}.{type(network).__qualname__}: {report}")
    network.load_state_dict({k: v for k, v in state.items() if k in own}, strict=False)
    return report


def load_stargan(network: nn.Module, path: str | Path) -> LoadReport:
    """Load the public `200000-G.ckpt` layout (a bare state_dict; `preprocessing` keys are dropped)."""
    return load_into(network, read_state_dict(path), ignore=lambda key: "preprocessing" in key)


def load_ganimation(network: nn.Module, path: str | Path) -> LoadReport:
    """Load the public `NUMBER-EPOCH-G.ckpt` or `-D.ckpt` (a bare state_dict).

    `debug1` to `debug4` name the layers of `main` again. Raises EngineError where the two disagree: not that network.
    """
    state = read_state_dict(path)
    copies = {key: f"main.{key.partition('.')[2]}" for key in state if key.startswith("debug")}
    strange = [key for key, name in copies.items() if name not in state or not torch.equal(state[key], state[name])]
    if strange:
        raise EngineError(f"{path} is not of GANimation: {strange[0]} and {len(strange) - 1} more differ from main")
    return load_into(network, state, ignore=copies.__contains__)


def load_cyclegan(network: nn.Module, path: str | Path) -> LoadReport:
    """Load the public `latest_net_G_A.pth` or `latest_net_D_A.pth` (a bare state_dict).

    Files from before torch 0.4 carry running statistics of norms that have none; they are dropped, as officially.
    """
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return load_into(network, read_state_dict(path), ignore=lambda key: key.endswith(statistics))
