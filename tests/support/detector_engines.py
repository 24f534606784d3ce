"""Tiny ONNX deepfake detectors made on the spot, each with its card; named for how they behave."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

_CARD = """\
name = "{name}"
kind = "detector"
title = "A {behaviour} detector for tests"
file = "model.onnx"
sha256 = "{sha256}"
opset = 13
licence = "Apache-2.0"
default = true
data = "none"
{crop}
[[inputs]]
name = "image"
shape = [-1, 3, {size}, {size}]
range = [-1.0, 1.0]

[[outputs]]
name = "{output}"
shape = [-1, 2]
meaning = "fake, real"
"""

GAIN = 6.0
"""Log-odds of `bright` at a white picture; at black the negative."""


def write_detector(
    folder: Path, behaviour: str = "bright", *, name: str = "tiny-detector", size: int = 32, crop: str = "crop = 1.3"
) -> Path:
    """An engine's folder `folder/name`. bright: the brighter the face, the more it is a fake; nan: no numbers;
    fails: raises when it is run; three: gives three logits; misnamed: its output has another name."""
    made = folder / name
    made.mkdir(parents=True, exist_ok=True)
    model = _model(behaviour, size)
    (made / "model.onnx").write_bytes(model)
    text = _CARD.format(
        name=name,
        behaviour=behaviour,
        sha256=hashlib.sha256(model).hexdigest(),
        size=size,
        crop=crop,
        output=_output(behaviour),
    )
    (made / "card.toml").write_text(text, encoding="utf-8")
    return made


def _output(behaviour: str) -> str:
    return "scores" if behaviour == "misnamed" else "logits"


def _model(behaviour: str, size: int) -> bytes:
    """image (N, 3, size, size) to (N, 2): GAIN * mean, 0."""
    gains = {"nan": [np.nan, 0.0], "three": [GAIN, 0.0, 0.0]}.get(behaviour, [GAIN, 0.0])
    constants = {"gains": np.array([gains], np.float32), "shape": np.array([7, 11, 13], np.int64)}
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean4"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean4", "axis"], ["mean"]),
        helper.make_node("MatMul", ["mean", "gains"], ["raw"]),
    ]
    constants["axis"] = np.array([1], np.int64)
    if behaviour == "fails":  # a shape that no input of this size can take
        nodes += [helper.make_node("Reshape", ["raw", "shape"], ["other"])]
        nodes += [helper.make_node("ReduceSum", ["other"], [_output(behaviour)], keepdims=1)]
    else:
        nodes += [helper.make_node("Identity", ["raw"], [_output(behaviour)])]
        del constants["shape"]
    graph = helper.make_graph(
        nodes,
        behaviour,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, size, size])],
        [helper.make_tensor_value_info(_output(behaviour), TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
