"""Tiny ONNX engines made on the spot, each with its card; named for how they behave."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

EPSILON = 8 / 255
BEHAVIOURS = ("waves", "follows", "zero", "nan", "overrun")
"""waves: the same soft pattern for every face; follows: depends on the face; overrun: exceeds its epsilon fivefold."""

_CARD = """\
name = "{name}"
kind = "disrupter"
title = "A {behaviour} engine for tests"
file = "model.onnx"
sha256 = "{sha256}"
opset = 13
licence = "Apache-2.0"
epsilon = "{epsilon}"
default = {default}
data = "none"

[[inputs]]
name = "face"
shape = [-1, 3, {size}, {size}]
range = [0.0, 1.0]
meaning = "RGB of the guard region"

[[outputs]]
name = "delta"
shape = [-1, 3, {grid}, {grid}]
meaning = "Y, Cb, Cr"
"""


def write_disrupter(
    folder: Path,
    behaviour: str = "waves",
    *,
    name: str = "tiny",
    size: int = 128,
    grid: int = 64,
    epsilon: str = "8/255",
    default: bool = True,
) -> Path:
    """An engine's folder `folder/name` with model.onnx and card.toml; returns it."""
    made = folder / name
    made.mkdir(parents=True, exist_ok=True)
    model = disrupter_model(behaviour, size, grid)
    (made / "model.onnx").write_bytes(model)
    text = _CARD.format(
        name=name,
        behaviour=behaviour,
        sha256=hashlib.sha256(model).hexdigest(),
        epsilon=epsilon,
        default=str(default).lower(),
        size=size,
        grid=grid,
    )
    (made / "card.toml").write_text(text, encoding="utf-8")
    return made


def disrupter_model(behaviour: str = "waves", size: int = 128, grid: int = 64) -> bytes:
    """face (N, 3, size, size) to delta (N, 3, grid, grid)."""
    factor = size // grid
    pool = helper.make_node("AveragePool", ["face"], ["small"], kernel_shape=[factor] * 2, strides=[factor] * 2)
    nodes, constants = {
        "waves": (_scaled_by_zero_plus("pattern"), {"pattern": waves(grid)}),
        "overrun": (_scaled_by_zero_plus("pattern"), {"pattern": 5 * waves(grid)}),
        "zero": (_scaled_by_zero_plus("pattern"), {"pattern": np.zeros((1, 3, grid, grid), np.float32)}),
        "nan": (_scaled_by_zero_plus("pattern"), {"pattern": np.full((1, 3, grid, grid), np.nan, np.float32)}),
        "follows": (_bent(), {"half": np.float32(0.5), "epsilon": np.float32(EPSILON)}),
    }[behaviour]
    graph = helper.make_graph(
        [pool, *nodes],
        behaviour,
        [helper.make_tensor_value_info("face", TensorProto.FLOAT, ["n", 3, size, size])],
        [helper.make_tensor_value_info("delta", TensorProto.FLOAT, ["n", 3, grid, grid])],
        [numpy_helper.from_array(np.asarray(value, np.float32), key) for key, value in constants.items()]
        + [numpy_helper.from_array(np.float32(0), "nought")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def waves(grid: int) -> np.ndarray:
    """(1, 3, grid, grid): a soft pattern whose peak is EPSILON in each channel."""
    at = (np.arange(grid) + 0.5) / grid * 2 * np.pi
    down, across = np.meshgrid(at, at, indexing="ij")
    channels = [np.sin(3 * down) * np.sin(2 * across), np.sin(down + across), np.cos(2 * across - down)]
    return (EPSILON * np.stack(channels)[None]).astype(np.float32)


def _scaled_by_zero_plus(constant: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Mul", ["small", "nought"], ["none"]),
        helper.make_node("Add", ["none", constant], ["delta"]),
    ]


def _bent() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Sub", ["small", "half"], ["centred"]),
        helper.make_node("Tanh", ["centred"], ["bent"]),
        helper.make_node("Mul", ["bent", "epsilon"], ["delta"]),
    ]
