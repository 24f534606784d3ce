"""The terminal on stderr, for bars, and streams that take nothing any more, which is no error of the command's."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from rich.console import Console


def on_terminal() -> bool:
    """Whether stderr is one; it is nothing at all where it was closed before we started."""
    return sys.stderr is not None and sys.stderr.isatty()


def console() -> Console:
    """What a bar is drawn on."""
    from rich.console import Console

    return Console(file=cast(IO[str], _Lenient(sys.stderr)))


def give_up(stream: IO[str] | None) -> None:
    """What is written to the stream, and left in its buffer, goes nowhere from now on.

    Otherwise Python tries again to write the rest at its end, fails, and exits with 120.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):
        descriptor = cast(IO[str], stream).fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


class _Lenient:
    """A text stream that loses what it cannot write, as `console.say` does."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except (OSError, ValueError):
            give_up(self._stream)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            give_up(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
