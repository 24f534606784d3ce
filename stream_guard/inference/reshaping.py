"""Look into an ONNX model, and restate its input shapes where the file is narrower than the network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from ..errors import EngineError


def with_input_shapes(model: bytes, shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """The model with other input shapes (-1: any size); the shapes of outputs and of all between are left open.

    Only for networks that do work at other sizes, such as fully convolutional ones. Raises EngineError for bytes that
    are no ONNX model and for an input that it does not have.
    """
    proto = parsed(model)
    inputs = {value.name: value for value in proto.graph.input}
    for name, shape in shapes.items():
        if name not in inputs:
            raise EngineError(f"the model has no input {name!r}; it has {sorted(inputs)}")
        _restate(inputs[name], shape)
    for value in proto.graph.output:
        _restate(value, (-1,) * len(value.type.tensor_type.shape.dim))
    del proto.graph.value_info[:]
    restated: bytes = proto.SerializeToString()
    return restated


def _restate(value: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
    dims = value.type.tensor_type.shape
    del dims.dim[:]
    for axis, size in enumerate(shape):
        dim = dims.dim.add()
        if size < 0:
            dim.dim_param = f"{value.name}_{axis}"
        else:
            dim.dim_value = size


def model_ports(model: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of a model's inputs and outputs. Raises EngineError for bytes that are no ONNX model."""
    graph = parsed(model).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = tuple(value.name for value in graph.input if value.name not in weights)
    return inputs, tuple(value.name for value in graph.output)


def node_at(model: bytes, index: int) -> tuple[str, str]:
    """Operator and name of a node by its place in the file; words to the same effect where there is none."""
    nodes = parsed(model).graph.node
    if not 0 <= index < len(nodes):
        return "unknown", f"node {index}"
    return nodes[index].op_type, nodes[index].name or f"node {index}"


def parsed(model: bytes) -> onnx.ModelProto:
    """Raises EngineError for bytes that are no ONNX model; an empty one is none either."""
    try:
        proto = onnx.load_model_from_string(model)
    except DecodeError as error:
        raise EngineError("can't load the model: the file is not an ONNX model") from error
    if not proto.graph.output:
        raise EngineError("can't load the model: it is empty, or cut off")
    return proto


def unpacked(model: bytes) -> onnx.ModelProto:
    """With weights in float32 that the file keeps in float16 behind a Cast: converters look for weights, not Casts."""
    proto = parsed(model)
    weights = {w.name: w for w in proto.graph.initializer if w.data_type == onnx.TensorProto.FLOAT16}
    kept = []
    for node in proto.graph.node:
        to = [a.i for a in node.attribute if a.name == "to"]
        if node.op_type != "Cast" or node.input[0] not in weights or to != [onnx.TensorProto.FLOAT]:
            kept.append(node)
            continue
        values = numpy_helper.to_array(weights[node.input[0]]).astype(np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
    used = {name for node in kept for name in node.input}
    stale = [w for w in weights.values() if w.name not in used]
    for weight in stale:
        proto.graph.initializer.remove(weight)
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    return proto
