"""Ctrl-C and SIGTERM as an event, or as an interrupt, so that a command can end in good order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """The event that the first signal sets; a second signal acts as if nobody listened.

    Outside the main thread no signal arrives, and the event is never set.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(number: int, frame: FrameType | None) -> None:
        restore()
        event.set()

    for number in SIGNALS:
        signal.signal(number, stop)
    try:
        yield event
    finally:
        restore()


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM. Not KeyboardInterrupt itself: where that passes code that an extension runs, Python ends with
    130 whatever the command says."""


@contextmanager
def interrupted_by_term() -> Iterator[None]:
    """SIGTERM as Ctrl-C, for a command without an event to watch: its temporary files go, and it ends as stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise Interrupted

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
