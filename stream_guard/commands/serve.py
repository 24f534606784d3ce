"""`stream-guard serve`: the daemon."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ExitCode, UsageError
from ..resources import bundled
from .console import debugging, emit, say
from .stopping import STOPS, stopping

NEEDED = ("fastapi", "uvicorn", "h11")


def serve(
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="STREAM_GUARD_CONFIG", help="The daemon's YAML file; without one all settings have their defaults."
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Check the file, start nothing: 0 good, 2 not.")] = False,
    example: Annotated[
        bool, typer.Option("--example", help="Print a file with every setting, its default and what it does.")
    ] = False,
) -> ExitCode:
    """Keep live streams protected, run file jobs, answer the HTTP API.

    Settings of the file can be overridden by the environment, such as STREAM_GUARD__HTTP__PORT=8080. The file is read
    again when it changes and on SIGHUP; streams whose settings stay the same run on. SIGTERM and Ctrl-C end streams and
    jobs in good order; a second one ends them at once.
    """
    if example:
        emit(bundled("stream-guard.yaml", "deploy/stream-guard.yaml").read_text(encoding="utf-8").removesuffix("\n"))
        return ExitCode.DONE
    try:
        from ..daemon.configuration import load_settings
        from ..daemon.serving import held
        from ..daemon.serving import serve as run
    except ModuleNotFoundError as exc:
        raise _lacking(exc) from exc
    if check:
        settings = load_settings(config, os.environ)
        say(f"{config or 'the defaults'}: good; {held(settings)}")
        return ExitCode.DONE
    with stopping(STOPS) as stop, _hung_up() as again:
        _log_lines()
        run(config, os.environ, stop, again, say)
    return ExitCode.DONE


def _lacking(exc: ModuleNotFoundError) -> Exception:
    """What to install, where it is a package of the extra that is missing; otherwise the error as it is."""
    if exc.name not in NEEDED:
        return exc
    return UsageError(f"the daemon needs the package {exc.name!r}: pip install 'stream-guard[serve]'")


@contextmanager
def _hung_up() -> Iterator[threading.Event]:
    """The event that SIGHUP sets. Outside the main thread no signal arrives."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.signal(signal.SIGHUP, lambda number, frame: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGHUP, before)


class _Lines(logging.Formatter):
    """`2026-01-31T12:00:00.000Z INFO supervisor: words`, without the secrets of any URL."""

    def __init__(self, scrub: Callable[[str], str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(shortname)s: %(message)s")
        self._scrub = scrub

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"

    def format(self, record: logging.LogRecord) -> str:
        record.shortname = record.name.removeprefix("stream_guard.daemon.")
        return self._scrub(super().format(record))


def _log_lines() -> None:
    """A daemon's log: a line an event on stderr, with the time."""
    from ..daemon.redaction import scrubbed

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(scrubbed))
    log = logging.getLogger("stream_guard")
    log.handlers, log.propagate = [handler], False
    logging.getLogger().handlers = [handler]
    if debugging():
        log.setLevel(logging.DEBUG)
