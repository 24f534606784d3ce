"""The terminal on stderr, for bars. It may be closed while a command runs, which is no error of the command's."""

from __future__ import annotations

import contextlib
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


class _Lenient:
    """A text stream that loses what it cannot write, as `console.say` does."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
