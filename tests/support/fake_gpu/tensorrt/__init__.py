"""A strict stand-in for `tensorrt` of the version in FAKE_TENSORRT (8.5.3, 10.16.1 or 11.4.0): same names, same rules.

A name that the version does not have is an AttributeError, as with the real one. Plans run in ONNX Runtime on the
memory that the stand-in for CUDA handed out; they carry the version and the GPU that they were built for, and are
refused elsewhere. FAKE_BUILD_SECONDS makes a build take that long; FAKE_BUILD says how it goes wrong: `memory` (the
GPU has too little), `crash` (the process dies), `kill` (as by the kernel, short of memory). FAKE_CAPTURE=refused makes
engines that can't be captured in a CUDA graph.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import time
import weakref
from enum import IntEnum
from typing import Any

import numpy as np
import onnx
import onnxruntime
from cuda.bindings import runtime as cudart

__version__ = os.environ.get("FAKE_TENSORRT", "10.16.1.11")
_NUMBER = tuple(int(part) for part in __version__.split(".")[:2])
UNSUPPORTED = ("NonZero", "Unique")
MAGIC = b"FAKEPLAN"


def _since(since: tuple[int, int], until: tuple[int, int] = (99, 0)) -> bool:
    return since <= _NUMBER < until


class TensorIOMode(IntEnum):
    NONE, INPUT, OUTPUT = 0, 1, 2


class DataType(IntEnum):
    FLOAT, HALF, INT8, INT32, BOOL = 0, 1, 2, 3, 4


class MemoryPoolType(IntEnum):
    WORKSPACE = 0


def _flags(name: str, **spans: tuple[tuple[int, int], tuple[int, int]]) -> Any:
    members = [(flag, number) for number, (flag, span) in enumerate(spans.items()) if _since(*span)]
    return IntEnum(name, members)  # type: ignore[misc]


ALWAYS = ((0, 0), (99, 0))
NetworkDefinitionCreationFlag = _flags(
    "NetworkDefinitionCreationFlag", EXPLICIT_BATCH=((0, 0), (11, 0)), STRONGLY_TYPED=((9, 1), (99, 0))
)
BuilderFlag = _flags(
    "BuilderFlag",
    FP16=((0, 0), (11, 0)),
    INT8=((0, 0), (11, 0)),
    TF32=ALWAYS,
    OBEY_PRECISION_CONSTRAINTS=((0, 0), (11, 0)),
)


class ILogger:
    class Severity(IntEnum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = 0, 1, 2, 3, 4

    def __init__(self) -> None:
        self.made = True

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError  # the real one is abstract, too


_users: weakref.WeakSet[Any] = weakref.WeakSet()
_logger: Any = None


def _register(user: Any, logger: ILogger) -> None:
    """The real one knows a single logger: that of the first builder or runtime, until none of them is left."""
    global _logger
    assert logger.made, "the logger's own __init__ was not called"
    if not len(_users):
        _logger = weakref.ref(logger)
    _users.add(user)


def _complain(message: str) -> None:
    logger = _logger()
    assert logger is not None, "the one logger is gone: the real one would crash here"
    logger.log(ILogger.Severity.ERROR, message)


def _host_memory(data: bytes) -> Any:
    """As IHostMemory: a buffer, and no bytes."""
    return (ctypes.c_uint8 * len(data)).from_buffer_copy(data)


def _tf32(values: Any) -> Any:
    """float32 with ten bits of mantissa."""
    return (np.ascontiguousarray(values).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def init_libnvinfer_plugins(logger: ILogger, namespace: str) -> bool:
    assert isinstance(logger, ILogger)
    return True


if _since((10, 0)):

    class IProgressMonitor:
        def __init__(self) -> None:
            self.made = True


class _Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.model: Any = None

    @property
    def strong(self) -> bool:
        if _since((11, 0)):
            return True
        return _since((9, 1)) and bool(self.flags & (1 << int(NetworkDefinitionCreationFlag.STRONGLY_TYPED)))


class _ParserError:
    def __init__(self, index: int, node: Any) -> None:
        self._index, self._node = index, node

    def code(self) -> int:
        return 8

    def desc(self) -> str:
        return f"No importer registered for op: {self._node.op_type}"

    def node(self) -> int:
        return self._index

    def __getattr__(self, name: str) -> Any:
        if _since((10, 0)) and name in ("node_name", "node_operator"):
            return lambda: self._node.name if name == "node_name" else self._node.op_type
        raise AttributeError(name)


def _refused(node: Any, signed: set[str]) -> bool:
    """Also quantisation that is not symmetric: zero points must be 0, of signed integers."""
    return node.op_type in UNSUPPORTED or (node.op_type == "QuantizeLinear" and node.input[2] not in signed)


class OnnxParser:
    def __init__(self, network: _Network, logger: ILogger) -> None:
        self._network = network
        self._errors: list[_ParserError] = []

    def parse(self, model: bytes) -> bool:
        if _since((0, 0), (10, 0)):
            explicit = 1 << int(NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
            assert self._network.flags & explicit, "before 10 the batch must be explicit for the ONNX parser"
        proto = onnx.load_model_from_string(model)
        signed = {t.name for t in proto.graph.initializer if t.data_type == onnx.TensorProto.INT8}
        self._errors = [_ParserError(i, n) for i, n in enumerate(proto.graph.node) if _refused(n, signed)]
        self._network.model = model
        return not self._errors

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> _ParserError:
        return self._errors[index]


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, Any, Any]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        assert len(min) == len(opt) == len(max)
        self.shapes[input] = (tuple(min), tuple(opt), tuple(max))


class _TimingCache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> Any:
        return _host_memory(self.data)


class _Config:
    def __init__(self) -> None:
        self.pools: dict[Any, int] = {}
        self.flags: set[Any] = {BuilderFlag.TF32}
        self.profiles: list[_Profile] = []
        self.cache: _TimingCache | None = None
        self._monitor: Any = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "progress_monitor" and not _since((10, 0)):
            raise AttributeError(name)
        super().__setattr__(name, value)

    def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None:
        self.pools[pool] = int(size)

    def set_flag(self, flag: Any) -> None:
        assert isinstance(flag, BuilderFlag)
        self.flags.add(flag)

    def clear_flag(self, flag: Any) -> None:
        assert isinstance(flag, BuilderFlag)
        self.flags.discard(flag)

    def add_optimization_profile(self, profile: _Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, data: bytes) -> _TimingCache | None:
        return _TimingCache(bytes(data)) if not data or data.startswith(b"TIMED") else None

    def set_timing_cache(self, cache: _TimingCache, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return True

    def get_timing_cache(self) -> _TimingCache | None:
        return self.cache


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger
        _register(self, logger)

    def create_network(self, flags: int = 0) -> _Network:
        return _Network(flags)

    def create_builder_config(self) -> _Config:
        return _Config()

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> Any:
        assert network.model is not None, "nothing was parsed"
        assert config.profiles, "a network with a free batch needs a profile"
        assert config.pools.get(MemoryPoolType.WORKSPACE), "no workspace was given"
        proto = onnx.load_model_from_string(network.model)
        half = any(t.data_type == onnx.TensorProto.FLOAT16 for t in proto.graph.initializer)
        if half and not network.strong and BuilderFlag.FP16 not in config.flags:
            _complain("Network has FP16 precision specified, but the builder is not configured for it")
            return None
        eight_bits = any(node.op_type == "QuantizeLinear" for node in proto.graph.node)
        if eight_bits and not network.strong and BuilderFlag.INT8 not in config.flags:
            _complain("Int8 precision has been set for a layer, but int8 is not configured in the builder")
            return None
        if network.strong and _since((0, 0), (11, 0)):
            assert not {f for f in config.flags if f.name in ("FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS")}, (
                "precision flags are refused for strongly typed networks"
            )
        self._go_through(getattr(config, "progress_monitor", None))
        if os.environ.get("FAKE_BUILD") == "memory":
            _complain("Requested amount of GPU memory (1073741824 bytes) could not be allocated")
            return None
        if config.cache is not None:
            config.cache.data = config.cache.data or b"TIMED"
            config.cache.data += b"."
        header = {
            "version": __version__,
            "uuid": os.environ.get("FAKE_GPU_UUID", "one"),
            "profiles": [p.shapes for p in config.profiles],
            "timed": len(config.cache.data) if config.cache else 0,
            "tf32": BuilderFlag.TF32 in config.flags,
        }
        text = json.dumps(header).encode()
        return _host_memory(MAGIC + len(text).to_bytes(4, "little") + text + network.model)

    def _go_through(self, monitor: Any) -> None:
        """Two phases, one within the other, as the real one reports them."""
        seconds = float(os.environ.get("FAKE_BUILD_SECONDS", "0"))
        steps = 10
        if monitor is not None:
            assert isinstance(monitor, IProgressMonitor)
            assert monitor.made
            monitor.phase_start("Building Engine", None, steps)
        for step in range(steps):
            if monitor is not None:
                monitor.phase_start(f"Tactics {step}", "Building Engine", 2)
                monitor.step_complete(f"Tactics {step}", 0)
            time.sleep(seconds / steps)
            self._go_wrong(step)
            if monitor is not None:
                monitor.phase_finish(f"Tactics {step}")
                monitor.step_complete("Building Engine", step)
        if monitor is not None:
            monitor.phase_finish("Building Engine")

    def _go_wrong(self, step: int) -> None:
        how = os.environ.get("FAKE_BUILD")
        if step == 4 and how == "crash":
            os._exit(77)
        if step == 4 and how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger
        _register(self, logger)

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
        if plan[:8] != MAGIC:
            _complain("Serialization assertion magicTagRead == kPLAN_MAGIC_TAG failed")
            return None
        length = int.from_bytes(plan[8:12], "little")
        header = json.loads(plan[12 : 12 + length])
        if header["version"] != __version__:
            _complain("The engine plan file is not compatible with this version of TensorRT")
            return None
        if header["uuid"] != os.environ.get("FAKE_GPU_UUID", "one"):
            _complain("The engine plan file is generated on an incompatible device")
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
        if name == "device_memory_size" and _since((0, 0), (11, 0)):
            return memory
        if name == "device_memory_size_v2" and _since((10, 1)):
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
            _complain(f"Profile {profile_index} has been chosen by another IExecutionContext")
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
            _complain("Error Code 1: Cuda Runtime (no device, or a tensor without an address)")
            return False
        stream = cudart.stream_of(stream_handle)
        if stream.captured is not None and os.environ.get("FAKE_CAPTURE") == "refused":
            stream.broken = True
            _complain("Error Code 1: Cuda Runtime (operation not permitted when stream is capturing)")
            return False
        assert self._ran or stream.captured is None, "one run is needed before a capture"
        self._ran = True
        stream.do(self._run)
        return True

    def _run(self) -> None:
        feeds = {name: self._array(name, self._shapes[name]).copy() for name in self._engine._inputs}
        results = self._engine._session.run(self._engine._outputs, feeds)
        for name, result in zip(self._engine._outputs, results, strict=True):
            self._array(name, result.shape)[...] = _tf32(result) if self._engine._tf32 else result

    def _array(self, name: str, shape: tuple[int, ...]) -> Any:
        block = cudart.live.device[self._addresses[name]]
        count = int(np.prod(shape))
        assert count * 4 <= ctypes.sizeof(block), f"the memory of {name} is too small"
        return np.frombuffer(block, np.float32, count).reshape(shape)
