"""The loop that owns every worker process: one thread that starts, feeds, reads, watches and buries them.

Only this thread forks: Linux' parent-death signal follows the thread that forked, so it has to live as long as the
daemon. Callbacks come on it too, and return quickly.
"""

from __future__ import annotations

import logging
import os
import select
import selectors
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from functools import partial
from time import monotonic
from typing import IO, Any

from ..resources import program
from .jobs import WorkerExit
from .process import Order, Process, Reason
from .protocol import Message, ProtocolError, encode

TICK_SECONDS = 0.2
"""How often memory is looked at: a worker that allocates 2 GB/s is stopped 400 MB beyond its limit."""
WORKER = "stream_guard.daemon.worker"
NOT_STARTED = 127
"""The exit code of a worker that could not be started, as shells have it."""

log = logging.getLogger(__name__)


class Handle:
    """A worker as others hold it. Thread-safe; all methods return at once and do nothing once it has ended."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.process: Process | None = None
        """The loop's own; others may read its figures."""
        self.last_words: tuple[str, ...] = ()
        """The end of what it said on stderr; whole once it has ended."""

    def stop(self, within: float | None = None) -> None:
        """Ask it to end; after `within` seconds it is killed."""
        self._supervisor.post(partial(self._stop, within))

    def kill(self, reason: Reason = "") -> None:
        self._supervisor.post(lambda: self.process.kill(reason) if self.process else None)

    def send(self, message: Message) -> None:
        self._supervisor.post(partial(self._send, message))

    def _stop(self, within: float | None) -> None:
        self._send({"type": "stop"})
        if self.process is not None and within is not None:
            self.process.deadline = monotonic() + within

    def _send(self, message: Message) -> None:
        if self.process is not None:
            self.process.outgoing += encode(message)


class Supervisor:
    """`command` starts a worker, ours unless given. `on_tick` is called several times a second, on the loop."""

    def __init__(self, command: Sequence[str] = (), on_tick: Callable[[], None] = lambda: None) -> None:
        self._command = tuple(command or program(WORKER))
        self.on_tick = on_tick
        self.named: Collection[str] = ()
        """The environment's variables that the configuration names: no worker inherits them."""
        self._selector = selectors.DefaultSelector()
        self._wake_out, self._wake_in = os.pipe()
        os.set_blocking(self._wake_out, False)
        os.set_blocking(self._wake_in, False)
        self._selector.register(self._wake_out, selectors.EVENT_READ, None)
        self._posted: deque[Callable[[], None]] = deque()
        self._alive: dict[Handle, Process] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="stream-guard-supervisor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def spawn(
        self, order: Order, on_message: Callable[[Message], None], on_exit: Callable[[WorkerExit], None]
    ) -> Handle:
        """Start a worker. One that cannot be started ends with the code 127 and the reason in an `error` message."""
        handle = Handle(self)
        self.post(partial(self._start, handle, order, on_message, on_exit))
        return handle

    def post(self, action: Callable[[], None]) -> None:
        """Have the loop do this soon."""
        self._posted.append(action)
        try:
            os.write(self._wake_in, b"!")
        except (BlockingIOError, OSError):
            return  # it is awake already, or gone

    def processes(self) -> list[tuple[str, int, int]]:
        """Kind, process id and resident bytes of each worker that runs."""
        return [(p.order.kind, p.pid, p.memory_bytes) for p in list(self._alive.values())]

    def close(self) -> None:
        """Kill what still runs, reap it, end the thread."""
        self._closing = True
        if self._thread.ident is not None:
            self.post(lambda: None)
            self._thread.join()
        self._selector.close()
        os.close(self._wake_out)
        os.close(self._wake_in)

    def _run(self) -> None:
        due = monotonic()
        while not (self._closing and not self._alive):
            for key, _ in self._selector.select(max(0.0, due - monotonic())):
                self._serve(key.fd, key.data)
            while self._posted:
                self._guarded(self._posted.popleft())
            self._flush()
            if (now := monotonic()) >= due:
                self._watch(now, now - due)
                due = now + TICK_SECONDS
                self._guarded(self.on_tick)

    def _serve(self, fd: int, handler: Callable[[], None] | None) -> None:
        if handler is None:
            os.read(fd, 4096)
        else:
            handler()

    def _start(
        self,
        handle: Handle,
        order: Order,
        on_message: Callable[[Message], None],
        on_exit: Callable[[WorkerExit], None],
    ) -> None:
        if self._closing:
            on_exit(WorkerExit(NOT_STARTED, "shutdown"))
            return
        try:
            process = Process(order, self._command, on_message, on_exit, self.named)
        except OSError as exc:
            log.error("no %s worker could be started: %s", order.kind, exc.strerror)
            on_message({"type": "error", "message": f"no worker process could be started: {exc.strerror}"})
            on_exit(WorkerExit(NOT_STARTED))
            return
        self._alive[handle] = process
        handle.process = process
        _, out, words = process.pipes
        self._selector.register(out, selectors.EVENT_READ, partial(self._read, process, out, process.read))
        self._selector.register(words, selectors.EVENT_READ, partial(self._read, process, words, process.read_words))

    def _read(self, process: Process, pipe: IO[bytes], read: Callable[[], bool]) -> None:
        try:
            more = read()
        except ProtocolError as exc:
            log.error("worker %d: %s; it is killed", process.pid, exc)
            process.kill()
            more = False
        except Exception:
            log.exception("a message of worker %d could not be taken in", process.pid)
            more = True
        if not more:
            self._selector.unregister(pipe)

    def _flush(self) -> None:
        for process in self._alive.values():
            if process.outgoing:
                process.write()

    def _watch(self, now: float, late: float) -> None:
        for handle, process in list(self._alive.items()):
            process.forgive(late, now)
            self._guarded(partial(self._look_at, handle, process, now))

    def _look_at(self, handle: Handle, process: Process, now: float) -> None:
        ended = process.poll()
        if ended is not None:
            self._bury(handle, process, ended)
        elif self._closing:
            process.kill("shutdown")
        else:
            process.check(now)

    def _bury(self, handle: Handle, process: Process, ended: WorkerExit) -> None:
        """Read what is left, then tell. A worker that talked nonsense at the end has said what it had to."""
        for pipe, read in ((process.pipes[1], process.read), (process.pipes[2], process.read_words)):
            if pipe in self._selector.get_map():
                while pipe in self._selector.get_map() and _pending(pipe):
                    self._read(process, pipe, read)
                if pipe in self._selector.get_map():
                    self._selector.unregister(pipe)
        del self._alive[handle]
        handle.process = None
        handle.last_words = tuple(process.last_words)
        process.bury()
        self._guarded(partial(process.on_exit, ended))

    def _guarded(self, action: Callable[[], Any]) -> None:
        """A mistake in one callback, or with one worker, must not take all workers down."""
        try:
            action()
        except Exception:
            log.exception("the supervisor's loop goes on after an error")


def _pending(pipe: IO[bytes]) -> bool:
    """Whether a read would give bytes or the end at once. Without a new file descriptor: there may be none."""
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)
    return bool(waiting.poll(0))
