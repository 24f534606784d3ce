"""TensorRT: one context, one set of buffers and one CUDA graph for each batch size, made once and used for ever."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import EngineError, GpuMemoryError
from . import cuda_api, tensorrt_api
from .batches import BATCHES, rows_of, split
from .builder import BuildOrder, Progress, Watch, build
from .feeds import Shape, check_feeds
from .plans import PlanCache, PlanFile, PlanKey
from .precision import PRECISIONS, TOLERANCES, Precision, input_shapes, parity
from .session import Array
from .watch import EngineEvent, listener

PRECISION_VARIABLE = "STREAM_GUARD_PRECISION"
"""fp16 unless it says fp32 or int8; int8 runs only plans that `engines build --calibration` has made."""
_MIB = 1024**2
_log = logging.getLogger(__name__)


def chosen_precision() -> Precision:
    """Raises EngineError where the variable holds another word."""
    word = os.environ.get(PRECISION_VARIABLE) or "fp16"
    for precision in PRECISIONS:
        if word == precision:
            return precision
    raise EngineError(f"{PRECISION_VARIABLE} is {word!r}; choose one of: {', '.join(PRECISIONS)}")


def order_for(
    model: bytes,
    precision: str,
    profiles: Sequence[Mapping[str, Shape]] = (),
    calibration: Path | None = None,
) -> BuildOrder:
    """What to build of a model for the GPU that is here.

    `profiles` are shapes of all inputs, one after another; the usual batch sizes if not given. Raises EngineError where
    a size other than the batch stays open, and where there is no GPU.
    """
    chosen = checked_profiles(profiles, input_shapes(model)) if profiles else profiles_of(input_shapes(model))
    gpu = cuda_api.device()
    tensorrt_api.check_version()
    key = PlanKey(
        model_sha256=hashlib.sha256(model).hexdigest(),
        tensorrt=tensorrt_api.VERSION,
        gpu=gpu.name,
        capability=gpu.capability,
        uuid=gpu.uuid,
        driver=gpu.driver,
        precision=precision,
        shapes=_as_text(chosen),
        calibration_sha256=_sum_of(calibration),
    )
    return BuildOrder(key, model, chosen, calibration)


def checked_profiles(profiles: Sequence[Mapping[str, Shape]], declared: Mapping[str, Shape]) -> list[dict[str, Shape]]:
    """Profiles that someone chose, as far as the model takes them, smallest batch first. Raises EngineError."""
    for profile in profiles:
        if set(profile) != set(declared):
            raise EngineError(f"shapes are needed for the inputs {sorted(declared)}, got {sorted(profile)}")
        for name, shape in profile.items():
            wanted = declared[name]
            if len(shape) != len(wanted) or any(s < 1 or w not in (-1, s) for s, w in zip(shape, wanted, strict=True)):
                raise EngineError(f"input {name!r} takes the shape {wanted} (-1: any but 0), not {shape}")
    by_batch = {rows_of(profile): dict(profile) for profile in profiles}
    if len({tuple(shape[1:] for _, shape in sorted(profile.items())) for profile in by_batch.values()}) > 1:
        raise EngineError("the shapes differ in more than the batch: a plan is for pictures of one size")
    return [by_batch[batch] for batch in sorted(by_batch)]


def profiles_of(shapes: Mapping[str, Shape]) -> list[dict[str, Shape]]:
    """The shapes of the inputs, batch size by batch size; one profile where the batch is fixed."""
    for name, shape in shapes.items():
        if any(side < 1 for side in shape[1:]):
            raise EngineError(
                f"input {name!r} has the shape {shape}: TensorRT needs every size but the batch; "
                "say them with --shapes, or use another backend"
            )
    if all(shape[:1] != (-1,) for shape in shapes.values()):
        return [dict(shapes)]
    return [{name: (batch, *shape[1:]) for name, shape in shapes.items()} for batch in BATCHES]


def _as_text(profiles: list[dict[str, Shape]]) -> str:
    return ";".join(",".join(f"{n}={'x'.join(map(str, s))}" for n, s in sorted(p.items())) for p in profiles)


def _sum_of(folder: Path | None) -> str:
    """Names and sizes of the calibration's files: other pictures give another plan."""
    if folder is None:
        return ""
    listed = sorted(f"{path.relative_to(folder)} {path.stat().st_size}" for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()


def ready_plan(model: bytes) -> PlanFile | None:
    """The plan that a session would take, where it is built already: the usual one, or one with other shapes.

    Raises EngineError as `order_for` does.
    """
    key, cache = order_for(model, chosen_precision()).key, PlanCache()
    free = ("shapes", "calibration_sha256") if key.precision == "int8" else ("shapes",)
    return cache.find(key) or cache.find_like(key, free)


def built_plan(model: bytes, watch: Watch, stop: threading.Event) -> PlanFile:
    """The plan that a session would take, built first where it is not there. Raises as `build` does."""
    ready = ready_plan(model)
    return ready or build(order_for(model, chosen_precision()), PlanCache(), watch, stop)


def _tell_progress(progress: Progress) -> None:
    listener()(
        EngineEvent(
            "building",
            TensorRtSession.backend,
            message=progress.phase,
            fraction=progress.fraction,
            left_seconds=progress.left_seconds,
        )
    )


class _Lane:
    """One batch size. `run` copies in, runs and copies out in one launch; nothing is allocated.

    Where the engine can't be captured in a graph, the same steps are asked for one by one in each run.
    """

    def __init__(self, engine: tensorrt_api.Engine, profile: int, stream: cuda_api.Stream) -> None:
        shapes = engine.profiles[profile]
        self.rows = rows_of(shapes)
        self._stream = stream
        self._context = engine.context(profile, shapes, stream.handle)
        self._pinned: dict[str, cuda_api.Pinned] = {}
        self._device: dict[str, cuda_api.Buffer] = {}
        self._graph: cuda_api.Graph | None = None
        self._inputs, self._outputs = engine.inputs, engine.outputs
        try:
            for name in (*engine.inputs, *engine.outputs):
                self._take(name)
            self._warm_up()
        except BaseException:
            self.close()
            raise

    def _take(self, name: str) -> None:
        self._pinned[name] = cuda_api.Pinned(self._context.shape(name))
        self._device[name] = cuda_api.Buffer(self._pinned[name].array.nbytes)
        self._pinned[name].array[:] = 0
        self._context.bind(name, self._device[name].address)

    def _warm_up(self) -> None:
        """TensorRT wants one run before a capture: it takes what it needs and chooses its kernels in it."""
        self._steps()
        self._stream.wait()
        try:
            with self._stream.captured() as capture:
                self._steps()
            self._graph = capture.graph
        except EngineError as error:
            _log.info("the engine runs without a CUDA graph: %s", error)
            self._steps()
            self._stream.wait()

    def _steps(self) -> None:
        for name in self._inputs:
            self._stream.to_device(self._pinned[name], self._device[name])
        self._context.enqueue(self._stream.handle)
        for name in self._outputs:
            self._stream.to_host(self._device[name], self._pinned[name])

    def run(self, feeds: Mapping[str, Array], start: int, rows: int, outputs: Mapping[str, Array]) -> None:
        """`rows` rows of the feeds from `start` on, into the same rows of the outputs; the rest is padded with 0."""
        for name in self._inputs:
            staged = self._pinned[name].array
            staged[:rows] = feeds[name][start : start + rows]
            staged[rows:] = 0
        if self._graph is not None:
            self._graph.launch()
        else:
            self._steps()
        self._stream.wait()
        for name in self._outputs:
            outputs[name][start : start + rows] = self._pinned[name].array[:rows]

    def output_shape(self, name: str) -> Shape:
        return self._context.shape(name)

    def close(self) -> None:
        if self._graph is not None:
            self._graph.free()
        self._graph = None
        for staged in self._pinned.values():
            staged.free()
        for placed in self._device.values():
            placed.free()
        self._pinned.clear()
        self._device.clear()


class TensorRtSession:
    """A model as a plan on the GPU. Builds the plan first, and waits for it, where it is not in the cache.

    `threads` is for other backends. Once it is loaded, nothing more is allocated on the GPU.
    """

    backend = "tensorrt"

    def __init__(self, model: bytes, threads: int = 1) -> None:
        plan = built_plan(model, _tell_progress, threading.Event())
        self._load(plan, model)
        self._check(model, plan.key.precision)
        listener()(EngineEvent("built", self.backend, self.backend, "the engine is loaded"))

    @classmethod
    def of_plan(cls, plan: PlanFile, model: bytes) -> TensorRtSession:
        """A plan that is there. Raises EngineError as the constructor does."""
        made = cls.__new__(cls)
        made._load(plan, model)
        made._check(model, plan.key.precision)
        return made

    def _load(self, plan: PlanFile, model: bytes) -> None:
        cuda_api.use_device()
        self._lanes: dict[int, _Lane] = {}
        self._stream = cuda_api.Stream()
        try:
            engine = tensorrt_api.Engine(plan.data)
            self.inputs, self.outputs = engine.inputs, engine.outputs
            _check_memory(engine)
            for profile in range(len(engine.profiles)):
                lane = _Lane(engine, profile, self._stream)
                self._lanes[lane.rows] = lane
        except BaseException:
            self.close()
            raise
        self._sizes = sorted(self._lanes)
        self._shapes: dict[str, Shape] = {
            name: (-1 if shape[0] < 0 else shape[0], *engine.profiles[0][name][1:])
            for name, shape in input_shapes(model).items()
        }

    def _check(self, model: bytes, precision: str) -> None:
        """A plan that computes something else is no plan: compared with ONNX Runtime once, when it is loaded.

        At each of its batch sizes, since each has kernels of its own.
        """
        try:
            self.parity = parity(self, model, self._sizes, self._shapes)
        except BaseException:
            self.close()
            raise
        if not self.parity.relative <= TOLERANCES[precision]:
            self.close()
            raise EngineError(
                f"the plan's outputs differ from ONNX Runtime's by {self.parity.relative:.2g} of the largest value, "
                f"{TOLERANCES[precision]:g} is allowed in {precision}; run `engines build --force`, "
                "or choose another precision"
            )

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        if not self._lanes:
            raise EngineError("the session was closed")
        checked = check_feeds(feeds, self._shapes)
        rows = rows_of({name: array.shape for name, array in checked.items()})
        cuda_api.use_device()  # the calling thread's
        first = self._lanes[self._sizes[0]]
        outputs = {name: np.empty((rows, *first.output_shape(name)[1:]), np.float32) for name in self.outputs}
        for start, count, size in split(rows, self._sizes):
            self._lanes[size].run(checked, start, count, outputs)
        return outputs

    def close(self) -> None:
        while self._lanes:
            self._lanes.popitem()[1].close()
        self._stream.close()


def _check_memory(engine: tensorrt_api.Engine) -> None:
    """Before the contexts are made: what TensorRT says then is less clear."""
    needed, (free, total) = engine.memory_bytes * len(engine.profiles), cuda_api.free_memory()
    if needed > free:
        raise GpuMemoryError(
            f"the GPU has {free // _MIB} MiB free of {total // _MIB}, the engine needs {needed / _MIB:.1f} MiB; "
            "end other programs on it, or use another backend"
        )
