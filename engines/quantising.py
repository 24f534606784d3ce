"""An engine of the zoo with its convolutions in 8-bit integers, for processors.

Quantised statically by ONNX Runtime (QDQ, weights by channel), with the range of each tensor from pictures. Its zero
points are not 0, so TensorRT refuses it: GPUs take the engine itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from stream_guard.inference import Card

from .export import write_card

Pictures = npt.NDArray[np.float32]


def quantised(model: bytes, name: str, pictures: Pictures, skip: Sequence[str]) -> bytes:
    """The model for an input `name`, which is given `pictures` (N, 3, S, S) one by one to measure ranges.

    `skip` names convolutions that stay in float32.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, ready, made = (Path(folder) / f"{step}.onnx" for step in ("given", "ready", "made"))
        given.write_bytes(model)
        quant_pre_process(str(given), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready),
            str(made),
            _Reader(name, pictures),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=list(skip),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            # Without VNNI two products of 8 bits may overflow 16: weights of 7 bits never do.
            reduce_range=True,
        )
        return made.read_bytes()


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """One picture after another."""

    def __init__(self, name: str, pictures: Pictures) -> None:
        self._name = name
        self._left: Iterator[Pictures] = iter(pictures)

    def get_next(self) -> dict[str, Pictures] | None:
        picture = next(self._left, None)
        return None if picture is None else {self._name: picture[None]}


def write(
    card: Card,
    model: bytes,
    folder: Path,
    command: str,
    results: dict[str, Any] | None = None,
    what: str = "its convolutions",
    default_on_processor: bool = False,
) -> None:
    """The quantised engine with a card of its own, named after the other; `results` and `what` changed go onto it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / card.file).write_bytes(model)
    words = card.model_dump(mode="json", exclude_none=True, exclude={"sha256", "default", "results"})
    write_card(
        folder,
        words
        | {
            "name": f"{card.name}-int8",
            "title": f"{card.title}, in 8-bit integers for processors",
            "default": False,
            "default_on_processor": default_on_processor,
            "command": command,
            "notes": f"{card.name} ({card.sha256[:16]}) with {what} quantised; ranges from faces of the "
            f"pack's validation split. {card.notes}",
            "results": results or {},
        },
    )
