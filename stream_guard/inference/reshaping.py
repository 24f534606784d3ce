"""Look into an ONNX model, and restate its input shapes where the file is narrower than the network."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

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
