"""ONNX Runtime on a GPU: its CUDA provider, with tensors that stay on the device from one run to the next."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import onnxruntime

from ..errors import EngineError
from .batches import BATCHES, rows_of, split
from .feeds import Shape, check_feeds
from .session import Array

PROVIDER = "CUDAExecutionProvider"
OPTIONS: Mapping[str, str] = {
    "arena_extend_strategy": "kSameAsRequested",
    "cudnn_conv_algo_search": "EXHAUSTIVE",
    "do_copy_in_default_stream": "1",
    "use_tf32": "0",
}
"""onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html: memory is taken as needed, not doubled; float32
is float32, where the default multiplies with ten bits of mantissa."""
LIBRARIES = "install them with: pip install 'onnxruntime-gpu[cuda,cudnn]'"
MOST_SHAPES = 8
"""So many shapes keep their tensors on the device; the oldest makes place for another."""


_log = logging.getLogger(__name__)


@cache
def load_libraries() -> None:
    """CUDA and cuDNN from NVIDIA's wheels, if they are installed: ONNX Runtime looks for them there only when told.

    It prints what it does not find; our stdout is for results.
    """
    preload = getattr(onnxruntime, "preload_dlls", None)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        if preload is not None:
            preload()
    if said.getvalue():
        _log.info("ONNX Runtime's libraries: %s", said.getvalue().strip())


def provider_missing() -> str:
    """Why the CUDA provider can't be used; empty where it can (the GPU itself is asked elsewhere)."""
    load_libraries()
    if PROVIDER in onnxruntime.get_available_providers():
        return ""
    if getattr(onnxruntime, "cuda_version", ""):
        return f"the CUDA libraries of the installed onnxruntime are missing or of another version; {LIBRARIES}"
    return (
        "the installed onnxruntime is built for processors only; replace it with: "
        "pip uninstall onnxruntime && pip install onnxruntime-gpu"
    )


class OnnxRuntimeCudaSession:
    """A model on the GPU, float32. The batch is padded to one of a few sizes: kernels are chosen once for each.

    `device` is `cpu` in tests, where the same steps run on the processor's provider.
    """

    backend = "onnxruntime-cuda"

    def __init__(self, model: bytes, threads: int = 1, device: str = "cuda") -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        providers: list[Any] = [(PROVIDER, dict(OPTIONS))] if device == "cuda" else ["CPUExecutionProvider"]
        try:
            # Its own fallback would print, and go on without the GPU.
            session = onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)
        except Exception as error:  # its errors have no common base of their own
            raise EngineError(f"ONNX Runtime can't load the model: {_first_line(error)}") from error
        if device == "cuda" and PROVIDER not in session.get_providers():
            raise EngineError(
                "ONNX Runtime has a CUDA provider but can't start it here: its CUDA or cuDNN libraries are missing or "
                f"of another version; {LIBRARIES}"
            )
        self._session: Any = session
        self._device = device
        self._shapes: dict[str, Shape] = {
            value.name: tuple(d if isinstance(d, int) else -1 for d in value.shape) for value in session.get_inputs()
        }
        self.inputs: tuple[str, ...] = tuple(self._shapes)
        self.outputs: tuple[str, ...] = tuple(value.name for value in session.get_outputs())
        self._placed: dict[tuple[Shape, ...], _Placed] = {}

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        if self._session is None:
            raise EngineError("the session was closed")
        checked = check_feeds(feeds, self._shapes)
        if any(shape[:1] != (-1,) for shape in self._shapes.values()):
            return self._run(checked)
        rows = rows_of({name: array.shape for name, array in checked.items()})
        parts = [
            {name: array[:count] for name, array in self._run(_padded(checked, start, count, size)).items()}
            for start, count, size in split(rows, BATCHES)
        ]
        return parts[0] if len(parts) == 1 else {n: np.concatenate([part[n] for part in parts]) for n in self.outputs}

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        try:
            return self._place(tuple(feeds[name].shape for name in self.inputs)).run(self._session, feeds)
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed: {_first_line(error)}") from error

    def _place(self, shapes: tuple[Shape, ...]) -> _Placed:
        """The tensors for these shapes, the most recently used last."""
        placed = self._placed.pop(shapes, None) or _Placed(self._session, self._device, self.inputs, shapes)
        self._placed[shapes] = placed
        if len(self._placed) > MOST_SHAPES:
            del self._placed[next(iter(self._placed))]
        return placed

    def close(self) -> None:
        self._placed.clear()
        self._session = None


class _Placed:
    """Inputs on the device, at addresses that stay; outputs where ONNX Runtime's arena puts them."""

    def __init__(self, session: Any, device: str, inputs: tuple[str, ...], shapes: tuple[Shape, ...]) -> None:
        self._binding = session.io_binding()
        self._inputs = {
            name: onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(shape), np.float32, device, 0)
            for name, shape in zip(inputs, shapes, strict=True)
        }
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        self._outputs = [output.name for output in session.get_outputs()]
        for name in self._outputs:
            self._binding.bind_output(name, device, 0)

    def run(self, session: Any, feeds: Mapping[str, Array]) -> dict[str, Array]:
        for name, value in self._inputs.items():
            value.update_inplace(feeds[name])
        session.run_with_iobinding(self._binding)
        results = self._binding.copy_outputs_to_cpu()
        return {name: np.array(array, np.float32) for name, array in zip(self._outputs, results, strict=True)}


def _padded(feeds: Mapping[str, Array], start: int, count: int, size: int) -> dict[str, Array]:
    """`count` rows from `start` on, with zeros up to `size`."""
    if count == size:
        return {name: np.ascontiguousarray(array[start : start + count]) for name, array in feeds.items()}
    made = {name: np.zeros((size, *array.shape[1:]), np.float32) for name, array in feeds.items()}
    for name, array in made.items():
        array[:count] = feeds[name][start : start + count]
    return made


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
