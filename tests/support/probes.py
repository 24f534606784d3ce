"""A face editor of one line as an ONNX engine with its card: it makes contrast, and so magnifies any perturbation."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

NAME = "contrast"
TITLE = "Contrast, a test generator"


def write_probe(
    folder: Path, *, gain: float = 8.0, size: int = 32, kind: str = "generator", card_extra: str = ""
) -> Path:
    """`edited = clip(gain * image + sum(condition), -1, 1)`, as the folder of an engine."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes = [
        helper.make_node("ReduceSum", ["condition", "axes"], ["total"], keepdims=1),
        helper.make_node("Reshape", ["total", "shape"], ["offset"]),
        helper.make_node("Mul", ["image", "gain"], ["loud"]),
        helper.make_node("Add", ["loud", "offset"], ["moved"]),
        helper.make_node("Clip", ["moved", "low", "high"], ["edited"]),
    ]
    constants = {
        "axes": np.array([1], np.int64),
        "shape": np.array([-1, 1, 1, 1], np.int64),
        "gain": np.array(gain, np.float32),
        "low": np.array(-1, np.float32),
        "high": np.array(1, np.float32),
    }
    picture = ["N", 3, size, size]
    graph = helper.make_graph(
        nodes,
        NAME,
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, picture),
            helper.make_tensor_value_info("condition", TensorProto.FLOAT, ["N", 2]),
        ],
        [helper.make_tensor_value_info("edited", TensorProto.FLOAT, picture)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    data = model.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    (folder / "card.toml").write_text(_card(data, size, kind) + card_extra, encoding="utf-8")
    return folder


def _card(model: bytes, size: int, kind: str) -> str:
    return f"""
name = "{NAME}"
kind = "{kind}"
title = "{TITLE}"
file = "model.onnx"
sha256 = "{hashlib.sha256(model).hexdigest()}"
opset = 17
licence = "Apache-2.0"
evaluation_only = true
[[inputs]]
name = "image"
shape = [-1, 3, {size}, {size}]
range = [-1, 1]
meaning = "RGB"
[[inputs]]
name = "condition"
shape = [-1, 2]
meaning = "offsets that are added up"
[[outputs]]
name = "edited"
shape = [-1, 3, {size}, {size}]
range = [-1, 1]
meaning = "RGB"
[conditions]
names = ["Darker", "As it is"]
rows = [[-0.25, 0.0], [0.25, -0.25]]
"""
