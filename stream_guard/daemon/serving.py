"""The daemon with its API and hooks, from the first log line to the last: what `stream-guard serve` runs."""

from __future__ import annotations

import contextlib
import logging
import resource
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from ..errors import ConfigError
from ..wording import counted
from .api import Server, create_app, serve_app
from .configuration import load_settings
from .daemon import Daemon
from .hooks import Hooks, hooks_router
from .settings import DaemonSettings

OPEN_FILES = 65536
"""File descriptors that the daemon may hold."""
LOOK_SECONDS = 1.0
"""How often the file is looked at, and the longest that a signal waits."""

log = logging.getLogger(__name__)


def held(settings: DaemonSettings) -> str:
    """What a configuration has, in a few words."""
    return f"{counted(len(settings.streams), 'stream')}, {counted(len(settings.hooks), 'hook')}"


class FileWatch:
    """Whether a file is another than it was; a change counts once it has stood still for one look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = self._before = self._look()

    def changed(self) -> bool:
        now = self._look()
        settled, self._before = now == self._before, now
        if not settled or now == self._known:
            return False
        self._known = now
        return True

    def read(self) -> None:
        """The file is read now, settled or not: what it is at this moment is no change any more."""
        self._known = self._before = self._look()

    def _look(self) -> tuple[int, int, int]:
        """Links are followed, so a mounted configuration that is swapped as a whole is seen."""
        try:
            stat = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return (stat.st_ino, stat.st_mtime_ns, stat.st_size)


def serve(
    path: Path | None,
    environment: Mapping[str, str],
    stop: threading.Event,
    again: threading.Event,
    say: Callable[[str], None],
) -> None:
    """Serve until `stop` is set, then drain; read the file again when it changed and when `again` is set.

    Raises ConfigError for the file, UsageError for the port and the state folder: then nothing was started.
    """
    _allow_files()
    load = partial(load_settings, path, environment)
    settings = load()
    logging.getLogger("stream_guard").setLevel(settings.log_level.upper())
    daemon = Daemon(settings)
    try:
        watch = FileWatch(path) if path is not None else None
        _serve(daemon, settings, partial(load, again=True), stop, again, say, watch)
    finally:
        daemon.close()


def _allow_files() -> None:
    """As many as our systemd unit allows, where we may: the usual 1024 are soon used up by streams and clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _serve(
    daemon: Daemon,
    settings: DaemonSettings,
    load: Callable[[], DaemonSettings],
    stop: threading.Event,
    again: threading.Event,
    say: Callable[[str], None],
    watch: FileWatch | None,
) -> None:
    hooks = Hooks(daemon, settings.hooks, daemon.output_urls)
    app = create_app(daemon, settings, lambda: daemon.tokens)
    app.include_router(hooks_router(hooks))
    server = serve_app(app, settings.http)
    try:
        server.start()
        daemon.start()
        say(f"listening on {server.url}; {held(settings)}")
        while not stop.wait(LOOK_SECONDS):
            asked = again.is_set()
            if asked and watch is not None:
                watch.read()  # an editor's change and the signal after it are one reload
            changed = watch is not None and watch.changed()
            if (changed or asked) and _again(daemon, load, again):
                hooks.update(daemon.settings.hooks)
                _renew(server)
        say(f"stopping; streams and jobs have {daemon.settings.drain_seconds:g} s")
        daemon.drain()
    finally:
        server.stop()
        hooks.close()
    say("stopped")


def _renew(server: Server) -> None:
    try:
        server.renew()
    except ConfigError as exc:
        log.error("the certificate was not read again, the old one stays: %s", exc)


def _again(daemon: Daemon, load: Callable[[], DaemonSettings], again: threading.Event) -> bool:
    again.clear()
    return daemon.reload(load)
