"""The only file that knows the package `cuda.bindings`: device memory, pinned memory, a stream, graphs of it.

CUDA runtime API through NVIDIA's own bindings (nvidia.github.io/cuda-python; github.com/NVIDIA/cuda-python, package
`cuda-bindings`): every call returns a tuple whose first element is a `cudaError_t`. Handles are passed on as ints.
Device 0 is used; CUDA_VISIBLE_DEVICES chooses which one that is.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from cuda.bindings import runtime as cudart

from ..errors import EngineError, GpuMemoryError

Address = int
TOO_OLD = 35
"""cudaErrorInsufficientDriver; also where there is no driver at all."""
_MIB = 1024**2
_DRIVER_FILE = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class Device:
    """The GPU. `driver` is the CUDA version that the driver knows and, where Linux tells it, the driver's own."""

    name: str
    capability: str
    uuid: str
    driver: str
    memory_bytes: int


def device() -> Device:
    """Device 0. Raises EngineError where there is none or the driver is too old for the installed bindings."""
    if _call("count the GPUs", cudart.cudaGetDeviceCount()) < 1:
        raise EngineError("the NVIDIA driver sees no GPU; check `nvidia-smi`")
    found = _call("read the GPU's properties", cudart.cudaGetDeviceProperties(0))
    version = _call("read the driver's version", cudart.cudaDriverGetVersion())
    return Device(
        name=found.name.split(b"\0")[0].decode("utf-8", "replace"),
        capability=f"{found.major}.{found.minor}",
        uuid=bytes(found.uuid.bytes).hex(),
        driver=f"CUDA {version // 1000}.{version % 1000 // 10}{_kernel_module()}",
        memory_bytes=int(found.totalGlobalMem),
    )


def _kernel_module() -> str:
    """`, 550.54.14` where the kernel's module says so: two drivers may know the same CUDA."""
    try:
        text = _DRIVER_FILE.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    number = re.search(r"\b\d+\.\d+(\.\d+)?\b", text)
    return f", {number.group()}" if number else ""


def use_device() -> None:
    """Make device 0 the calling thread's: each thread has a current device of its own."""
    _call("use the GPU", cudart.cudaSetDevice(0))


def free_memory() -> tuple[int, int]:
    """Bytes that are free on the GPU, and in all."""
    _, free, total = _checked("ask for free GPU memory", cudart.cudaMemGetInfo())
    return int(free), int(total)


class Buffer:
    """Memory on the device. Raises GpuMemoryError, saying how much is free, where it can't be had."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.address: Address = _allocated(size, "GPU memory", cudart.cudaMalloc(size))

    def free(self) -> None:
        """Once more is fine. A GPU that was lost takes its memory along, so what it says is not asked."""
        if self.address:
            cudart.cudaFree(self.address)
        self.address = 0


class Pinned:
    """An array of float32 in page-locked memory of the host, from which the GPU copies by itself."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(np.float32).itemsize
        self.address: Address = _allocated(
            size, "page-locked memory", cudart.cudaHostAlloc(size, cudart.cudaHostAllocDefault)
        )
        block = (ctypes.c_uint8 * size).from_address(self.address)
        self.array: npt.NDArray[np.float32] = np.frombuffer(memoryview(block).cast("B"), np.float32).reshape(shape)

    def free(self) -> None:
        """Once more is fine. `array` is emptied first: nobody may read memory that is gone."""
        self.array = np.empty(0, self.array.dtype)
        if self.address:
            cudart.cudaFreeHost(self.address)
        self.address = 0


class Stream:
    """A stream of its own, which does not wait for the default one."""

    def __init__(self) -> None:
        made = _call("make a stream", cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))
        self._stream: Any = made

    @property
    def handle(self) -> int:
        if self._stream is None:
            raise EngineError("the stream was closed")
        return int(self._stream)

    def to_device(self, source: Pinned, target: Buffer) -> None:
        self._copy(target.address, source.address, source.array.nbytes, cudart.cudaMemcpyKind.cudaMemcpyHostToDevice)

    def to_host(self, source: Buffer, target: Pinned) -> None:
        self._copy(target.address, source.address, target.array.nbytes, cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost)

    def wait(self) -> None:
        """Until all that was asked of it is done. Raises EngineError where that, or the GPU, failed."""
        _call("run on the GPU", cudart.cudaStreamSynchronize(self._stream))

    @contextlib.contextmanager
    def captured(self) -> Iterator[Capture]:
        """What is asked of the stream inside is not done but noted: `capture.graph` afterwards does it all at once.

        Thread-local: what other threads ask of the GPU meanwhile (another engine, say) does not break the capture.
        """
        capture = Capture()
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        _call("begin a CUDA graph", cudart.cudaStreamBeginCapture(self._stream, mode))
        try:
            yield capture
        except BaseException:
            cudart.cudaStreamEndCapture(self._stream)
            raise
        capture.graph = Graph(_call("end a CUDA graph", cudart.cudaStreamEndCapture(self._stream)), self)

    def close(self) -> None:
        if self._stream is not None:
            cudart.cudaStreamDestroy(self._stream)
        self._stream = None

    def _copy(self, target: Address, source: Address, size: int, kind: Any) -> None:
        _call("copy to or from the GPU", cudart.cudaMemcpyAsync(target, source, size, kind, self._stream))


@dataclass(slots=True)
class Capture:
    """Holds the graph once the capture has ended."""

    graph: Graph | None = None


class Graph:
    """Work that was captured, ready to be launched on its stream again and again without Python in between."""

    def __init__(self, graph: Any, stream: Stream) -> None:
        self._stream = stream
        self._graph = graph
        try:
            # Of the ways to do this, the one that takes the same arguments in CUDA 11, 12 and 13.
            self._runnable: Any = _call("ready a CUDA graph", cudart.cudaGraphInstantiateWithFlags(graph, 0))
        except EngineError:
            cudart.cudaGraphDestroy(graph)
            raise

    def launch(self) -> None:
        _call("launch a CUDA graph", cudart.cudaGraphLaunch(self._runnable, self._stream.handle))

    def free(self) -> None:
        if self._runnable is not None:
            cudart.cudaGraphExecDestroy(self._runnable)
            cudart.cudaGraphDestroy(self._graph)
        self._runnable = self._graph = None


def _allocated(size: int, what: str, answer: tuple[Any, ...]) -> Address:
    if answer[0] == cudart.cudaError_t.cudaErrorMemoryAllocation:
        free, total = free_memory()
        raise GpuMemoryError(
            f"there is too little {what}: {size / _MIB:.1f} MiB are needed at once; the GPU has {free // _MIB} MiB "
            f"free of {total // _MIB}; end other programs on it, or choose smaller shapes"
        )
    return int(_checked(f"take {what}", answer)[1])


def _call(what: str, answer: tuple[Any, ...]) -> Any:
    """The one thing that a call returns beside its status; None where there is none."""
    values = _checked(what, answer)
    return values[1] if len(values) > 1 else None


def _checked(what: str, answer: tuple[Any, ...]) -> tuple[Any, ...]:
    status = answer[0]
    if status != cudart.cudaError_t.cudaSuccess:
        _, words = cudart.cudaGetErrorString(status)
        if int(status) == TOO_OLD:
            words += b"; update the driver, or install bindings that it knows: pip install 'cuda-bindings<13'"
        raise EngineError(f"can't {what}: {words.decode('utf-8', 'replace')} (CUDA error {int(status)})")
    return answer
