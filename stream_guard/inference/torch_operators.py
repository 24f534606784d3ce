"""The ONNX operators of our networks in PyTorch: what `torch_session` knows how to run. (onnx.ai/onnx/operators)

Each function takes the node's attributes and its inputs (None where one is left out) and returns its outputs. Shapes
and indices are int64 tensors on the processor, so that working them out never waits for a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import EngineError

Attributes = Mapping[str, Any]
Operator = Callable[[Attributes, Sequence[Any]], Any]
FLOAT, INT64, BOOL = 1, 7, 9
TYPES = {
    FLOAT: torch.float32,
    10: torch.float32,
    11: torch.float32,
    6: torch.int64,
    INT64: torch.int64,
    BOOL: torch.bool,
}
"""ONNX's element types. Every kind of float becomes the precision that the session runs in."""


def ints(value: Any) -> list[int]:
    return [int(item) for item in value.tolist()] if isinstance(value, Tensor) else [int(item) for item in value]


def _pads(attributes: Attributes, spatial: int) -> tuple[list[int], list[int]]:
    auto = attributes.get("auto_pad", "NOTSET")
    if auto not in ("NOTSET", "VALID"):
        raise EngineError(f"the torch backend does not know auto_pad {auto}; use onnxruntime")
    pads = list(attributes.get("pads", [0] * (2 * spatial)))
    return pads[:spatial], pads[spatial:]


def _padded(x: Tensor, before: list[int], after: list[int], value: float = 0.0) -> tuple[Tensor, list[int]]:
    """Even padding is left to the operator; uneven is written out, and 0 is left."""
    if before == after:
        return x, before
    flat = [side for pair in reversed(list(zip(before, after, strict=True))) for side in pair]
    return functional.pad(x, flat, value=value), [0] * len(before)


def conv(a: Attributes, v: Sequence[Any]) -> Tensor:
    x, weight, bias = v[0], v[1], v[2] if len(v) > 2 else None
    spatial = weight.dim() - 2
    x, pads = _padded(x, *_pads(a, spatial))
    call = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}[spatial]
    ones = [1] * spatial
    return call(x, weight, bias, a.get("strides", ones), pads, a.get("dilations", ones), a.get("group", 1))


def conv_transpose(a: Attributes, v: Sequence[Any]) -> Tensor:
    x, weight, bias = v[0], v[1], v[2] if len(v) > 2 else None
    before, after = _pads(a, 2)
    if before != after or "output_shape" in a:
        raise EngineError("the torch backend knows ConvTranspose with even pads only; use onnxruntime")
    extra = a.get("output_padding", [0, 0])
    ones = [1, 1]
    return torch.conv_transpose2d(
        x, weight, bias, a.get("strides", ones), before, extra, a.get("group", 1), a.get("dilations", ones)
    )


def average_pool(a: Attributes, v: Sequence[Any]) -> Tensor:
    before, after = _pads(a, 2)
    counts = bool(a.get("count_include_pad", 0))
    if before != after:
        raise EngineError("the torch backend knows AveragePool with even pads only; use onnxruntime")
    kernel = a["kernel_shape"]
    return functional.avg_pool2d(v[0], kernel, a.get("strides", [1, 1]), before, bool(a.get("ceil_mode", 0)), counts)


def max_pool(a: Attributes, v: Sequence[Any]) -> Tensor:
    x, pads = _padded(v[0], *_pads(a, 2), value=float("-inf"))
    return functional.max_pool2d(
        x, a["kernel_shape"], a.get("strides", [1, 1]), pads, a.get("dilations", [1, 1]), bool(a.get("ceil_mode", 0))
    )


def batch_norm(a: Attributes, v: Sequence[Any]) -> Tensor:
    x, scale, bias, mean, variance = v[:5]
    return functional.batch_norm(x, mean, variance, scale, bias, False, 0.0, a.get("epsilon", 1e-5))


def instance_norm(a: Attributes, v: Sequence[Any]) -> Tensor:
    return functional.instance_norm(v[0], weight=v[1], bias=v[2], eps=a.get("epsilon", 1e-5))


def gemm(a: Attributes, v: Sequence[Any]) -> Tensor:
    left = v[0].t() if a.get("transA") else v[0]
    right = v[1].t() if a.get("transB") else v[1]
    product = a.get("alpha", 1.0) * (left @ right)
    return product if len(v) < 3 or v[2] is None else product + a.get("beta", 1.0) * v[2]


def resize(a: Attributes, v: Sequence[Any]) -> Tensor:
    """Nearest (floor, asymmetric) and linear (half_pixel, or align_corners): as PyTorch's exporter writes them."""
    x: Tensor = v[0]
    scales, sizes = (v[2] if len(v) > 2 else None), (v[3] if len(v) > 3 else None)
    if sizes is not None and sizes.numel():
        size = ints(sizes)[2:]
    elif scales is not None and scales.numel():
        size = [int(side * scale + 1e-6) for side, scale in zip(x.shape[2:], scales.tolist()[2:], strict=True)]
    else:
        raise EngineError("Resize has neither scales nor sizes")
    mode, where = a.get("mode", "nearest"), a.get("coordinate_transformation_mode", "half_pixel")
    if mode == "nearest" and where == "asymmetric" and a.get("nearest_mode", "") == "floor":
        return functional.interpolate(x, size=size, mode="nearest")
    if mode == "linear" and where in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        return functional.interpolate(x, size=size, mode="bilinear", align_corners=where == "align_corners")
    raise EngineError(f"the torch backend does not know Resize with mode {mode}, {where}; use onnxruntime")


def grid_sample(a: Attributes, v: Sequence[Any]) -> Tensor:
    mode = str(a.get("mode", "bilinear"))
    mode = "bilinear" if mode == "linear" else mode
    corners = bool(a.get("align_corners", 0))
    return functional.grid_sample(v[0], v[1].to(v[0].dtype), mode, a.get("padding_mode", "zeros"), corners)


def slices(a: Attributes, v: Sequence[Any]) -> Tensor:
    x: Tensor = v[0]
    starts, ends = (ints(v[1]), ints(v[2])) if len(v) > 1 else (a["starts"], a["ends"])
    axes = ints(v[3]) if len(v) > 3 and v[3] is not None else a.get("axes", range(len(starts)))
    steps = ints(v[4]) if len(v) > 4 and v[4] is not None else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        x = _sliced(x, int(axis) % x.dim(), start, end, step)
    return x


def _sliced(x: Tensor, axis: int, start: int, end: int, step: int) -> Tensor:
    """Backwards as forwards and turned round: an index from the host could not be captured in a graph."""
    length = x.shape[axis]
    chosen = range(length)[slice(start, None if step < 0 and end < -length else end, step)]
    if step == 1 or not len(chosen):
        return x.narrow(axis, chosen.start if len(chosen) else 0, len(chosen))
    low, high = min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1])
    every = x.narrow(axis, low, high - low + 1)
    where = [slice(None)] * x.dim()
    where[axis] = slice(None, None, abs(step))
    return every[tuple(where)].flip(axis) if step < 0 else every[tuple(where)]


def depth_to_space(a: Attributes, v: Sequence[Any]) -> Tensor:
    """Channels to blocks of pixels; `mode` CRD is torch's pixel shuffle, DCR (ONNX's default) has the block outside."""
    x, side = v[0], int(a["blocksize"])
    if a.get("mode", "DCR") == "DCR":
        n, channels, height, width = x.shape
        x = x.reshape(n, side * side, channels // side**2, height, width).transpose(1, 2).reshape(x.shape)
    return functional.pixel_shuffle(x, side)


def reshape(a: Attributes, v: Sequence[Any]) -> Tensor:
    """0 copies the size of the input."""
    wanted = ints(v[1])
    if not a.get("allowzero", 0):
        wanted = [v[0].shape[i] if side == 0 else side for i, side in enumerate(wanted)]
    return v[0].reshape(wanted)


def expand(a: Attributes, v: Sequence[Any]) -> Tensor:
    return v[0].expand(torch.broadcast_shapes(tuple(v[0].shape), tuple(ints(v[1]))))


def unsqueeze(a: Attributes, v: Sequence[Any]) -> Tensor:
    x: Tensor = v[0]
    axes = ints(v[1]) if len(v) > 1 else a["axes"]
    for axis in sorted(axis % (x.dim() + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def squeeze(a: Attributes, v: Sequence[Any]) -> Tensor:
    x: Tensor = v[0]
    axes = (
        ints(v[1]) if len(v) > 1 and v[1] is not None else a.get("axes", [i for i, n in enumerate(x.shape) if n == 1])
    )
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.squeeze(axis)
    return x


def gather(a: Attributes, v: Sequence[Any]) -> Tensor:
    """The index is on the processor, so a few pieces are cut out one by one: see `_sliced`."""
    x, index = v[0], v[1]
    axis = a.get("axis", 0) % x.dim()
    length = x.shape[axis]
    found = torch.cat([x.narrow(axis, place % length, 1) for place in ints(index.reshape(-1))], axis)
    return found.reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])


def _reduce(call: Callable[..., Tensor]) -> Operator:
    def reduced(a: Attributes, v: Sequence[Any]) -> Tensor:
        x: Tensor = v[0]
        axes = ints(v[1]) if len(v) > 1 and v[1] is not None else list(a.get("axes", []))
        if not axes and a.get("noop_with_empty_axes", 0):
            return x
        return call(x, dim=axes or list(range(x.dim())), keepdim=bool(a.get("keepdims", 1)))

    return reduced


def pad(a: Attributes, v: Sequence[Any]) -> Tensor:
    pads = ints(v[1]) if len(v) > 1 else list(a["pads"])
    half = len(pads) // 2
    flat = [side for pair in reversed(list(zip(pads[:half], pads[half:], strict=True))) for side in pair]
    while len(flat) > 2 and flat[-2:] == [0, 0]:
        flat = flat[:-2]
    mode = str(a.get("mode", "constant")).replace("edge", "replicate")
    if mode != "constant":
        return functional.pad(v[0], flat, mode=mode)
    return functional.pad(v[0], flat, value=float(v[2]) if len(v) > 2 and v[2] is not None else 0.0)


def _along(value: Tensor, x: Tensor, axis: int) -> Tensor:
    """A scale or zero point for each channel, so that it multiplies that axis."""
    if value.numel() == 1:
        return value.reshape(())
    return value.reshape([-1 if place == axis % x.dim() else 1 for place in range(x.dim())])


def quantize(a: Attributes, v: Sequence[Any]) -> Tensor:
    x, axis = v[0], a.get("axis", 1)
    kind = v[2].dtype if len(v) > 2 else torch.uint8
    levels = torch.round(x / _along(v[1], x, axis))
    if len(v) > 2:
        levels = levels + _along(v[2], x, axis)
    bounds = torch.iinfo(kind)
    return torch.clamp(levels, bounds.min, bounds.max).to(kind)


def dequantize(a: Attributes, v: Sequence[Any]) -> Tensor:
    x, axis = v[0], a.get("axis", 1)
    scale = _along(v[1], x, axis)
    levels = x.to(scale.dtype)
    if len(v) > 2:
        levels = levels - _along(v[2], x, axis).to(scale.dtype)
    return levels * scale


def flatten(a: Attributes, v: Sequence[Any]) -> Tensor:
    axis = a.get("axis", 1) % (v[0].dim() + 1)
    rows = 1
    for side in v[0].shape[:axis]:
        rows *= side
    return v[0].reshape(rows, -1)


def clip(a: Attributes, v: Sequence[Any]) -> Tensor:
    low = v[1] if len(v) > 1 else a.get("min")
    high = v[2] if len(v) > 2 else a.get("max")
    return torch.clamp(v[0], low, high) if low is not None or high is not None else v[0]


def divide(a: Attributes, v: Sequence[Any]) -> Tensor:
    """Integers are cut off towards 0."""
    if v[0].is_floating_point():
        return v[0] / v[1]
    return torch.div(v[0], v[1], rounding_mode="trunc")


def _one(call: Callable[..., Tensor]) -> Operator:
    return lambda a, v: call(*v)


OPERATORS: Mapping[str, Operator] = {
    "Abs": _one(torch.abs),
    "Add": _one(torch.add),
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Clip": clip,
    "Concat": lambda a, v: torch.cat(list(v), a["axis"]),
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "DepthToSpace": depth_to_space,
    "DequantizeLinear": dequantize,
    "Div": divide,
    "Equal": _one(torch.eq),
    "Exp": _one(torch.exp),
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "Gemm": gemm,
    "GlobalAveragePool": lambda a, v: v[0].mean(dim=tuple(range(2, v[0].dim())), keepdim=True),
    "Greater": _one(torch.gt),
    "GridSample": grid_sample,
    "HardSigmoid": lambda a, v: torch.clamp(a.get("alpha", 0.2) * v[0] + a.get("beta", 0.5), 0, 1),
    "HardSwish": _one(functional.hardswish),
    "Identity": lambda a, v: v[0],
    "InstanceNormalization": instance_norm,
    "LeakyRelu": lambda a, v: functional.leaky_relu(v[0], a.get("alpha", 0.01)),
    "Less": _one(torch.lt),
    "MatMul": _one(torch.matmul),
    "MaxPool": max_pool,
    "Mul": _one(torch.mul),
    "Neg": _one(torch.neg),
    "Pad": pad,
    "Pow": _one(torch.pow),
    "QuantizeLinear": quantize,
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _one(torch.relu),
    "Reshape": reshape,
    "Resize": resize,
    "Sigmoid": _one(torch.sigmoid),
    "Slice": slices,
    "Softmax": lambda a, v: torch.softmax(v[0], a.get("axis", -1)),
    "Sqrt": _one(torch.sqrt),
    "Squeeze": squeeze,
    "Sub": _one(torch.sub),
    "Tanh": _one(torch.tanh),
    "Transpose": lambda a, v: v[0].permute(a["perm"]),
    "Unsqueeze": unsqueeze,
    "Where": lambda a, v: torch.where(v[0], v[1], v[2]),
}
"""By ONNX name; those that make constants (Constant, ConstantOfShape, Range, Shape, Cast) are in torch_session."""
