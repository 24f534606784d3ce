"""How every command speaks and ends: results on stdout, everything else on stderr, one exit code an outcome."""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, ParamSpec

import typer

from ..errors import ExitCode, StoppedError, StreamGuardError

P = ParamSpec("P")

DEBUG_VARIABLE = "STREAM_GUARD_DEBUG"


def say(text: str) -> None:
    """A line for a person, on stderr."""
    print(f"stream-guard: {text}", file=sys.stderr, flush=True)


def warn(text: str) -> None:
    say(f"warning: {text}")


def emit(text: str) -> None:
    """A line of the result, on stdout."""
    print(text, flush=True)


def emit_json(data: Any) -> None:
    """The result as one JSON object on stdout; what JSON does not know (fractions, paths) is written as text."""
    emit(json.dumps(data, indent=2, default=str, ensure_ascii=False))


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
            code = command(*args, **kwargs)
        except StreamGuardError as exc:
            code = _failed(exc)
        except KeyboardInterrupt:
            code = _failed(StoppedError("stopped"))
        except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
            raise
        except Exception as exc:
            code = _surprised(exc)
        raise typer.Exit(int(code or ExitCode.DONE))

    return wrapped


def _failed(exc: StreamGuardError) -> ExitCode:
    if debugging():
        traceback.print_exc()
    say(f"{'' if isinstance(exc, StoppedError) else 'error: '}{exc}")
    return exc.exit_code


def _surprised(exc: Exception) -> ExitCode:
    """An error that nobody foresaw: ours to mend, so the message asks for a report."""
    if debugging():
        traceback.print_exc()
    say(f"error: unexpected {type(exc).__name__}: {exc}")
    say("this is a mistake in Stream Guard: please report it with the output of `stream-guard --debug ...`")
    return ExitCode.ERROR
