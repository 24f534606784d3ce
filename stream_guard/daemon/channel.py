"""The worker's end of the line to its supervisor: orders come in on a thread, reports go out on another."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from .protocol import ALIVE_SECONDS, Message, decode, encode

WAITING = 2000
"""Reports that may wait for a busy supervisor; beyond that, those that can be done without are left out."""


class Channel:
    """Orders and reports. A supervisor that is gone ends this process, and every process that it started.

    `on_order` gets each order but the first and `stop`, on a thread of the channel's own; `stop` is set, and `on_stop`
    called, when the worker is asked to end.
    """

    def __init__(self, orders: int, reports: int) -> None:
        """`orders` and `reports` are file descriptors; they are the channel's from here on."""
        self.stop = threading.Event()
        self.on_order: Callable[[Message], None] = lambda message: None
        self.on_stop: Callable[[], None] = lambda: None
        self._orders = os.fdopen(orders, "rb", buffering=1 << 16)
        self._reports = reports
        self._waiting: queue.Queue[Message | None] = queue.Queue(WAITING)
        self._closed = threading.Event()
        self._writer = threading.Thread(target=self._write, name="stream-guard-reports", daemon=True)

    @classmethod
    def claim(cls) -> Channel:
        """Take stdin and stdout for the channel; what any library prints goes to stderr from now on."""
        orders, reports = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        os.close(nothing)
        return cls(orders, reports)

    def first(self) -> dict[str, Any]:
        """The order; waits for it. Afterwards the channel is live. Raises ProtocolError."""
        line = self._orders.readline()
        if not line:
            _die()
        order = decode(line)
        threading.Thread(target=self._listen, name="stream-guard-orders", daemon=True).start()
        threading.Thread(target=self._tick, name="stream-guard-alive", daemon=True).start()
        self._writer.start()
        return order

    def send(self, message: Message, *, wait: bool = True) -> None:
        """Report. With `wait` false the report is left out when too many wait already."""
        if wait:
            self._waiting.put(message)
            return
        try:
            self._waiting.put_nowait(message)
        except queue.Full:
            return

    def ask_to_stop(self) -> None:
        self.stop.set()
        self.on_stop()

    def close(self) -> None:
        """Send what waits."""
        self._closed.set()
        self._waiting.put(None)
        self._writer.join()

    def _listen(self) -> None:
        for line in self._orders:
            order = decode(line)
            if order["type"] == "stop":
                self.ask_to_stop()
            else:
                self.on_order(order)
        if not self._closed.is_set():
            _die()

    def _tick(self) -> None:
        while not self._closed.wait(ALIVE_SECONDS):
            self.send({"type": "alive"}, wait=False)

    def _write(self) -> None:
        while (message := self._waiting.get()) is not None:
            rest = memoryview(encode(message))
            while rest:
                try:
                    rest = rest[os.write(self._reports, rest) :]
                except BrokenPipeError:
                    _die()


def _die() -> NoReturn:
    """The supervisor is gone: end with everything that this process started, which is in its session."""
    if os.getsid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
