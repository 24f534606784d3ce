"""PyTorch: half precision, channels last and CUDA graphs on a GPU; float32 on a processor, where the tests run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import EngineError, GpuMemoryError
from .batches import BATCHES, rows_of, split
from .feeds import Shape, check_feeds
from .precision import quantised
from .session import Array
from .torch_graph import TorchGraph

MOST_SHAPES = 8
"""So many shapes keep their buffers and graph; the oldest makes place for another, so that memory stays flat."""
WARM_UPS = 3


class TorchSession:
    """A model as an ONNX graph that torch runs. The batch is padded to one of a few sizes, with a graph each."""

    backend = "torch"

    def __init__(self, model: bytes, threads: int = 1, device: str = "") -> None:
        """`device` is `cuda` or `cpu`; the GPU where there is one if not given. `threads` is for other backends:
        torch's threads are the process's."""
        self._device = torch.device(device or ("cuda:0" if torch.cuda.is_available() else "cpu"))
        try:
            self._graph: TorchGraph | None = TorchGraph(model, self._device, computed_in(model, self._device))
        except torch.cuda.OutOfMemoryError as error:
            raise _out_of_memory(error) from error
        except RuntimeError as error:  # a GPU that was lost, or that this torch has no kernels for
            raise EngineError(f"torch can't load the model: {_first_line(error)}") from error
        self.inputs: tuple[str, ...] = tuple(self._graph.shapes)
        self.outputs: tuple[str, ...] = self._graph.outputs
        self._shapes = self._graph.shapes
        self._lanes: dict[tuple[Shape, ...], _Lane] = {}

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        if self._graph is None:
            raise EngineError("the session was closed")
        checked = check_feeds(feeds, self._shapes)
        if any(shape[:1] != (-1,) for shape in self._shapes.values()):
            return self._run(checked, None, 0, None)
        rows = rows_of({name: array.shape for name, array in checked.items()})
        parts = [self._run(checked, count, start, size) for start, count, size in split(rows, BATCHES)]
        return parts[0] if len(parts) == 1 else {n: np.concatenate([part[n] for part in parts]) for n in self.outputs}

    def _run(self, feeds: Mapping[str, Array], count: int | None, start: int, size: int | None) -> dict[str, Array]:
        """`count` rows from `start` on, padded to `size`; all that there is where the model fixes the batch."""
        shapes = {name: (size or len(array), *array.shape[1:]) for name, array in feeds.items()}
        try:
            with torch.inference_mode():
                end = None if count is None else start + count
                return self._lane(shapes).run({name: array[start:end] for name, array in feeds.items()}, count)
        except torch.cuda.OutOfMemoryError as error:
            raise _out_of_memory(error) from error
        except RuntimeError as error:  # what CUDA and torch raise
            raise EngineError(f"torch failed: {_first_line(error)}") from error

    def _lane(self, shapes: Mapping[str, Shape]) -> _Lane:
        """The buffers and the graph for these shapes, the most recently used last."""
        if self._graph is None:
            raise EngineError("the session was closed")
        key = tuple(shapes[name] for name in self.inputs)
        lane = self._lanes.pop(key, None) or _Lane(self._graph, shapes, self._device)
        self._lanes[key] = lane
        if len(self._lanes) > MOST_SHAPES:
            del self._lanes[next(iter(self._lanes))]
        return lane

    def close(self) -> None:
        self._lanes.clear()
        self._graph = None


class _Lane:
    """One set of shapes: pinned memory, tensors on the device, and the replay of a graph that was captured once."""

    def __init__(self, graph: TorchGraph, shapes: Mapping[str, Shape], device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._staged = {n: torch.zeros(shape, pin_memory=self._on_gpu) for n, shape in shapes.items()}
        self._inputs = {name: torch.zeros(shape, device=device) for name, shape in shapes.items()}
        known = graph.known(shapes)

        def forward() -> dict[str, Tensor]:
            feeds = {name: _as_compute(tensor, graph.dtype) for name, tensor in self._inputs.items()}
            return {name: value.float().contiguous() for name, value in graph.run(feeds, known).items()}

        self._replay: Callable[[], Any] = forward
        self._results: dict[str, Tensor] = {}
        if self._on_gpu:
            self._capture(forward)

    def _capture(self, forward: Callable[[], dict[str, Tensor]]) -> None:
        """As pytorch.org/docs/stable/notes/cuda.html says: warm up on a side stream, then capture."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                forward()
        torch.cuda.current_stream().wait_stream(side)
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured, capture_error_mode="thread_local"):
            self._results = forward()
        self._replay = captured.replay

    def run(self, feeds: Mapping[str, Array], count: int | None) -> dict[str, Array]:
        """`count` rows, padded with zeros (None: all); the arrays that come back are the caller's."""
        for name, array in feeds.items():
            staged = self._staged[name]
            staged[: len(array)].copy_(torch.from_numpy(array if array.flags.writeable else array.copy()))
            staged[len(array) :].zero_()
            self._inputs[name].copy_(staged, non_blocking=True)
        made = self._replay()
        results: dict[str, Tensor] = self._results if self._on_gpu else made
        return {name: np.array(value[:count].cpu().numpy(), np.float32) for name, value in results.items()}


def computed_in(model: bytes, device: torch.device) -> torch.dtype:
    """Half precision on a GPU, but for quantised networks: values rounded to it before fall on other 8-bit levels."""
    if device.type != "cuda":
        return torch.float32
    if not quantised(model):
        return torch.float16
    torch.backends.cudnn.allow_tf32 = False  # ten bits of mantissa would do the same; nothing else here is float32
    return torch.float32


def _as_compute(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """In the graph's precision; on a GPU pictures with their channels last, as its convolutions like them."""
    made = tensor.to(dtype)
    return made.contiguous(memory_format=torch.channels_last) if made.is_cuda and made.dim() == 4 else made


def _out_of_memory(error: Exception) -> GpuMemoryError:
    try:
        free, total = torch.cuda.mem_get_info()
    except RuntimeError:  # a GPU that is gone does not answer
        return GpuMemoryError(f"torch: the GPU's memory is too little: {_first_line(error)}")
    return GpuMemoryError(
        f"torch: the GPU has {free // 1024**2} MiB free of {total // 1024**2}, and that is too little: "
        f"{_first_line(error)}"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
