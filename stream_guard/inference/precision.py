"""A model in another precision, decided in the file itself, and what that costs in accuracy.

TensorRT keeps the types of the ONNX file (strongly typed networks; since 11 there is no other way), so fp16 means
casts and half weights in the file, int8 means Q/DQ nodes. Inputs and outputs stay float32. Both conversions are ONNX
Runtime's own (`onnxruntime.transformers.float16`, `onnxruntime.quantization`; onnxruntime.ai/docs/performance), which
come with the package that we need anyhow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from PIL import Image

from ..errors import EngineError
from ..scratch import scratch_folder
from .feeds import Shape
from .reshaping import parsed, unpacked
from .session import Array, Session

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")

TOLERANCES: Mapping[str, float] = {"fp32": 1e-4, "fp16": 5e-2, "int8": 1e-1}
"""The largest error of an output that is let through, as a part of the reference's largest value; of the probe below.

fp32: sums in another order. fp16: 11 bits of mantissa through some fifty layers; on the processor the zoo's networks
lie under 2e-3, but for the one that warps pictures, whose edges move (3.4e-2). int8: 8 bits. These only tell a plan
that computes something else from one that does not: what a precision costs in protection the benchmarks say."""

KEPT = ("Resize", "GridSample", "Range")
"""Operators that stay in float32: positions in a picture, where half precision would shift it."""
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MOST_PICTURES = 512
_SYMMETRIC = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
"""What TensorRT takes: zero points of 0, and no quantised biases."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far outputs lie from those of ONNX Runtime in float32 on the same input."""

    max_abs: float
    relative: float
    """`max_abs` as a part of the reference's largest value; the worst output counts."""
    cosine: float
    """The worst output's."""


def converted(model: bytes, precision: str, calibration: Path | None = None) -> bytes:
    """The model in `precision`; one that is quantised already stays as it is.

    Raises EngineError for int8 without pictures, and for a model that can't be converted.
    `calibration` is a folder of pictures such as the engine will see: crops of faces.
    """
    if precision == "fp32" or (precision in PRECISIONS and quantised(model)):
        return model
    if precision == "fp16":
        return _half(model)
    if precision == "int8":
        return _quantised(model, calibration)
    raise EngineError(f"unknown precision {precision!r}; choose one of: {', '.join(PRECISIONS)}")


def quantised(model: bytes) -> bool:
    """Whether the file holds 8-bit integers, between Q/DQ nodes."""
    return any(node.op_type == "QuantizeLinear" for node in parsed(model).graph.node)


def _half(model: bytes) -> bytes:
    from onnxruntime.transformers import float16

    try:
        half = float16.convert_float_to_float16(
            unpacked(model),
            keep_io_types=True,
            op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *KEPT],
        )
    except Exception as error:  # what the converter raises is not documented
        raise EngineError(f"the model can't be converted to fp16: {error}; choose --precision fp32") from error
    made: bytes = half.SerializeToString()
    return made


def _quantised(model: bytes, calibration: Path | None) -> bytes:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    if calibration is None:
        raise EngineError(
            "int8 needs pictures to measure the ranges of values: give a folder of faces with --calibration, "
            "or choose --precision fp16"
        )
    proto = unpacked(model)
    with scratch_folder("stream-guard-int8-") as folder:
        target = folder / "int8.onnx"
        try:
            quantize_static(
                proto,
                target,
                _Pictures(calibration, _picture_inputs(proto)),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                extra_options=dict(_SYMMETRIC),
            )
        except EngineError:
            raise
        except Exception as error:  # what the quantiser raises is not documented
            raise EngineError(f"the model can't be quantised: {error}; choose --precision fp16") from error
        return target.read_bytes()


def _picture_inputs(proto: onnx.ModelProto) -> dict[str, int]:
    """Side of each picture that the model takes, by input. Raises EngineError where it takes anything else."""
    shapes = input_shapes(proto.SerializeToString())
    for name, shape in shapes.items():
        if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3] or shape[2] < 1:
            raise EngineError(f"int8 is for engines that take faces of one size; input {name!r} has the shape {shape}")
    return {name: shape[2] for name, shape in shapes.items()}


class _Pictures:
    """What `quantize_static` reads: an iterator over feeds, None at its end. Pictures as RGB from 0 to 1."""

    def __init__(self, folder: Path, sides: Mapping[str, int]) -> None:
        if not folder.is_dir():
            raise EngineError(f"--calibration {folder} is no folder")
        self._files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in PICTURES)[:MOST_PICTURES]
        if not self._files:
            raise EngineError(f"there is no picture in {folder}; {', '.join(PICTURES)} are read")
        self._sides = sides
        self._feeds = self._read()

    def get_next(self) -> dict[str, Array] | None:
        return next(self._feeds, None)

    def set_range(self, start_index: int, end_index: int) -> None:
        """The part of the data that is asked for; all of it, as `quantize_static` does without strides."""
        self._files = self._files[start_index:end_index]
        self._feeds = self._read()

    def __len__(self) -> int:
        return len(self._files)

    def _read(self) -> Iterator[dict[str, Array]]:
        for file in self._files:
            try:
                with Image.open(file) as opened:
                    picture = opened.convert("RGB")
            except OSError as error:
                raise EngineError(f"can't read the picture {file}: {error}") from error
            yield {name: _as_input(picture, side) for name, side in self._sides.items()}


def _as_input(picture: Image.Image, side: int) -> Array:
    small = picture.resize((side, side), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(small, np.float32).transpose(2, 0, 1)[None] / np.float32(255))


def input_shapes(model: bytes) -> dict[str, Shape]:
    """The shape of each input, -1 where the file leaves it open. Weights that stand among the inputs are left out.

    Raises EngineError for bytes that are no ONNX model.
    """
    graph = parsed(model).graph
    weights = {tensor.name for tensor in graph.initializer}
    return {
        value.name: tuple(
            int(side.dim_value) if side.HasField("dim_value") else -1 for side in value.type.tensor_type.shape.dim
        )
        for value in graph.input
        if value.name not in weights
    }


def probe(shapes: Mapping[str, Shape], batch: int = 1) -> dict[str, Array]:
    """The fixed random input, from 0 to 1, on which backends are compared: `batch` rows, 64 where a size is free."""
    random = np.random.default_rng(7)
    feeds = {}
    for name, shape in shapes.items():
        sizes = [batch if axis == 0 and n < 0 else 64 if n < 0 else n for axis, n in enumerate(shape)]
        feeds[name] = random.random(sizes, dtype=np.float32)
    return feeds


def compare(outputs: Mapping[str, Array], reference: Mapping[str, Array]) -> Parity:
    """The worst of all outputs. Not a number anywhere is as far as can be."""
    return worst([_apart(outputs[name], reference[name]) for name in reference])


def _apart(output: Array, reference: Array) -> Parity:
    """What is no number in the reference must be none in the output either; the rest is compared."""
    sound = np.isfinite(reference)
    if output.shape != reference.shape or not np.array_equal(np.isfinite(output), sound):
        return Parity(float("inf"), float("inf"), -1.0)
    got, wanted = output[sound], reference[sound]
    if not wanted.size:
        return Parity(0.0, 0.0, 1.0)
    apart, largest = float(np.abs(got - wanted).max()), float(np.abs(wanted).max())
    lengths = float(np.linalg.norm(got)) * float(np.linalg.norm(wanted))
    cosine = float(np.vdot(got, wanted)) / lengths if lengths else float(apart == 0)
    return Parity(apart, apart / largest if largest else apart, min(1.0, cosine))


def parity(
    session: Session, model: bytes, batches: Sequence[int] = (1,), shapes: Mapping[str, Shape] | None = None
) -> Parity:
    """How far a session lies from ONNX Runtime in float32 on the probe, at the worst of the sizes in `batches`.

    Raises EngineError as the sessions do.
    """
    from .onnxruntime_session import OnnxRuntimeSession

    shapes = shapes or input_shapes(model)
    feeds = probe(shapes, max(batches))
    batched = {name for name, shape in shapes.items() if shape[0] < 0}
    reference: Any = OnnxRuntimeSession(model)
    try:
        wanted = reference.run(feeds)
    finally:
        reference.close()
    found = []
    for rows in sorted(set(batches)) if batched else [1]:
        asked = {name: array[:rows] if name in batched else array for name, array in feeds.items()}
        part = {name: array[:rows] if batched else array for name, array in wanted.items()}
        found.append(compare(session.run(asked), part))
    return worst(found)


def worst(found: Sequence[Parity]) -> Parity:
    """Of several comparisons, each figure's worst."""
    return Parity(max(p.max_abs for p in found), max(p.relative for p in found), min(p.cosine for p in found))
