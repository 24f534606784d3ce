"""From a trained network to `zoo/NAME/`: ONNX with a dynamic batch, checked against torch, and its card."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from stream_guard.errors import EngineError

from .packing import packed
from .writing import write_text

OPSET = 17
PARITY_ATOL = 2e-4
"""Largest difference between torch and ONNX Runtime, both float32 on the CPU, over an output of order 1."""

LARGEST_BYTES = 8_000_000
"""Of a file in the zoo: larger ones keep their weights in half precision."""
PACKED_ATOL = 2e-2
"""The same difference where weights were rounded to half precision."""


def use_instance_statistics(network: nn.Module) -> nn.Module:
    """Eval mode that still normalises each image by itself, as the official solver does; for export."""
    for module in network.modules():
        if isinstance(module, nn.InstanceNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = None
    return network.eval()


def to_onnx(network: nn.Module, example: Mapping[str, Tensor], output: str | Sequence[str], path: Path) -> float:
    """Write the network and return the largest difference to torch on `example`; EngineError where it is too large.

    A network with several outputs gives a tuple, in the order of their names. A file above LARGEST_BYTES is packed.
    """
    scratch = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        allowed = _exported(network, example, [output] if isinstance(output, str) else list(output), scratch)
        onnx.checker.check_model(onnx.load(scratch))
        difference = parity(network, example, scratch)
        if difference > allowed:
            raise EngineError(
                f"{path.name} differs from torch by {difference:.2e} (allowed {allowed:.0e}): not exported"
            )
        os.replace(scratch, path)
    except OSError as error:
        raise EngineError(f"{path} could not be written ({error}): make room there; what was there is kept") from error
    finally:
        scratch.unlink(missing_ok=True)
    return difference


def _exported(network: nn.Module, example: Mapping[str, Tensor], outputs: list[str], path: Path) -> float:
    """Write the network; returns how far it may be from torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every fixed shape; `parity` is the check
        torch.onnx.export(
            network,
            tuple(example.values()),
            str(path),
            input_names=list(example),
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in (*example, *outputs)},
            opset_version=OPSET,
            dynamo=False,
        )
    if path.stat().st_size <= LARGEST_BYTES:
        return PARITY_ATOL
    onnx.save(packed(onnx.load(path)), path)
    return PACKED_ATOL


def parity(network: nn.Module, example: Mapping[str, Tensor], path: Path) -> float:
    """Largest absolute difference between torch and ONNX Runtime, on the example and on a batch of one."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for n in (len(next(iter(example.values()))), 1):
        part = {name: value[:n] for name, value in example.items()}
        with torch.no_grad():
            expected = network(*part.values())
        got = session.run(None, {name: value.numpy() for name, value in part.items()})
        for mine, other in zip((expected,) if isinstance(expected, Tensor) else expected, got, strict=True):
            worst = max(worst, float(np.abs(other - mine.numpy()).max()))
    return worst


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """`card.toml` with the model's sha256 filled in. `inputs` and `outputs` are lists of tables, dicts are tables."""
    card = dict(card) | {"sha256": hashlib.sha256((folder / card["file"]).read_bytes()).hexdigest()}
    lines = [f"{key} = {_toml(value)}" for key, value in card.items() if not _is_table(value)]
    for key, value in card.items():
        if _is_table(value):
            for table in value if isinstance(value, list) else [value]:
                lines += ["", f"[[{key}]]" if isinstance(value, list) else f"[{key}]"]
                lines += [f"{k} = {_toml(v)}" for k, v in table.items()]
    write_text(folder / "card.toml", "\n".join(lines) + "\n")


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _toml(value: Any) -> str:
    """Strings, numbers, booleans and lists are written alike in TOML and JSON."""
    return json.dumps(value, ensure_ascii=False)
