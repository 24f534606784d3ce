"""A lock on a file that ends with its holder: whoever dies lets go of it, so nothing is ever left locked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import EngineError, StoppedError

if os.name == "posix":
    import fcntl


@contextlib.contextmanager
def locked(path: Path, wait: Callable[[], bool]) -> Iterator[int]:
    """Hold the lock of `path`; gives its file descriptor. A child that inherits it holds the lock with us.

    While another holds it, `wait` is called again and again: it pauses for a moment, and says whether to give up.
    Raises StoppedError then, and EngineError where the file can't be made or the system has no such locks.
    """
    if os.name != "posix":
        raise EngineError("plans are built on Linux only: this system has no locks that end with their holder")
    try:
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EngineError(f"can't lock {path}: {error.strerror or error}") from error
    try:
        while not _taken(held):
            if wait():
                raise StoppedError("stopped while another process was building")
        yield held
    finally:
        os.close(held)


def _taken(held: int) -> bool:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
