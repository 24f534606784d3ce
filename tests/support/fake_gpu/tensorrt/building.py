"""Parser, configuration and builder."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import onnx

from .naming import (
    MAGIC,
    UNSUPPORTED,
    BuilderFlag,
    ILogger,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    __version__,
    complain,
    host_memory,
    register,
    since,
)

if since((10, 0)):

    class IProgressMonitor:
        def __init__(self) -> None:
            self.made = True


class _Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.model: Any = None

    @property
    def strong(self) -> bool:
        if since((11, 0)):
            return True
        return since((9, 1)) and bool(self.flags & (1 << int(NetworkDefinitionCreationFlag.STRONGLY_TYPED)))


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
        if since((10, 0)) and name in ("node_name", "node_operator"):
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
        if since((0, 0), (10, 0)):
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
        return host_memory(self.data)


class _Config:
    def __init__(self) -> None:
        self.pools: dict[Any, int] = {}
        self.flags: set[Any] = {BuilderFlag.TF32}
        self.profiles: list[_Profile] = []
        self.cache: _TimingCache | None = None
        self._monitor: Any = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "progress_monitor" and not since((10, 0)):
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
        register(self, logger)

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
            complain("Network has FP16 precision specified, but the builder is not configured for it")
            return None
        eight_bits = any(node.op_type == "QuantizeLinear" for node in proto.graph.node)
        if eight_bits and not network.strong and BuilderFlag.INT8 not in config.flags:
            complain("Int8 precision has been set for a layer, but int8 is not configured in the builder")
            return None
        if network.strong and since((0, 0), (11, 0)):
            assert not {f for f in config.flags if f.name in ("FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS")}, (
                "precision flags are refused for strongly typed networks"
            )
        self._go_through(getattr(config, "progress_monitor", None))
        if os.environ.get("FAKE_BUILD") == "memory":
            complain("Requested amount of GPU memory (1073741824 bytes) could not be allocated")
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
        return host_memory(MAGIC + len(text).to_bytes(4, "little") + text + network.model)

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
