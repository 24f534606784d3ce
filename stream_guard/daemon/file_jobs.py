"""The queue of file jobs inside the daemon: where it is kept, and how its workers are started."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError, UsageError
from ..metrics import Metrics
from .aggregate import OWNER, Aggregate
from .asked import asked
from .control import JobState
from .jobs import WorkerExit
from .jobs.runner import JobRunner
from .jobs.store import NO_ROOM, JobStore
from .process import Order
from .protocol import Message, unpack
from .ring import Ring
from .settings import DaemonSettings, JobSettings, LimitSettings, Urls
from .supervisor import Handle, Supervisor
from .urls import check_url

NICE = 10
"""Live streams come first."""
PATIENCE_SECONDS = 900.0
STILLNESS_SECONDS = 3600.0
"""A worker tells of every step, and the longest, an engine that is built for a GPU, takes minutes."""


@dataclass(slots=True)
class Spawner:
    """Starts job workers for the runner. `admit` raises RefusedError where there is no room; `traces` as Daemon's."""

    supervisor: Supervisor
    aggregate: Aggregate
    admit: Callable[[], None]
    traces: Callable[[str], dict[str, str]] = lambda owner: {}

    def __call__(
        self,
        kind: str,
        spec: dict[str, Any],
        on_message: Callable[[Message], None],
        on_exit: Callable[[WorkerExit], None],
    ) -> Handle:
        self.admit()
        limits = LimitSettings.model_validate(spec.get("settings", {}).get("limits", {}))
        spec = {**spec, "tracing": self.traces(OWNER)}
        order = Order("job", spec, limits.memory, limits.cpu, NICE, PATIENCE_SECONDS, STILLNESS_SECONDS)
        worker = object()

        def told(message: Message) -> None:
            if message["type"] == "metrics":
                self.aggregate.update(OWNER, worker, unpack(message["families"]))
            else:
                on_message(message)

        def ended(how: WorkerExit) -> None:
            self.aggregate.ended(OWNER, worker)
            on_exit(how)

        return self.supervisor.spawn(order, told, ended)


class FileJobs:
    """The store and the runner, put together from the settings; `now` gives those of this moment."""

    def __init__(
        self, settings: DaemonSettings, spawn: Spawner, metrics: Metrics, ring: Ring, now: Callable[[], DaemonSettings]
    ) -> None:
        """Raises UsageError where the folder cannot be used, and what JobStore raises."""
        folder = Path(settings.state_dir or _usual())
        segments = folder / "segments"
        self._ring, self._now = ring, now
        self._store = JobStore(
            settings.jobs.database or folder / "jobs.sqlite3",
            folders=partial(state_folders, folder, segments),
        )
        self.runner = JobRunner(
            self._store,
            spawn,
            settings.jobs,
            folder=segments,
            metrics=metrics,
            check=self._checked,
            urls=lambda: now().urls,
            on_change=self._changed,
        )

    def close(self) -> None:
        self.runner.close()
        self._store.close()

    def _checked(self, settings: JobSettings) -> JobSettings:
        """With real paths. Raises ConfigError for files that are not allowed."""
        now = self._now()
        chosen = {"source": _file(settings.source, now.urls, "source"), **asked(settings, now)}
        if settings.output:
            chosen["output"] = _file(settings.output, now.urls, "output")
        return settings.model_copy(update=chosen)

    def _changed(self, state: JobState) -> None:
        words = (
            state.phase + (f", {state.outcome}" if state.outcome else "") + (f": {state.error}" if state.error else "")
        )
        data = {"phase": state.phase, "outcome": state.outcome, "progress": state.progress}
        self._ring.publish("job", words, job=state.id, data=data)


def _file(path: str, urls: Urls, purpose: Literal["source", "output"]) -> str:
    """The real path: what is opened later is what was checked, whatever link is laid meanwhile."""
    checked = check_url(path, urls, purpose)
    if checked.scheme != "file":
        raise ConfigError(f"a job's {purpose} is a file below one of urls.file_roots; streams are for URLs")
    return checked.path


def state_folders(*folders: Path) -> None:
    """Make those that are not there. Raises UsageError, but OSError on a full disk."""
    for folder in folders:
        _state_folder(folder)


def _state_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "it cannot be written")
    except OSError as exc:
        if exc.errno in NO_ROOM:
            raise
        raise UsageError(
            f"the state folder {str(folder)!r} cannot be used: {exc.strerror}; set state_dir or STREAM_GUARD__STATE_DIR"
        ) from exc


def _usual() -> str:
    if given := os.environ.get("STATE_DIRECTORY"):
        return given.partition(":")[0]
    if os.geteuid() == 0:
        return "/var/lib/stream-guard"
    return os.path.join(os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), "stream-guard")
