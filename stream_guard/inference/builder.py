"""Has a plan built in a process of its own, one builder at a time, and takes what another has built meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import IO, Any

from ..errors import EngineError, StoppedError
from ..resources import program
from ..scratch import scratch_folder
from .feeds import Shape
from .locks import locked
from .plans import PlanCache, PlanFile, PlanKey

BUILDER = "stream_guard.inference.build_plan"
WAIT_SECONDS = 0.2
FIRST_GUESS = 0.02
"""From this part on, the time left is worth saying."""


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """What to build, and for what."""

    key: PlanKey
    model: bytes
    profiles: Sequence[Mapping[str, Shape]]
    calibration: Path | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """`phase` in TensorRT's words; `fraction` and `left_seconds` are None where it does not say how far it is."""

    phase: str
    step: int = 0
    of: int = 0
    fraction: float | None = None
    elapsed_seconds: float = 0.0
    left_seconds: float | None = None


Watch = Callable[[Progress], None]
WAITING = "waiting for another process that builds this plan"


def build(order: BuildOrder, cache: PlanCache, watch: Watch, stop: threading.Event, *, force: bool = False) -> PlanFile:
    """The plan, built if nobody else does it first. `force` builds it also where there is one.

    Raises EngineError with the builder's words when it fails or dies, StoppedError once `stop` is set.
    """
    cache.prepare()
    started = monotonic()

    def wait() -> bool:
        watch(Progress(WAITING, elapsed_seconds=monotonic() - started))
        return stop.wait(WAIT_SECONDS)

    with locked(cache.lock_path(order.key), wait) as lock:
        found = None if force else cache.find(order.key)
        if found is None:
            _run(order, cache, watch, stop, lock)
            found = cache.find(order.key)
    if found is None:
        raise EngineError(f"the plan was built, but what lies in {cache.folder} is not it; is the disk full?")
    return found


def _run(order: BuildOrder, cache: PlanCache, watch: Watch, stop: threading.Event, lock: int) -> None:
    with scratch_folder("stream-guard-build-") as scratch:
        model = scratch / "model.onnx"
        model.write_bytes(order.model)
        line = json.dumps(
            {
                "parent": os.getpid(),
                "key": asdict(order.key),
                "folder": str(cache.folder),
                "model": str(model),
                "profiles": [{name: list(shape) for name, shape in p.items()} for p in order.profiles],
                "calibration": str(order.calibration) if order.calibration else "",
            }
        )
        with _started(lock) as child, _killed_on(stop, child):
            said = _follow(child, line, watch)
    if stop.is_set():
        raise StoppedError("the build was stopped")
    if child.returncode != 0 or not said.done:
        raise EngineError(said.error or _death(child.returncode, said.last_words))


@contextlib.contextmanager
def _started(lock: int) -> Iterator[subprocess.Popen[bytes]]:
    """The child holds the lock with us, so that it is free no sooner than both are gone. It never outlives this.

    It stays in our process group: who kills a worker with all that it started ends the builder, too.
    """
    child = subprocess.Popen(
        program(BUILDER),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(lock,),
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


@contextlib.contextmanager
def _killed_on(stop: threading.Event, child: subprocess.Popen[bytes]) -> Iterator[None]:
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            if stop.wait(WAIT_SECONDS):
                child.kill()
                return

    guard = threading.Thread(target=watch, name="stream-guard-build-stop", daemon=True)
    guard.start()
    try:
        yield
    finally:
        over.set()
        guard.join()


@dataclass(slots=True)
class _Said:
    done: bool
    error: str
    last_words: deque[str]


def _follow(child: subprocess.Popen[bytes], line: str, watch: Watch) -> _Said:
    """Give the order, pass on the progress until the end."""
    if child.stdin is None or child.stdout is None or child.stderr is None:
        raise EngineError("the builder was started without pipes")
    said = _Said(False, "", deque(maxlen=20))
    words = threading.Thread(target=_collect, args=(child.stderr, said.last_words), daemon=True)
    words.start()
    with contextlib.suppress(OSError):  # it died at once: its last words say why
        child.stdin.write(line.encode() + b"\n")
        child.stdin.close()
    started = monotonic()
    for raw in child.stdout:
        message = _message(raw)
        if message.get("type") == "progress":
            watch(_progress(message, monotonic() - started))
        elif message.get("type") == "error":
            said.error = str(message.get("message"))
        elif message.get("type") == "done":
            said.done = True
    child.wait()
    words.join()
    return said


def _message(raw: bytes) -> dict[str, Any]:
    """A line of the builder; one that was cut off by its death says nothing."""
    with contextlib.suppress(ValueError):
        found = json.loads(raw)
        if isinstance(found, dict):
            return found
    return {}


def _progress(message: Mapping[str, Any], elapsed: float) -> Progress:
    fraction = float(message["fraction"])
    left = elapsed * (1 - fraction) / fraction if fraction >= FIRST_GUESS else None
    return Progress(str(message["phase"]), int(message["step"]), int(message["of"]), fraction, elapsed, left)


def _collect(pipe: IO[bytes], words: deque[str]) -> None:
    for line in pipe:
        if line.strip():
            words.append(line.decode("utf-8", "replace").strip())


def _death(code: int | None, words: deque[str]) -> str:
    """How a builder ended that had no time to say so itself."""
    said = f"; its last words: {words[-1]}" if words else ""
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        short = " (the kernel does that when memory is short: see `dmesg`)" if name == "SIGKILL" else ""
        return f"the builder was killed by {name}{short}{said}"
    return f"the builder ended with the code {code}{said}"
