"""Runtime, engine and execution context."""

from __future__ import annotations

import ctypes
import json
import os
import weakref
from typing import Any

import numpy as np
import onnxruntime
from cuda.bindings import runtime as cudart

from .naming import MAGIC, DataType, ILogger, TensorIOMode, __version__, complain, register, since, tf32


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger
        register(self, logger)

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
        if plan[:8] != MAGIC:
            complain("Serialization assertion magicTagRead == kPLAN_MAGIC_TAG failed")
            return None
        length = int.from_bytes(plan[8:12], "little")
        header = json.loads(plan[12 : 12 + length])
        if header["version"] != __version__:
            complain("The engine plan file is not compatible with this version of TensorRT")
            return None
        if header["uuid"] != os.environ.get("FAKE_GPU_UUID", "one"):
            complain("The engine plan file is generated on an incompatible device")
            return None
        return _Engine(header, plan[12 + length :], self)


class _Engine:
    def __init__(self, header: dict[str, Any], model: bytes, runtime: Runtime) -> None:
        self._runtime = runtime  # kept alive, as by the real one
        self._tf32 = header["tf32"]
        self._taken: weakref.WeakValueDictionary[int, _Context] = weakref.WeakValueDictionary()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._profiles = header["profiles"]
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._outputs = [value.name for value in self._session.get_outputs()]
        self.num_io_tensors = len(self._inputs) + len(self._outputs)
        self.num_optimization_profiles = len(self._profiles)

    def __getattr__(self, name: str) -> Any:
        memory = int(os.environ.get("FAKE_CONTEXT_MIB", "1")) * 1024**2
        if name == "device_memory_size" and since((0, 0), (11, 0)):
            return memory
        if name == "device_memory_size_v2" and since((10, 1)):
            return memory
        raise AttributeError(name)

    def get_tensor_name(self, index: int) -> str:
        return [*self._inputs, *self._outputs][index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        values = {v.name: v.type for v in [*self._session.get_inputs(), *self._session.get_outputs()]}
        return DataType.FLOAT if values[name] == "tensor(float)" else DataType.HALF

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self._profiles[profile][name]]

    def create_execution_context(self) -> _Context:
        return _Context(self)


class _Context:
    """Profile, then shapes, then addresses, then a run: any other order is refused or asserted."""

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._profile: int | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._sizes: dict[str, tuple[int, ...]] = {}
        self._ran = False

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        cudart.stream_of(stream_handle)
        if profile_index >= self._engine.num_optimization_profiles:
            return False
        if self._engine._taken.get(profile_index, self) is not self:
            complain(f"Profile {profile_index} has been chosen by another IExecutionContext")
            return False
        self._engine._taken[profile_index] = self
        self._profile = profile_index
        self._shapes.clear()
        return True

    def set_input_shape(self, name: str, shape: Any) -> bool:
        if self._profile is None:
            return False
        low, _, high = self._engine._profiles[self._profile][name]
        fits = all(a <= s <= b for a, s, b in zip(low, shape, high, strict=True))
        if fits:
            self._shapes[name] = tuple(shape)
        return fits

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._engine._inputs:
            return self._shapes.get(name, (-1,))
        assert set(self._shapes) == set(self._engine._inputs), "shapes of outputs are known once those of inputs are"
        if name not in self._sizes:
            feeds = {n: np.zeros(s, np.float32) for n, s in self._shapes.items()}
            results = self._engine._session.run(self._engine._outputs, feeds)
            self._sizes = {n: r.shape for n, r in zip(self._engine._outputs, results, strict=True)}
        return self._sizes[name]

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address in cudart.live.device, "an address that is no device memory"
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        if set(self._addresses) != {*self._engine._inputs, *self._engine._outputs} or cudart.live.lost:
            complain("Error Code 1: Cuda Runtime (no device, or a tensor without an address)")
            return False
        stream = cudart.stream_of(stream_handle)
        if stream.captured is not None and os.environ.get("FAKE_CAPTURE") == "refused":
            stream.broken = True
            complain("Error Code 1: Cuda Runtime (operation not permitted when stream is capturing)")
            return False
        assert self._ran or stream.captured is None, "one run is needed before a capture"
        self._ran = True
        stream.do(self._run)
        return True

    def _run(self) -> None:
        feeds = {name: self._array(name, self._shapes[name]).copy() for name in self._engine._inputs}
        results = self._engine._session.run(self._engine._outputs, feeds)
        for name, result in zip(self._engine._outputs, results, strict=True):
            wrong = len(result) == int(os.environ.get("FAKE_WRONG_BATCH", "0"))
            self._array(name, result.shape)[...] = tf32(result) if self._engine._tf32 else result + wrong

    def _array(self, name: str, shape: tuple[int, ...]) -> Any:
        block = cudart.live.device[self._addresses[name]]
        count = int(np.prod(shape))
        assert count * 4 <= ctypes.sizeof(block), f"the memory of {name} is too small"
        return np.frombuffer(block, np.float32, count).reshape(shape)
