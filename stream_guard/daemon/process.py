"""One worker process as the supervisor's loop sees it: its pipes, its limits, its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import IO, Any, Literal

from .jobs import WorkerExit
from .proc import cpu_seconds, resident_bytes
from .protocol import Lines, Message, encode
from .surroundings import inherited

Reason = Literal["", "memory", "cpu", "shutdown", "stuck"]
CHUNK = 1 << 18
CPU_SECONDS = 2.0
"""A worker's CPU use is the mean over this long."""
IDLE_SECONDS = 120.0
"""A worker that may be silent for long, because a library that builds an engine holds it up, uses CPU time meanwhile.
One that for so long does neither is stopped, or waits for what will never come, and is killed.
"""
LAST_WORDS = 20
"""Lines of stderr that are kept for the message about a crash."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is started with. `memory_bytes` and `cpu_seconds` 0: no limit; `patience` in seconds."""

    kind: str
    spec: dict[str, Any] = field(repr=False)
    memory_bytes: int = 0
    cpu_seconds: float = 0.0
    nice: int = 0
    patience: float = 60.0
    """A worker that says nothing for this long, not even that it is alive, is killed."""
    stillness: float = 0.0
    """One that says nothing but that it is alive for this long is killed too: it hangs. 0: no limit."""

    def first_line(self) -> bytes:
        cpu = max(1, round(self.cpu_seconds)) if self.cpu_seconds else 0
        return encode(
            {
                "type": "order",
                "kind": self.kind,
                "spec": self.spec,
                "parent": os.getpid(),
                "nice": self.nice,
                "cpu_seconds": cpu,
            }
        )


class Process:
    """Belongs to the loop's thread: it starts, feeds, watches and buries one worker.

    The worker gets its own order and nothing else of the configuration, also not what of it stands in the environment.
    """

    def __init__(
        self,
        order: Order,
        command: Sequence[str],
        on_message: Callable[[Message], None],
        on_exit: Callable[[WorkerExit], None],
        named: Collection[str] = (),
    ) -> None:
        """`named`: variables of the environment that the file names. Raises OSError when no process can be started."""
        self.order, self.patience = order, order.patience
        self.on_message, self.on_exit = on_message, on_exit
        self.outgoing = bytearray(order.first_line())
        self.reason: Reason = ""
        self.deadline: float | None = None
        self.heard = self.moved = self.worked = monotonic()
        self.memory_bytes = 0
        self.cpus = 0.0
        """CPU seconds a second, over the last seconds."""
        self._measured = (self.heard, 0.0)
        self.last_words: deque[str] = deque(maxlen=LAST_WORDS)
        self._lines = Lines()
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            env=inherited(os.environ, named),
        )
        for pipe in self.pipes:
            os.set_blocking(pipe.fileno(), False)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def pipes(self) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
        """stdin, stdout, stderr."""
        child = self._child
        if child.stdin is None or child.stdout is None or child.stderr is None:
            raise RuntimeError("a worker was started without pipes")
        return child.stdin, child.stdout, child.stderr

    def write(self) -> None:
        """Send what waits, as far as the pipe takes it."""
        try:
            sent = os.write(self.pipes[0].fileno(), self.outgoing)
        except BlockingIOError:
            return
        except OSError:  # it has ended: the loop will see
            self.outgoing.clear()
            return
        del self.outgoing[:sent]

    def read(self) -> bool:
        """Take what came on stdout; False at its end. Raises ProtocolError."""
        data = _read(self.pipes[1])
        if data:
            self.heard = monotonic()
            for message in self._lines.feed(data):
                if message["type"] != "alive":
                    self.moved = self.heard
                    self.on_message(message)
        return data != b""

    def read_words(self) -> bool:
        """Take what came on stderr; False at its end."""
        data = _read(self.pipes[2])
        if data:
            self.last_words.extend(line for line in data.decode("utf-8", "replace").splitlines() if line.strip())
        return data != b""

    def check(self, now: float) -> None:
        """Kill it where it takes more than it may, is silent for too long or did not stop in time."""
        self._measure(now)
        limit = self.order.memory_bytes
        if limit and self.memory_bytes > limit:
            self.kill("memory")
        elif self.deadline is not None and now > self.deadline:
            self.kill("shutdown")
        elif self._hangs(now):
            self.kill("stuck")

    def _hangs(self, now: float) -> bool:
        if now - self.heard > self.patience or now - max(self.heard, self.worked) > IDLE_SECONDS:
            return True
        return 0 < self.order.stillness < now - self.moved

    def forgive(self, seconds: float, now: float) -> None:
        """We stood still ourselves: a paused container, or a machine that slept, makes no worker silent."""
        self.heard, self.moved = min(now, self.heard + seconds), min(now, self.moved + seconds)
        self.worked = min(now, self.worked + seconds)

    def _measure(self, now: float) -> None:
        self.memory_bytes = resident_bytes(self.pid)
        then, before = self._measured
        if now - then >= CPU_SECONDS:
            used = cpu_seconds(self.pid)
            if used != before or not used:  # 0: nobody tells
                self.worked = now
            self.cpus = max(0.0, used - before) / (now - then)
            self._measured = (now, used)

    def kill(self, reason: Reason = "") -> None:
        """With all that it started, which is in its session's group."""
        self.reason = self.reason or reason
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def poll(self) -> WorkerExit | None:
        """How it ended, or None while it runs. What it had started ends with it."""
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        self.kill()  # before it is reaped: its number, and so its group's, cannot be another's yet
        code = self._child.wait()
        if code == -signal.SIGXCPU:
            self.reason = self.reason or "cpu"
        return WorkerExit(code, self.reason)

    def bury(self) -> None:
        """Close its pipes; it has ended."""
        for pipe in self.pipes:
            pipe.close()


def _read(pipe: IO[bytes]) -> bytes | None:
    """What is there; empty at the end, None where nothing came yet."""
    try:
        return os.read(pipe.fileno(), CHUNK)
    except BlockingIOError:
        return None
