"""Reads the official MesoNet weights (Keras 2, .h5) into `mesonet`'s networks, by layer name, never by order.

The order of the layers in a file is topological: kernels of the same shape would be swapped without an error by a
reader that goes by order. Needs h5py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stream_guard.errors import EngineError

from ..generators.checkpoint import LoadReport, load_into
from .mesonet import Meso4, MesoInception4

LEAVES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""Keras' names of a layer's tensors, and torch's."""

LAYERS = {
    Meso4: {
        "conv2d": ("conv1", "conv2", "conv3", "conv4"),
        "batch_normalization": ("bn1", "bn2", "bn3", "bn4"),
        "dense": ("fc1", "fc2"),
    },
    MesoInception4: {
        "conv2d": (
            *(f"inc{k}.{branch}" for k in (1, 2) for branch in ("b1", "b2a", "b2b", "b3a", "b3b", "b4a", "b4b")),
            "conv3",
            "conv4",
        ),
        "batch_normalization": ("bn1", "bn2", "bn3", "bn4"),
        "dense": ("fc1", "fc2"),
    },
}
"""Our layer for each Keras layer of a kind, in the order of their numbers: Keras numbers them as they are made."""


def load(network: Meso4 | MesoInception4, path: str | Path) -> LoadReport:
    """Fill `network` from an official .h5. Raises EngineError for another file or another network."""
    kinds = LAYERS[type(network)]
    state: dict[str, Tensor] = {}
    groups: dict[str, dict[int, dict[str, np.ndarray]]] = {kind: {} for kind in kinds}
    for kind, number, leaf, value in _datasets(Path(path)):
        groups.setdefault(kind, {}).setdefault(number, {})[leaf] = value
    for kind, layers in groups.items():
        numbers, names = sorted(layers), kinds.get(kind, ())
        if len(numbers) != len(names):
            raise EngineError(
                f"{path} is not of {type(network).__name__}: {len(numbers)} layers {kind!r}, {len(names)} are needed"
            )
        for number, name in zip(numbers, names, strict=True):
            for leaf, value in layers[number].items():
                state[f"{name}.{LEAVES[leaf]}"] = _to_torch(value, leaf, f"{name}.{leaf}" == "fc1.kernel")
    return load_into(network, state)


def _datasets(path: Path) -> Iterator[tuple[str, int, str, np.ndarray]]:
    """(kind of layer, its number, tensor, value) of everything stored. EngineError for what is no Keras file."""
    try:
        import h5py
    except ImportError as error:
        raise EngineError("reading Keras weights needs h5py: pip install stream-guard[train]") from error
    try:
        with h5py.File(path, "r") as file:
            found: list[tuple[str, np.ndarray]] = []
            file.visititems(lambda name, item: found.append((name, item[()])) if hasattr(item, "dtype") else None)
    except FileNotFoundError as error:
        raise EngineError(f"no weights at {path}") from error
    except OSError as error:
        raise EngineError(f"{path} is not an .h5 file: {error}") from error
    for name, value in found:
        parts = re.search(r"([a-z0-9_]+?)_(\d+)/([a-z_]+):0$", name)
        if parts is None or parts[3] not in LEAVES:
            raise EngineError(f"{path} is not of a MesoNet: it holds {name!r}")
        yield parts[1], int(parts[2]), parts[3], value


def _to_torch(value: np.ndarray, leaf: str, flattened: bool) -> Tensor:
    """Kernels become (out, in, height, width) or (out, in); fc1 is fed (height, width, channel) by Keras."""
    if leaf == "kernel" and value.ndim == 4:
        value = value.transpose(3, 2, 0, 1)
    elif leaf == "kernel":
        if flattened:
            side = round((len(value) // 16) ** 0.5)
            value = value.reshape(side, side, 16, -1).transpose(2, 0, 1, 3).reshape(len(value), -1)
        value = value.T
    return torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
