"""Loading published checkpoints: a report of missing and extra keys; never a pickle with code."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

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
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise EngineError(f"no checkpoint at {path}") from error
    except pickle.UnpicklingError as error:
        raise EngineError(
            f"{path} is a pickle that would run code when loaded; only plain tensors are read: save its "
            f"state_dict alone"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise EngineError(f"{path} is not a torch checkpoint: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise EngineError(f"{path} holds no plain state_dict (a mapping of names to tensors)")
    return state


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
        raise EngineError(f"this checkpoint is not of {type(network).__qualname__}: {report}")
    network.load_state_dict({k: v for k, v in state.items() if k in own}, strict=False)
    return report


def load_stargan(network: nn.Module, path: str | Path) -> LoadReport:
    """Load the public `200000-G.ckpt` layout (a bare state_dict; `preprocessing` keys are dropped)."""
    return load_into(network, read_state_dict(path), ignore=lambda key: "preprocessing" in key)
