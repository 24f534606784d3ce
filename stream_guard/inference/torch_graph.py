"""An ONNX graph run node by node in PyTorch; what depends on shapes alone is worked out once for each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor

from ..errors import EngineError
from .feeds import Shape
from .precision import input_shapes
from .reshaping import parsed
from .torch_operators import OPERATORS, TYPES, Attributes, ints

MADE_HERE = frozenset({"Cast", "Constant", "ConstantOfShape", "Range", "Shape"})
DOMAINS = ("", "ai.onnx")
MOVED = "@device"
CONTROL = {
    "Expand": (1,),
    "Gather": (1,),
    "Pad": (1, 2),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceSum": (1,),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
}
"""Inputs that are read as numbers: sizes, axes, scales."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operator with its attributes as plain data."""

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Attributes


class TorchGraph:
    """The nodes in order and the weights on the device, in `dtype` where they are floats."""

    def __init__(self, model: bytes, device: torch.device, dtype: torch.dtype) -> None:
        """Raises EngineError for what is no ONNX model, and naming each operator that is not known, with a node."""
        self._device, self.dtype = device, dtype
        graph = parsed(model).graph
        self.shapes = input_shapes(model)
        self.outputs = tuple(value.name for value in graph.output)
        self._nodes = tuple(_node(node) for node in graph.node)
        known = OPERATORS.keys() | MADE_HERE
        unknown = {node.operator: node.name for node in reversed(self._nodes) if node.operator not in known}
        if unknown:
            words = ", ".join(f"{operator} ({name})" for operator, name in sorted(unknown.items()))
            raise EngineError(f"the torch backend does not know the operators {words}; use onnxruntime")
        self._control = {
            name
            for node in self._nodes
            for place, name in enumerate(node.inputs)
            if place in CONTROL.get(node.operator, ())
        }
        self._weights = {each.name: self._placed(each.name, _tensor(each)) for each in graph.initializer}

    def known(self, shapes: Mapping[str, Shape]) -> dict[str, Tensor]:
        """Every value that follows from the inputs' shapes alone, by name: weights, and what is made of `Shape`."""
        feeds = {name: torch.zeros(shape, device=self._device, dtype=self.dtype) for name, shape in shapes.items()}
        values: dict[str, Any] = {**self._weights, **feeds}
        constant = set(self._weights)
        for node in self._nodes:
            self._run(node, values)
            if node.operator == "Shape" or all(name in constant for name in node.inputs if name):
                constant.update(node.outputs)
        return {name: value for name, value in values.items() if name.removesuffix(MOVED) in constant}

    def run(self, feeds: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs; only nodes whose outputs are not known yet are run."""
        values: dict[str, Any] = {**known, **feeds}
        for node in self._nodes:
            if any(name not in values for name in node.outputs if name):
                self._run(node, values)
        return {name: values[name] for name in self.outputs}

    def _run(self, node: Node, values: dict[str, Any]) -> None:
        inputs = [values[name] if name else None for name in node.inputs]
        while inputs and inputs[-1] is None:
            inputs.pop()
        try:
            if node.operator in MADE_HERE:
                made = self._make(node, inputs)
            else:
                made = OPERATORS[node.operator](node.attributes, self._together(node, inputs, values))
        except (RuntimeError, TypeError, ValueError, KeyError, IndexError) as error:
            first = str(error).strip().splitlines() or [type(error).__name__]
            raise EngineError(f"torch failed at operator {node.operator} ({node.name}): {first[0]}") from error
        values[node.outputs[0]] = made

    def _together(self, node: Node, inputs: list[Any], values: dict[str, Any]) -> list[Any]:
        """Where one input is on the device, the others follow, but for sizes and the like, which are only read.

        What was moved is kept beside the value: nothing may be copied from the host while a graph is captured.
        """
        if all(value is None or value.device != self._device for value in inputs):
            return inputs
        control = CONTROL.get(node.operator, ())
        for place, value in enumerate(inputs):
            if value is None or place in control or value.device == self._device:
                continue
            kept = f"{node.inputs[place]}{MOVED}"
            inputs[place] = values[kept] = values[kept] if kept in values else value.to(self._device)
        return inputs

    def _make(self, node: Node, inputs: list[Any]) -> Tensor:
        a, name = node.attributes, node.outputs[0]
        if node.operator == "Shape":
            return torch.tensor(inputs[0].shape, dtype=torch.int64)
        if node.operator == "Constant":
            return self._placed(name, _constant(node))
        if node.operator == "Cast":
            if a["to"] not in TYPES:
                raise EngineError(f"the torch backend does not know the type {a['to']} of a Cast; use onnxruntime")
            return self._placed(name, inputs[0].to(TYPES[a["to"]]))
        if node.operator == "ConstantOfShape":
            value = a.get("value", torch.zeros(1))
            return self._placed(name, torch.full(ints(inputs[0]), value.item(), dtype=value.dtype))
        start, limit, delta = (value.item() for value in inputs)
        return self._placed(name, torch.arange(start, limit, delta, dtype=inputs[0].dtype))

    def _placed(self, name: str, tensor: Tensor) -> Tensor:
        """Floats go to the device in its precision; ints, truth values and what is only read stay on the processor."""
        if name in self._control or not tensor.is_floating_point():
            return tensor
        placed = tensor.to(self._device, self.dtype)
        if placed.is_cuda and placed.dim() == 4:  # as the pictures that meet it: else each convolution copies it first
            return placed.contiguous(memory_format=torch.channels_last)
        return placed


def _node(node: onnx.NodeProto) -> Node:
    operator = node.op_type if node.domain in DOMAINS else f"{node.domain}.{node.op_type}"
    attributes = {each.name: _plain(helper.get_attribute_value(each)) for each in node.attribute}
    return Node(operator, node.name or "unnamed", tuple(node.input), tuple(node.output), attributes)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return _tensor(value) if isinstance(value, onnx.TensorProto) else value


def _tensor(proto: onnx.TensorProto) -> Tensor:
    return torch.from_numpy(numpy_helper.to_array(proto).copy())


def _constant(node: Node) -> Tensor:
    a = node.attributes
    for key, kind in (("value_float", torch.float32), ("value_int", torch.int64)):
        if key in a:
            return torch.tensor(a[key], dtype=kind)
    for key, kind in (("value_floats", torch.float32), ("value_ints", torch.int64)):
        if key in a:
            return torch.tensor(list(a[key]), dtype=kind)
    found: Tensor = a["value"]
    return found
