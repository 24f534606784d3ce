"""The only file that knows the package `tensorrt`. What differs between its versions stands in one table, SPANS.

Python API of TensorRT 8.5 to 11 (docs.nvidia.com/deeplearning/tensorrt, the archives of 8.5.3, 8.6.1, 10.0.1 and
11.4; the pages "Migrating Python Code from TensorRT 8.x to 10.x" and "... from 10.x to 11.x"). Which names a version
has was also read from the wheels `tensorrt-cu12-bindings` 10.0.1, 10.16.1 and 11.4.0.

Named tensors (`set_input_shape`, `set_tensor_address`, `execute_async_v3`) are there since 8.5; indices of bindings,
gone in 10, are not used at all.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorrt as trt

from ..errors import EngineError
from .reshaping import node_at

Shape = tuple[int, ...]
Told = Callable[[str, str, int, int], None]
"""Told of a build: phase, the phase it belongs to (empty: none), steps done, of how many. Any thread."""

OLDEST = (8, 5)
VERSION: str = str(trt.__version__)
_NUMBER = tuple(int(part) for part in re.findall(r"\d+", VERSION)[:2])

SPANS: Mapping[str, tuple[tuple[int, int], tuple[int, int]]] = {
    # Networks without a batch dimension of their own: 8 must be told not to make one, 10 ignores the flag, 11 lacks it.
    "explicit_batch": ((8, 5), (10, 0)),
    # The types of the ONNX file are kept as they are. A flag until 11, where it is the only way.
    "strongly_typed": ((9, 1), (11, 0)),
    # Before that, types of lower precision must be allowed by a flag, and the file's own casts be obeyed.
    "precision_flags": ((8, 5), (9, 1)),
    "progress_monitor": ((10, 0), (99, 0)),
    # The operator and name of the node that the parser stumbled over; before, its index only.
    "node_names": ((10, 0), (99, 0)),
    "device_memory_size": ((8, 5), (10, 1)),
    "device_memory_size_v2": ((10, 1), (99, 0)),
}
"""What there is from a version on, and until which (not included)."""


def has(feature: str) -> bool:
    since, until = SPANS[feature]
    return since <= _NUMBER < until


def check_version() -> None:
    """Raises EngineError for a TensorRT before 8.5, which has no named tensors."""
    if _NUMBER < OLDEST:
        raise EngineError(
            f"TensorRT {VERSION} is installed, 8.5 or later is needed; "
            "update it with: pip install 'stream-guard[tensorrt]'"
        )


class _Log(trt.ILogger):  # type: ignore[misc]
    """Keeps the last errors: TensorRT's calls say only that they failed.

    One for the process, for ever: TensorRT knows a single logger at a time, the first that it was given, and writes to
    it for every engine, also when the one that came with it is gone.
    """

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: deque[str] = deque(maxlen=8)

    def log(self, severity: Any, msg: str) -> None:
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self.errors.append(msg.strip())

    def failed(self, what: str) -> EngineError:
        said = " | ".join(dict.fromkeys(self.errors)) or "it gave no reason"
        self.errors.clear()
        return EngineError(f"TensorRT {VERSION} {what}: {said}")


_LOG = _Log()


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to build. `profiles` holds the shapes of every input, a profile each; no shape is ever stretched.

    `quantised` says that the file has Q/DQ nodes, whatever the precision of the rest.
    """

    profiles: Sequence[Mapping[str, Shape]]
    precision: str
    quantised: bool
    workspace_bytes: int
    timing_cache: bytes = b""


@dataclass(frozen=True, slots=True)
class Built:
    """A plan, and what was learnt of the speed of kernels while it was built."""

    plan: bytes
    timing_cache: bytes


def build(model: bytes, recipe: Recipe, told: Told) -> Built:
    """Compile an ONNX model. Takes minutes.

    Raises EngineError naming each operator that TensorRT does not support, or with TensorRT's own words.
    """
    check_version()
    trt.init_libnvinfer_plugins(_LOG, "")
    builder = trt.Builder(_LOG)
    network = builder.create_network(_network_flags())
    _parse(model, network)
    config = _config(builder, recipe)
    monitor = _monitor(told) if has("progress_monitor") else None  # held here: it must outlive the build
    if monitor is not None:
        config.progress_monitor = monitor
    cache = config.create_timing_cache(recipe.timing_cache)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        cache = config.create_timing_cache(b"")  # another machine's, or damaged: begin anew
        config.set_timing_cache(cache, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _LOG.failed("can't build the engine")
    learnt = config.get_timing_cache()
    return Built(bytes(plan), bytes(learnt.serialize()) if learnt is not None else b"")


def _network_flags() -> int:
    flags = 0
    if has("explicit_batch"):
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    if has("strongly_typed"):
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    return flags


def _parse(model: bytes, network: Any) -> None:
    parser = trt.OnnxParser(network, _LOG)
    if parser.parse(model):
        return
    errors = [_parser_error(parser.get_error(number), model) for number in range(parser.num_errors)]
    raise EngineError(
        f"TensorRT {VERSION} can't take the model: {'; '.join(errors) or 'the parser gave no reason'}; "
        "use another backend for this engine"
    )


def _parser_error(error: Any, model: bytes) -> str:
    """The node by operator and name, and what is wrong with it. Before 10 the parser knows its number only."""
    if has("node_names"):
        operator, name = error.node_operator(), error.node_name()
    else:
        operator, name = node_at(model, int(error.node()))
    return f"operator {operator} ({name}): {error.desc()}"


def _config(builder: Any, recipe: Recipe) -> Any:
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, recipe.workspace_bytes)
    # On unless it is said: what the file leaves in float32 would be multiplied with 10 bits of mantissa.
    config.clear_flag(trt.BuilderFlag.TF32)
    if has("precision_flags") and recipe.precision in ("fp16", "int8"):
        config.set_flag(trt.BuilderFlag.FP16)
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    if has("precision_flags") and recipe.quantised:
        config.set_flag(trt.BuilderFlag.INT8)
    for shapes in recipe.profiles:
        profile = builder.create_optimization_profile()
        for name, shape in shapes.items():
            profile.set_shape(name, shape, shape, shape)
        if config.add_optimization_profile(profile) < 0:
            raise EngineError(f"TensorRT {VERSION} does not take the shapes {dict(shapes)}")
    return config


def _monitor(told: Told) -> Any:
    """Made here, not at the top: the class that it stands on is not in every version."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._phases: dict[str, tuple[str, int]] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._phases[phase_name] = (parent_phase or "", num_steps)
            told(phase_name, parent_phase or "", 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            parent, steps = self._phases.get(phase_name, ("", step + 1))
            told(phase_name, parent, step + 1, steps)
            return True

        def phase_finish(self, phase_name: str) -> None:
            parent, steps = self._phases.pop(phase_name, ("", 1))
            told(phase_name, parent, steps, steps)

    return Monitor()


class Engine:
    """A plan that was loaded: its tensors by name, and a context for each of its profiles."""

    def __init__(self, plan: bytes) -> None:
        """Raises EngineError for a plan of another version or GPU, and for one that is damaged."""
        check_version()
        trt.init_libnvinfer_plugins(_LOG, "")
        self._runtime = trt.Runtime(_LOG)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise _LOG.failed("can't load the plan")
        names = [self._engine.get_tensor_name(number) for number in range(self._engine.num_io_tensors)]
        inputs = {n for n in names if self._engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT}
        self.inputs = tuple(name for name in names if name in inputs)
        self.outputs = tuple(name for name in names if name not in inputs)
        others = [n for n in names if self._engine.get_tensor_dtype(n) != trt.DataType.FLOAT]
        if others:
            raise EngineError(f"the plan's tensors {others} are not float32; run `engines build --force`")

    @property
    def memory_bytes(self) -> int:
        """GPU memory that a context takes for what lies between the layers."""
        engine = self._engine
        return int(engine.device_memory_size_v2 if has("device_memory_size_v2") else engine.device_memory_size)

    @property
    def profiles(self) -> tuple[dict[str, Shape], ...]:
        """The shapes of the inputs, profile by profile."""
        return tuple(
            {name: tuple(self._engine.get_tensor_profile_shape(name, number)[1]) for name in self.inputs}
            for number in range(self._engine.num_optimization_profiles)
        )

    def context(self, profile: int, shapes: Mapping[str, Shape], stream: int) -> Context:
        """A context that runs one profile. Raises EngineError where the GPU has no memory for it."""
        made = self._engine.create_execution_context()
        if made is None:
            raise _LOG.failed("can't make an execution context")
        if not made.set_optimization_profile_async(profile, stream):
            raise _LOG.failed(f"can't choose profile {profile}")
        for name, shape in shapes.items():
            if not made.set_input_shape(name, shape):
                raise _LOG.failed(f"does not take the shape {shape} of input {name!r}")
        return Context(made, self)


class Context:
    """One profile, ready to run on addresses that stay the same."""

    def __init__(self, context: Any, engine: Engine) -> None:
        self._context = context
        self._engine = engine  # an engine and its runtime must outlive its contexts

    def shape(self, name: str) -> Shape:
        """Raises EngineError where it depends on what the input holds: there is no memory to set aside for it."""
        shape = tuple(int(side) for side in self._context.get_tensor_shape(name))
        if any(side < 0 for side in shape):
            raise EngineError(f"the size of {name!r} is not known before a run: {shape}; use another backend")
        return shape

    def bind(self, name: str, address: int) -> None:
        if not self._context.set_tensor_address(name, address):
            raise _LOG.failed(f"does not take the address of {name!r}")

    def enqueue(self, stream: int) -> None:
        """Ask for one run on the stream; it is over when the stream says so."""
        if not self._context.execute_async_v3(stream):
            raise _LOG.failed("can't run the engine")
