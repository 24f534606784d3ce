"""One live stream of the daemon: its worker, and what becomes of it when the worker ends."""

from __future__ import annotations

import logging
import random
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ..errors import ExitCode
from ..live.ledger import LATE
from ..live.spec import LivePhase
from ..media.live import LiveOutput, end_playlists
from ..metrics import Metrics
from ..wording import counted
from .admission import Load
from .aggregate import Aggregate
from .control import StreamState
from .jobs import WorkerExit
from .process import Order
from .protocol import Message, unpack
from .redaction import redacted, scrubbed
from .ring import Ring
from .settings import StreamSettings
from .supervisor import Handle
from .urls import is_file

Origin = Literal["config", "api", "hook"]
LOADING_SECONDS, RUNNING_SECONDS = 900.0, 30.0
"""How long a worker may be silent: building an engine may hold everything up, running may not. So long, beside the time
that a source may take for a picture, may pictures stay in flight.
"""
DONE = (LivePhase.ENDED, LivePhase.FAILED)
WARNED = frozenset({"error", "limit", "tracing", "unprotected", "warning"})
"""Kinds of a worker's events that are warnings in the log, unless they say that it is over."""
AWAY = frozenset({"waiting", "failed"})
"""States of an output, of which an event tells, that are warnings too."""
MOST_DOUBLED = 32
"""Waits double so many times at most: beyond, a float would run over."""

log = logging.getLogger(__name__)


class Spawn(Protocol):
    def __call__(
        self, order: Order, on_message: Callable[[Message], None], on_exit: Callable[[WorkerExit], None]
    ) -> Handle: ...


@dataclass(frozen=True, slots=True)
class Around:
    """What a stream needs of the daemon."""

    spawn: Spawn
    aggregate: Aggregate
    ring: Ring
    metrics: Metrics
    clock: Callable[[], float] = time.monotonic


@dataclass(slots=True)
class Snapshots:
    """Requests for pictures that wait for their answers, by number."""

    next: int = 1
    waiting: dict[int, Callable[[Message], None]] = field(default_factory=dict)


class Stream:
    """Not locked: its table calls it under one lock, callbacks of the worker included."""

    def __init__(self, settings: StreamSettings, origin: Origin, around: Around) -> None:
        self.settings, self.origin = settings, origin
        self.around = around
        self.phase = LivePhase.STARTING
        self.status: dict[str, Any] = {}
        self.error = ""
        self._said = ""  # by the worker that runs, of its own failure
        self._left = 0  # pictures that its stages and its encoder had done with by its last status
        self._still = 0  # statuses since then, about one a second
        self.started = time.time()
        self.ended_at: float | None = None
        self.restarts = 0
        self.snapshots = Snapshots()
        self.handle: Handle | None = None
        self.running_since: float | None = None
        self._recent: deque[float] = deque()
        self._restart_at: float | None = None
        self._stopping = False
        self._final = False
        self._kept: Collection[str] = ()  # URLs of outputs that are carried on, now or by the next daemon

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def done(self) -> bool:
        return self.phase in DONE

    @property
    def stopping(self) -> bool:
        return self._stopping

    def goes_on(self, settings: StreamSettings) -> bool:
        """Whether it is the configuration's, with just these settings, and neither being stopped nor failed."""
        same = self.origin == "config" and self.settings == settings
        return same and not self._stopping and self.phase is not LivePhase.FAILED

    def launch(self, guarded: Callable[[Callable[..., None]], Callable[..., None]]) -> None:
        """Start a worker; `guarded` puts a callback under the table's lock."""
        limits = self.settings.limits
        spec = self.settings.model_dump(mode="json")
        order = Order("live", spec, limits.memory, limits.cpu, patience=LOADING_SECONDS)
        self._restart_at, self.running_since = None, None
        self.phase, self.status, self._final, self._said = LivePhase.STARTING, {}, False, ""
        self._left, self._still = 0, 0
        self.handle = self.around.spawn(order, guarded(self._on_message), guarded(self._on_exit))

    def due(self) -> bool:
        """Whether a restart that was put off is due."""
        return self._restart_at is not None and self.around.clock() >= self._restart_at

    def make_way(self, successor: StreamSettings, within: float) -> None:
        """Drain for a stream of this name; players of an output that it carries on are not told that it has ended."""
        kept = {output.url for output in self.settings.outputs} & {output.url for output in successor.outputs}
        if kept and self.handle is not None:
            self.handle.send({"type": "followed"})
        self.stop(within, kept)

    def rest(self, within: float) -> None:
        """Drain with the daemon; what stands in its file is carried on by the daemon that comes next."""
        if self.origin != "config":
            self.stop(within)
        elif self._stopping:
            self.stop(within, self._kept)
        else:
            self.make_way(self.settings, within)

    def stop(self, within: float, kept: Collection[str] = ()) -> None:
        """Drain: the worker ends by itself within the time, or is killed. `kept` are URLs of outputs that go on."""
        self._stopping, self._restart_at, self._kept = True, None, kept
        if self.done:
            return
        if self.handle is None:
            self._end(LivePhase.ENDED)
        else:
            self.phase = LivePhase.DRAINING
            self.handle.stop(within)

    def ask_snapshot(self, kind: str, answer: Callable[[Message], None]) -> bool:
        """Ask the worker for a picture; False where there is no worker."""
        if self.handle is None or self.done:
            return False
        number, self.snapshots.next = self.snapshots.next, self.snapshots.next + 1
        self.snapshots.waiting[number] = answer
        self.handle.send({"type": "snapshot", "id": number, "kind": kind})
        return True

    def load(self) -> Load:
        process = self.handle.process if self.handle is not None else None
        since = 0.0 if self.running_since is None else self.around.clock() - self.running_since
        return Load(since, process.cpus, process.memory_bytes) if process is not None else Load(0.0, 0.0, 0)

    def state(self) -> StreamState:
        return StreamState(
            name=self.name,
            origin=self.origin,
            phase=self.phase.value,
            source=redacted(self.settings.source),
            outputs=[redacted(output.url) for output in self.settings.outputs],
            started=self.started,
            restarts=self.restarts,
            status=self.status,
            error=self.error or str(self.status.get("error", "")),
        )

    def secrets(self) -> tuple[str, ...]:
        return (self.settings.source, *(output.url for output in self.settings.outputs))

    def tell(self, kind: str, message: str, data: dict[str, Any] | None = None, *, level: int = logging.INFO) -> None:
        """An event, and a line in the log."""
        words = scrubbed(message, self.secrets())
        log.log(level, "stream=%s %s: %s", self.name, kind, words)
        self.around.ring.publish(kind, words, stream=self.name, data=data)

    def _on_message(self, message: Message) -> None:
        kind = message["type"]
        if kind == "status":
            self._on_status(message["status"])
        elif kind == "metrics":
            self.around.aggregate.update(self.name, self.handle, unpack(message["families"]))
        elif kind == "event":
            data = message.get("data") or {}
            bad = (message["kind"] in WARNED and not data.get("over")) or data.get("state") in AWAY
            self.tell(message["kind"], message["message"], data, level=logging.WARNING if bad else logging.INFO)
        elif kind == "error":
            self.error = self._said = scrubbed(message["message"], self.secrets())
            self._final = bool(message.get("final"))
        elif kind == "snapshot" and (answer := self.snapshots.waiting.pop(message["id"], None)) is not None:
            answer(message)

    def _on_status(self, status: dict[str, Any]) -> None:
        self.status = status
        phase = LivePhase(status["phase"])
        if phase in DONE or self._stopping:
            return  # the end is told by the exit, the drain by us
        self.phase = phase
        process = self.handle.process if self.handle is not None else None
        if phase not in (LivePhase.STARTING, LivePhase.LOADING) and process is not None:
            process.patience = RUNNING_SECONDS
        if phase is LivePhase.RUNNING and self.running_since is None:
            self.running_since, self.error = self.around.clock(), ""
        self._look_for_hang(status)

    def _look_for_hang(self, status: dict[str, Any]) -> None:
        """A worker that answers may hang all the same: a call of an engine that never returns keeps its pictures.

        What is dropped as late is dropped in front of the stages, and says nothing of them.
        """
        dropped = status.get("dropped", {})
        left = status.get("frames_out", 0) + sum(dropped.values()) - dropped.get(LATE, 0)
        self._still = self._still + 1 if left == self._left and status.get("in_flight") else 0
        self._left = left
        if self._still > RUNNING_SECONDS + self.settings.stall and self.handle is not None:
            self._said = f"pictures came and none left for {self._still} s: a stage, an engine or the encoder hangs"
            self.handle.kill("stuck")

    def _on_exit(self, ended: WorkerExit) -> None:
        words = self.handle.last_words if self.handle is not None else ()
        self.around.aggregate.ended(self.name, self.handle)
        self.handle = None
        for answer in self.snapshots.waiting.values():
            answer({"type": "snapshot", "error": "the stream's worker ended"})
        self.snapshots.waiting.clear()
        if self._stopping or ended.reason == "shutdown" or ended.code == ExitCode.DONE:
            self._end(LivePhase.ENDED)
        elif self._final and ended.code >= 0:
            self._fail(self.error)
        elif ended.reason == "cpu":
            self._fail(self._words(ended, words))
        else:
            self._again(ended, self._words(ended, words))

    def _again(self, ended: WorkerExit, words: str) -> None:
        """Restart by policy: `restarts` within `restart_window`, each wait twice the last."""
        reason = why(ended)
        now, settings = self.around.clock(), self.settings
        while self._recent and now - self._recent[0] > settings.restart_window:
            self._recent.popleft()
        if len(self._recent) >= settings.restarts:
            self.around.metrics["streams_given_up"].inc()
            tried = (
                f"{counted(len(self._recent), 'restart')} within {settings.restart_window:g} s"
                if self._recent
                else "restarts: 0"
            )
            self._fail(f"{words}; given up ({tried})")
            return
        doubled = min(len(self._recent), MOST_DOUBLED)
        wait = min(settings.backoff.first * 2**doubled, settings.backoff.most)
        wait *= 1 - settings.backoff.jitter * random.random()
        self._recent.append(now)
        self.restarts += 1
        self._restart_at = now + wait
        self.phase, self.error = LivePhase.STARTING, words
        self.around.metrics["worker_restarts"].labels(reason).inc()
        self.tell("restart", f"{words}; restart in {wait:.1f} s", {"reason": reason}, level=logging.WARNING)

    def _fail(self, words: str) -> None:
        self.error = words
        self.tell("error", words, level=logging.ERROR)
        self._end(LivePhase.FAILED)

    def _end(self, phase: LivePhase) -> None:
        self.phase = phase
        self.ended_at = self.around.clock()
        written = [o for o in self.settings.outputs if is_file(o.url) and o.url not in self._kept]
        if written:  # on a thread of its own: a disk that hangs must not hold up the other streams
            ended = [LiveOutput(o.url, o.format, tuple(o.options.items())) for o in written]
            threading.Thread(target=_end_playlists, args=(self.name, ended), name="playlists", daemon=True).start()
        if self.status.get("phase") != phase.value:  # otherwise the worker told it
            self.tell("phase", phase.value, {"phase": phase.value})

    def _words(self, ended: WorkerExit, last: tuple[str, ...]) -> str:
        """What happened, for people; with the last line of stderr where the worker did not say it itself."""
        said = self._said or (last[-1] if last else "")
        happened = HAPPENED.get(ended.reason) or _exit_words(ended.code)
        return scrubbed(f"the worker {happened}" + (f": {said}" if said else ""), self.secrets())


def _end_playlists(stream: str, outputs: list[LiveOutput]) -> None:
    """Where the stream failed, or its worker was killed; a worker that drains has done it."""
    for words in end_playlists(outputs):
        log.warning("stream=%s %s", stream, words)


HAPPENED = {
    "memory": "was killed: it held more memory than limits.memory allows",
    "cpu": "was killed: it used more CPU time than limits.cpu allows",
    "stuck": "was killed: it did not answer any longer",
    "shutdown": "was killed: it did not stop in time",
}


def why(ended: WorkerExit) -> str:
    """The reason of an end as a metric label."""
    return ended.reason or ("crashed" if ended.code < 0 else "failed")


def _exit_words(code: int) -> str:
    if code >= 0:
        return f"ended with the code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (" (by hand, or by the kernel for memory)" if name == "SIGKILL" else "")
