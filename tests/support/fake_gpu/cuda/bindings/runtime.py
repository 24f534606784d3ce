"""A strict stand-in for `cuda.bindings.runtime`: host memory plays the device's, and the rules are checked.

Strict: copying outside what was allocated, freeing twice, capturing twice, allocating or waiting inside a capture,
and using a stream or graph that is gone each fail as CUDA would, or raise AssertionError where CUDA would crash.

What the machine is like comes from the environment (also of a builder's process): FAKE_GPU_UUID, FAKE_GPU_NAME,
FAKE_GPU_DRIVER, FAKE_GPU_MIB (memory), FAKE_GPU_COUNT. `lose()` and `live` are for the tests themselves.
"""

# ruff: noqa: N801, N802, N815, N816

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from enum import IntEnum
from typing import Any


class cudaError_t(IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorNoDevice = 100
    cudaErrorDevicesUnavailable = 46
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901
    cudaErrorIllegalState = 401


class cudaMemcpyKind(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(IntEnum):
    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1
    cudaStreamCaptureModeRelaxed = 2


cudaHostAllocDefault = 0
cudaStreamNonBlocking = 1
OK = cudaError_t.cudaSuccess


class Live:
    """What is allocated and alive: by address or handle."""

    def __init__(self) -> None:
        self.device: dict[int, Any] = {}
        self.host: dict[int, Any] = {}
        self.streams: dict[int, Any] = {}
        self.graphs: set[int] = set()
        self.allocations = 0
        self.launches = 0
        self.lost = False


live = Live()


def lose(lost: bool = True) -> None:
    """From now on the GPU answers nothing but errors, as after it fell off the bus."""
    live.lost = lost


class _Text:
    def __init__(self, data: bytes) -> None:
        self.bytes = data


class _Properties:
    def __init__(self) -> None:
        self.name = os.environ.get("FAKE_GPU_NAME", "Fake GPU").encode() + b"\0" * 8
        self.major, self.minor = 8, 9
        self.uuid = _Text(os.environ.get("FAKE_GPU_UUID", "one").encode().ljust(16, b"\0"))
        self.totalGlobalMem = _total()


def _total() -> int:
    return int(os.environ.get("FAKE_GPU_MIB", "8192")) * 1024**2


def _used() -> int:
    return sum(ctypes.sizeof(block) for block in live.device.values())


def cudaGetDeviceCount() -> tuple[Any, ...]:
    count = int(os.environ.get("FAKE_GPU_COUNT", "1"))
    return (OK, count) if count else (cudaError_t.cudaErrorNoDevice, None)


def cudaGetDeviceProperties(device: int) -> tuple[Any, ...]:
    assert device == 0
    return OK, _Properties()


def cudaDriverGetVersion() -> tuple[Any, ...]:
    return OK, int(os.environ.get("FAKE_GPU_DRIVER", "12090"))


def cudaSetDevice(device: int) -> tuple[Any, ...]:
    assert device == 0
    return (cudaError_t.cudaErrorDevicesUnavailable,) if live.lost else (OK,)


def cudaMemGetInfo() -> tuple[Any, ...]:
    return OK, max(0, _total() - _used()), _total()


def cudaGetErrorString(error: Any) -> tuple[Any, ...]:
    return OK, error.name.encode()


def _not_capturing() -> bool:
    return not any(stream.captured is not None for stream in live.streams.values())


def cudaMalloc(size: int) -> tuple[Any, ...]:
    if live.lost:
        return cudaError_t.cudaErrorDevicesUnavailable, None
    assert _not_capturing(), "allocated inside a capture"
    if _used() + size > _total():
        return cudaError_t.cudaErrorMemoryAllocation, None
    block = (ctypes.c_uint8 * size)()
    live.device[ctypes.addressof(block)] = block
    live.allocations += 1
    return OK, ctypes.addressof(block)


def cudaHostAlloc(size: int, flags: int) -> tuple[Any, ...]:
    if live.lost:
        return cudaError_t.cudaErrorDevicesUnavailable, None
    assert _not_capturing(), "allocated inside a capture"
    block = (ctypes.c_uint8 * size)()
    live.host[ctypes.addressof(block)] = block
    live.allocations += 1
    return OK, ctypes.addressof(block)


def cudaFree(address: int) -> tuple[Any, ...]:
    assert address in live.device, "freed what is not allocated"
    del live.device[address]
    return (OK,)


def cudaFreeHost(address: int) -> tuple[Any, ...]:
    assert address in live.host, "freed what is not allocated"
    del live.host[address]
    return (OK,)


class cudaStream_t:
    """Work is done at once; while it captures, it is only noted."""

    def __init__(self) -> None:
        self.captured: list[Callable[[], None]] | None = None
        self.broken = False
        """What was captured is of no use: something in between can't be."""

    def __int__(self) -> int:
        return id(self)

    def do(self, work: Callable[[], None]) -> None:
        if self.captured is None:
            work()
        else:
            self.captured.append(work)


def stream_of(handle: Any) -> cudaStream_t:
    """The stream of a handle, as TensorRT gets it. It must be one of ours, alive."""
    assert int(handle) in live.streams, "a stream that is gone, or none"
    stream: cudaStream_t = live.streams[int(handle)]
    return stream


def cudaStreamCreateWithFlags(flags: int) -> tuple[Any, ...]:
    assert flags == cudaStreamNonBlocking
    if live.lost:
        return cudaError_t.cudaErrorDevicesUnavailable, None
    stream = cudaStream_t()
    live.streams[int(stream)] = stream
    return OK, stream


def cudaStreamDestroy(stream: Any) -> tuple[Any, ...]:
    del live.streams[int(stream)]
    return (OK,)


def cudaStreamSynchronize(stream: Any) -> tuple[Any, ...]:
    if live.lost:
        return (cudaError_t.cudaErrorDevicesUnavailable,)
    if stream_of(stream).captured is not None:
        return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
    return (OK,)


def cudaMemcpyAsync(target: int, source: int, size: int, kind: Any, stream: Any) -> tuple[Any, ...]:
    if live.lost:
        return (cudaError_t.cudaErrorDevicesUnavailable,)
    to_device = kind == cudaMemcpyKind.cudaMemcpyHostToDevice
    for address, known in (
        (target, live.device if to_device else live.host),
        (source, live.host if to_device else live.device),
    ):
        assert address in known, "copied to or from memory of another kind"
        assert size <= ctypes.sizeof(known[address]), "copied past the end"
    stream_of(stream).do(lambda: ctypes.memmove(target, source, size))
    return (OK,)


def cudaStreamBeginCapture(stream: Any, mode: Any) -> tuple[Any, ...]:
    assert isinstance(mode, cudaStreamCaptureMode)
    found = stream_of(stream)
    if found.captured is not None:
        return (cudaError_t.cudaErrorIllegalState,)
    found.captured = []
    return (OK,)


class _Graph:
    def __init__(self, work: list[Callable[[], None]]) -> None:
        self.work = work


def cudaStreamEndCapture(stream: Any) -> tuple[Any, ...]:
    found = stream_of(stream)
    if found.captured is None:
        return cudaError_t.cudaErrorIllegalState, None
    if found.broken:
        found.captured, found.broken = None, False
        return cudaError_t.cudaErrorStreamCaptureInvalidated, None
    graph, found.captured = _Graph(found.captured), None
    live.graphs.add(id(graph))
    return OK, graph


def cudaGraphInstantiateWithFlags(graph: Any, flags: int) -> tuple[Any, ...]:
    assert flags == 0
    assert id(graph) in live.graphs
    runnable = _Graph(graph.work)
    live.graphs.add(id(runnable))
    return OK, runnable


def cudaGraphLaunch(graph: Any, stream: Any) -> tuple[Any, ...]:
    if live.lost:
        return (cudaError_t.cudaErrorDevicesUnavailable,)
    assert id(graph) in live.graphs, "launched a graph that is gone"
    stream_of(stream)
    live.launches += 1
    for work in graph.work:
        work()
    return (OK,)


def cudaGraphExecDestroy(graph: Any) -> tuple[Any, ...]:
    live.graphs.remove(id(graph))
    return (OK,)


def cudaGraphDestroy(graph: Any) -> tuple[Any, ...]:
    live.graphs.remove(id(graph))
    return (OK,)
