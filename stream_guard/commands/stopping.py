"""Ctrl-C, SIGTERM and a closed terminal as an event, or as an interrupt, so that a command can end in good order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import NoReturn

STOPS = (signal.SIGINT, signal.SIGTERM)
HANGUP = getattr(signal, "SIGHUP", None)
"""What a terminal sends when it is closed. None on Windows."""


def signals() -> tuple[signal.Signals, ...]:
    """What ends a command: also the terminal's end, unless that is ignored, as under nohup."""
    if HANGUP is None or signal.getsignal(HANGUP) is signal.SIG_IGN:
        return STOPS
    return *STOPS, HANGUP


def _hear_no_hangup(heard: Collection[signal.Signals]) -> None:
    """Once we are ending: shell and kernel both tell of a closed terminal, and the second is not an impatient user."""
    if HANGUP is not None and HANGUP in heard:
        signal.signal(HANGUP, signal.SIG_IGN)


@contextmanager
def stopping(numbers: Collection[signal.Signals] | None = None) -> Iterator[threading.Event]:
    """The event that the first signal sets; a second signal acts as if nobody listened.

    `numbers` are those listened for; `signals()` if not given. Outside the main thread no signal arrives, and the event
    is never set.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.getsignal(number) for number in (signals() if numbers is None else numbers)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(number: int, frame: FrameType | None) -> None:
        restore()
        _hear_no_hangup(before)
        event.set()

    for number in before:
        signal.signal(number, stop)
    try:
        yield event
    finally:
        restore()


class Interrupted(KeyboardInterrupt):
    """Any of these signals. Not KeyboardInterrupt itself: where that passes code that an extension runs, Python ends
    with 130 whatever the command says."""


def interrupted_by_term() -> AbstractContextManager[None]:
    """SIGTERM and a closed terminal as Ctrl-C, for a command without an event to watch: its temporary files go, and it
    ends as stopped."""
    return _interrupted(signals())


def interruptible() -> AbstractContextManager[None]:
    """Ctrl-C as `Interrupted`, unless it is ignored: for what a command does before it listens in its own way."""
    return _interrupted(() if signal.getsignal(signal.SIGINT) is signal.SIG_IGN else (signal.SIGINT,))


@contextmanager
def _interrupted(numbers: Collection[signal.Signals]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        _hear_no_hangup(before)
        raise Interrupted

    before = {number: signal.getsignal(number) for number in numbers}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
