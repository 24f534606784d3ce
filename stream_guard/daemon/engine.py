"""Whether the engines that streams need can be loaded: tried once in a worker before the daemon says it is ready.

`building` is two things. While an engine is compiled in the background and another backend works, the daemon is ready:
streams are taken and protected, and the state only shows that something faster is on its way. Where the configuration
names the backend that is being built, nothing can run before it is done, and the daemon is not ready. Neither touches
/livez: nobody kills the daemon in mid-build.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from time import monotonic
from typing import Any, Literal

from .jobs import WorkerExit
from .process import Order
from .protocol import Message
from .ring import Ring
from .settings import DaemonSettings, StreamDefaults
from .stream import Spawn

State = Literal["loading", "building", "ready", "failed"]
Chosen = dict[str, Any]
"""A pipeline with its options, as a probe is asked for it."""
STATES: tuple[State, ...] = ("loading", "building", "ready", "failed")
AGAIN_SECONDS = 30.0
"""After a failure: an engine's file, or the GPU's memory, may be there by then."""
PATIENCE_SECONDS = 3600.0
"""Building an engine for a GPU takes minutes, and may hold the whole process up meanwhile."""

log = logging.getLogger(__name__)


class Engine:
    """Thread-safe. `probe` starts a worker that opens every pipeline's stages; `tick` tries again after a failure."""

    def __init__(self, spawn: Spawn, ring: Ring, clock: Callable[[], float] = monotonic) -> None:
        self._spawn, self._ring, self._clock = spawn, ring, clock
        self._lock = threading.Lock()
        self._state: State = "loading"
        self._reason = "the engine has not been loaded yet"
        self._pipelines: list[Chosen] = []
        self._unopened: list[Chosen] = []
        """Those of which nobody has shown yet that they can be opened."""
        self._run = 0
        self._again_at: float | None = None
        self._serving = False
        """Whether streams can run though the engine is still being built."""

    @property
    def ready(self) -> bool:
        """Whether streams can be protected now."""
        with self._lock:
            return self._state == "ready" or (self._state == "building" and self._serving)

    @property
    def state(self) -> tuple[State, str]:
        """And why it is not ready; empty when it is."""
        with self._lock:
            return self._state, self._reason

    def probe(self, settings: DaemonSettings) -> None:
        """Load what these settings' streams run. The same as before is not loaded again, unless it failed."""
        wanted = pipelines_of(settings)
        with self._lock:
            if wanted == self._pipelines and self._state != "failed":
                return
            self._pipelines = wanted
        self._start()

    def tick(self) -> None:
        with self._lock:
            due = self._again_at is not None and self._clock() >= self._again_at
        if due:
            self._start(again=True)

    def proven(self, running: Collection[Chosen]) -> None:
        """Streams run with these: whatever a probe said, their engines are there. A build that goes on is still shown.

        What nobody runs may be broken all the same, and then a stream that comes could not be protected.
        """
        with self._lock:
            self._unopened = [one for one in self._unopened if one not in running]
            if self._unopened or not running:
                return
            self._serving = True
            if self._state == "building":
                return
        self._become("ready", "")

    def _start(self, *, again: bool = False) -> None:
        """Begin a probe; what has failed is `failed` until another attempt (`again`) has come to its end."""
        with self._lock:
            self._run += 1
            number, self._again_at, self._serving = self._run, None, False
            self._unopened = list(self._pipelines)
            spec = {"pipelines": self._pipelines}
            quiet = again and self._state == "failed"
        if not quiet:
            self._become("loading", "the stages are being opened")
        said: list[str] = []
        self._spawn(
            Order("probe", spec, patience=PATIENCE_SECONDS),
            lambda message: self._on_message(message, said, number),
            lambda ended: self._on_exit(ended, said, number),
        )

    def _on_message(self, message: Message, said: list[str], number: int) -> None:
        with self._lock:
            if number != self._run:
                return  # of pipelines that are not asked for any more
        if message["type"] == "probed":
            self.proven([message["chosen"]])
        elif message["type"] == "error":
            said.append(str(message["message"]))
        elif message["type"] == "building":
            with self._lock:
                self._serving = self._serving or bool(message.get("serving"))
            self._become("building", str(message.get("message") or "an engine is being built for this machine"))
        elif message["type"] == "build_failed":
            log.warning("an engine could not be built, streams stay on another backend: %s", message["message"])
            self._ring.publish("engine", f"not built: {message['message']}", data={"state": "ready"})

    def _on_exit(self, ended: WorkerExit, said: list[str], number: int) -> None:
        with self._lock:
            if number != self._run or ended.reason == "shutdown":
                return
            if ended.code != 0:
                self._again_at = self._clock() + AGAIN_SECONDS
        if ended.code == 0:
            self._become("ready", "")
        else:
            self._become("failed", said[-1] if said else f"loading the engine ended with the code {ended.code}")

    def _become(self, state: State, reason: str) -> None:
        with self._lock:
            changed = (state, reason) != (self._state, self._reason)
            self._state, self._reason = state, reason
        if changed:
            log.log(
                logging.ERROR if state == "failed" else logging.INFO,
                "engine %s: %s",
                state,
                reason or "every stage was opened",
            )
            self._ring.publish("engine", reason or state, data={"state": state})


def pipelines_of(settings: DaemonSettings) -> list[Chosen]:
    """The pipelines with their options that the defaults, the streams and the hooks name, each once."""
    found = []
    for stream in (settings.defaults, *settings.streams, *(hook.stream for hook in settings.hooks.values())):
        one = chosen(stream)
        if one not in found:
            found.append(one)
    return found


def chosen(stream: StreamDefaults) -> Chosen:
    return {"pipeline": stream.pipeline, "options": stream.options}
