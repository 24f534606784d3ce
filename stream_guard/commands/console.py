"""How every command speaks and ends: results on stdout, everything else on stderr, one exit code an outcome."""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, ParamSpec, TextIO

import typer

from ..errors import ExitCode, SinkError, StoppedError, StreamGuardError
from .stopping import interruptible
from .terminal import give_up

P = ParamSpec("P")

DEBUG_VARIABLE = "STREAM_GUARD_DEBUG"


def say(text: str) -> None:
    """A line for a person, on stderr; lost where that takes none, as after a terminal was closed."""
    _tell(f"stream-guard: {text}")


def warn(text: str) -> None:
    say(f"warning: {text}")


def emit(text: str) -> None:
    """A line of the result, on stdout. Raises SinkError where that takes none."""
    try:
        _put(sys.stdout, text)
    except (OSError, ValueError) as exc:  # a closed stream is a ValueError
        give_up(sys.stdout)
        reason = getattr(exc, "strerror", None) or exc
        raise SinkError(
            f"the result cannot be written to standard output ({reason}), and the rest of it is lost; "
            "send it to a file with room, or to a program that reads all of it"
        ) from exc


def emit_json(data: Any) -> None:
    """The result as one JSON object on stdout; what JSON does not know (fractions, paths) is written as text.

    In ASCII, so that file names in any encoding come out as JSON, whatever encoding stdout has.
    """
    emit(json.dumps(data, indent=2, default=str))


def _tell(text: str) -> None:
    try:
        _put(sys.stderr, text)
    except (OSError, ValueError):
        give_up(sys.stderr)


def _put(stream: TextIO | None, text: str) -> None:
    if stream is None:  # Python's word for a descriptor that was closed before it started
        raise ValueError("it is closed")
    try:
        print(text, file=stream, flush=True)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


class _Spoken(logging.Handler):
    """Log records in the same voice as everything else on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.levelname.lower()}: {self.format(record)}")


def set_up(debug: bool) -> None:
    """Remember --debug for the rest of the process and its children, and show our own log records."""
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"
    log = logging.getLogger("stream_guard")
    log.setLevel(logging.DEBUG if debugging() else logging.WARNING)
    log.handlers = [_Spoken()]


def debugging() -> bool:
    return bool(os.environ.get(DEBUG_VARIABLE))


def guarded(command: Callable[P, Any]) -> Callable[P, None]:
    """Wrap a command: each of our errors becomes one message and its exit code, never a traceback.

    A command may return an ExitCode; nothing means DONE.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with interruptible():
                code = command(*args, **kwargs)
        except StreamGuardError as exc:
            code = _failed(exc)
        except KeyboardInterrupt:
            code = _failed(StoppedError("stopped"))
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as exc:
            code = _surprised(exc)
        raise typer.Exit(int(code or ExitCode.DONE))

    return wrapped


def _failed(exc: StreamGuardError) -> ExitCode:
    if debugging():
        _tell(traceback.format_exc().rstrip())
    say(f"{'' if isinstance(exc, StoppedError) else 'error: '}{exc}")
    return exc.exit_code


def _surprised(exc: Exception) -> ExitCode:
    """An error that nobody foresaw: ours to mend, so the message asks for a report."""
    if debugging():
        _tell(traceback.format_exc().rstrip())
    say(f"error: unexpected {type(exc).__name__}: {exc}")
    say("this is a mistake in Stream Guard: please report it with the output of `stream-guard --debug ...`")
    return ExitCode.ERROR
