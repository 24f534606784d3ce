"""What a network must compute and move, counted from its ONNX file: the bound that no device can be faster than."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import onnx
from onnx import helper, numpy_helper, shape_inference

MULTIPLY = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
FREE = {"Constant", "Shape", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"}
"""Operators that compute and move nothing that counts."""


@dataclass(frozen=True, slots=True)
class NetworkCost:
    """One run of a batch. A multiplication with its addition counts 2; any other operator 1 for each value it gives."""

    batch: int
    flops: int
    weights: int
    """How many numbers the weights are."""
    ends: int
    """Numbers in the inputs and outputs of the whole network."""
    between: int
    """Numbers that the operators read and write, each for itself: what moves if nothing is fused."""

    def bound_seconds(self, flops_a_second: float, bytes_a_second: float, itemsize: int) -> dict[str, float]:
        """The least time by arithmetic and by memory, in which weights, inputs and outputs move once."""
        return {
            "arithmetic": self.flops / flops_a_second,
            "memory": (self.weights + self.ends) * itemsize / bytes_a_second,
            "memory_unfused": (self.weights + self.between) * itemsize / bytes_a_second,
        }


def network_cost(model: bytes, batch: int) -> NetworkCost:
    """Counted after shape inference with a batch of this size. Raises ValueError where a shape stays unknown."""
    proto = onnx.load_model_from_string(model)
    for value in (*proto.graph.input, *proto.graph.output):
        dims = value.type.tensor_type.shape.dim
        if not dims[0].HasField("dim_value"):
            dims[0].dim_value = batch
    graph = shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True).graph
    shapes = {v.name: _shape(v) for v in (*graph.input, *graph.value_info, *graph.output)}
    weights = {w.name: numpy_helper.to_array(w) for w in graph.initializer}
    shapes |= {name: tuple(array.shape) for name, array in weights.items()}
    floats = {name: array.size for name, array in weights.items() if array.dtype.kind == "f"}
    flops = between = 0
    for node in graph.node:
        if node.op_type in FREE:
            continue
        flops += _flops(node, shapes)
        moved = [n for n in (*node.input, *node.output) if n and n not in weights]
        between += sum(_size(n, shapes) for n in moved)
    ends = sum(_size(v.name, shapes) for v in (*graph.input, *graph.output) if v.name not in weights)
    return NetworkCost(batch, flops, sum(floats.values()), ends, between)


def _flops(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    given = sum(_size(name, shapes) for name in node.output if name)
    if node.op_type not in MULTIPLY:
        return given
    if node.op_type == "MatMul":
        return 2 * given * shapes[node.input[0]][-1]
    weight = shapes[node.input[1]]
    if node.op_type == "Gemm":
        across = next((a.i for a in node.attribute if a.name == "transB"), 0)
        return 2 * given * weight[1 if across else 0]
    if node.op_type == "ConvTranspose":
        return 2 * _size(node.input[0], shapes) * prod(weight[1:])
    return 2 * given * prod(weight[1:])


def _size(name: str, shapes: dict[str, tuple[int, ...]]) -> int:
    if name not in shapes:
        raise ValueError(f"the shape of {name!r} can't be worked out")
    return prod(shapes[name])


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    dims = value.type.tensor_type.shape.dim
    if any(not d.HasField("dim_value") for d in dims):
        raise ValueError(f"the shape of {value.name!r} can't be worked out: {helper.printable_value_info(value)}")
    return tuple(d.dim_value for d in dims)
