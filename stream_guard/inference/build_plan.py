"""The builder's own process, with its order as JSON on stdin.

It can be killed at any moment, and it may run out of memory: whoever asked for the plan goes on. It says how far it is
in JSON lines on stdout: {"type": "progress", "phase", "step", "of", "fraction"}, and at last {"type": "done"} or
{"type": "error", "message"}. It ends when its parent does.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import EngineError, ExitCode, GpuMemoryError, StreamGuardError
from .plans import PlanCache, PlanKey, write_whole

Say = Callable[[dict[str, Any]], None]
PR_SET_PDEATHSIG = 1
NICE = 10
"""Streams that run meanwhile come first."""
MIB = 1024**2
LEAST_WORKSPACE = 256 * MIB


def main() -> int:
    order = json.loads(sys.stdin.readline())
    _die_with_parent(int(order["parent"]))
    os.nice(NICE)
    say = _speaker()
    try:
        run(order, say)
    except StreamGuardError as error:
        say({"type": "error", "message": str(error)})
        return int(ExitCode.ERROR)
    except MemoryError:
        say({"type": "error", "message": "the builder ran out of memory; end other programs, or choose fewer shapes"})
        return int(ExitCode.ERROR)
    say({"type": "done"})
    return int(ExitCode.DONE)


def run(order: dict[str, Any], say: Say) -> None:
    """Convert the model, compile it, and store the plan with what is to be known of it."""
    from . import cuda_api, tensorrt_api
    from .precision import converted, quantised

    key = PlanKey(**order["key"])
    cache = PlanCache(Path(order["folder"]))
    started = time.monotonic()
    model = Path(order["model"]).read_bytes()
    calibration = Path(order["calibration"]) if order["calibration"] else None
    say({"type": "progress", "phase": f"conversion to {key.precision}", "step": 0, "of": 1, "fraction": 0.0})
    converted_model = converted(model, key.precision, calibration)
    free, _ = cuda_api.free_memory()
    recipe = tensorrt_api.Recipe(
        profiles=[{name: tuple(shape) for name, shape in profile.items()} for profile in order["profiles"]],
        precision=key.precision,
        quantised=quantised(converted_model),
        workspace_bytes=max(LEAST_WORKSPACE, free // 2),
        timing_cache=_read(cache.timing_path(key)),
    )
    try:
        built = tensorrt_api.build(converted_model, recipe, Meter(say).told)
    except EngineError as error:
        raise _with_memory(error, free, cuda_api.free_memory()[1]) from error
    engine = tensorrt_api.Engine(built.plan)
    about = {
        "precision": key.precision,
        "build_seconds": round(time.monotonic() - started, 1),
        "built_at": int(time.time()),
        "context_bytes": engine.memory_bytes,
        "free_bytes_at_build": free,
        "conversion_parity": asdict(_conversion_parity(model, converted_model, order)),
    }
    cache.store(key, built.plan, about)
    if built.timing_cache:
        write_whole(cache.timing_path(key), built.timing_cache)


def _with_memory(error: EngineError, free: int, total: int) -> EngineError:
    """TensorRT says what it could not have; how much there was to be had makes it a sentence to act on."""
    if "memory" not in str(error).lower():
        return error
    return GpuMemoryError(
        f"{error}. When the build began, {free // MIB} MiB of the GPU's {total // MIB} were free; "
        "end other programs on it, or choose smaller shapes"
    )


def _conversion_parity(model: bytes, changed: bytes, order: dict[str, Any]) -> Any:
    """What the conversion alone costs, before any GPU: both files in ONNX Runtime on the processor."""
    from .onnxruntime_session import OnnxRuntimeSession
    from .precision import parity

    session = OnnxRuntimeSession(changed)
    try:
        return parity(session, model, shapes={n: tuple(s) for n, s in order["profiles"][0].items()})
    finally:
        session.close()


class Meter:
    """Phases within phases as one fraction: a phase's part is one step of the phase that it belongs to."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._done: dict[str, tuple[str, int, int]] = {}
        self._reached = 0.0

    def told(self, phase: str, parent: str, step: int, of: int) -> None:
        with self._lock:
            self._done[phase] = (parent, step, max(1, of))
            self._reached = max(self._reached, self._fraction())
            said = {"type": "progress", "phase": phase, "step": step, "of": of, "fraction": round(self._reached, 4)}
            if step >= of and parent:
                del self._done[phase]
            self._say(said)

    def _fraction(self) -> float:
        """Of the outermost phase, the one that was begun first. Never falls, so that no bar runs backwards."""
        tops = [name for name, (parent, _, _) in self._done.items() if not parent]
        return min(1.0, self._part(tops[0])) if tops else self._reached

    def _part(self, name: str) -> float:
        _, step, of = self._done[name]
        inner = [self._part(other) for other, (parent, _, _) in self._done.items() if parent == name]
        return (step + (max(inner) if inner and step < of else 0.0)) / of


def _speaker() -> Say:
    """Lines on the real stdout; whatever a library prints goes to stderr."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lock = threading.Lock()

    def say(message: dict[str, Any]) -> None:
        with lock, contextlib.suppress(BrokenPipeError):  # nobody listens any more: the end follows
            out.write(json.dumps(message) + "\n")
            out.flush()

    return say


def _die_with_parent(parent: int) -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before we were bound to it
            os._exit(1)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


if __name__ == "__main__":
    sys.exit(main())
