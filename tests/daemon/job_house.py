"""A job runner over workers that do nothing but what a test tells them, and over a store whose disk may be full."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stream_guard.daemon.control import JobState, RefusedError
from stream_guard.daemon.jobs import Message, WorkerExit
from stream_guard.daemon.jobs.runner import JobRunner
from stream_guard.daemon.jobs.schema import JobStoreError
from stream_guard.daemon.jobs.store import JobStore
from stream_guard.daemon.settings import JobSettings, JobsSection
from stream_guard.errors import ConfigError
from stream_guard.metrics import DAEMON_METRICS, Metrics

from .support import until


@dataclass(eq=False)
class FakeWorker:
    """Ends when it is told to: `end` by the test, 4 on `stop` unless it is deaf, -9 on `kill`."""

    spec: dict[str, Any]
    tell: Callable[[Message], None]
    on_exit: Callable[[WorkerExit], None]
    deaf: bool = False
    asked: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def end(self, code: int, reason: Any = "") -> None:
        """As a supervisor does: once, and not on the thread of whoever asked."""
        if not self.ended.is_set():
            self.ended.set()
            thread = threading.Thread(target=self.on_exit, args=(WorkerExit(code, reason),))
            thread.start()
            thread.join()

    def stop(self) -> None:
        self.asked += 1
        if not self.deaf:
            threading.Thread(target=self.end, args=(4,)).start()

    def kill(self) -> None:
        threading.Thread(target=self.end, args=(-9,)).start()


class FullStore(JobStore):
    """On a disk that is full while `full` says so: it can be read, not written."""

    full = False
    refusals = 0

    def changing(self) -> AbstractContextManager[sqlite3.Connection]:
        if self.full:
            self.refusals += 1
            raise JobStoreError("the job database cannot be used: database or disk is full")
        return super().changing()


class House:
    """A store, a runner and the workers that it started."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.settings = JobsSection(**{"workers": 1, "segment_seconds": 7.0, **settings})
        self.metrics = Metrics(of=DAEMON_METRICS)
        self.workers: list[FakeWorker] = []
        self.changes: list[JobState] = []
        self.deaf = self.gone = False
        self.refuse, self.retry_after = 0, 0
        self.store = FullStore(folder / "jobs.sqlite3")
        (folder / "segments").mkdir(exist_ok=True)
        self.runner = JobRunner(
            self.store,
            self.spawn,
            self.settings,
            folder=folder / "segments",
            metrics=self.metrics,
            check=self.check,
            on_change=self.changes.append,
        )

    def spawn(
        self, kind: str, spec: dict[str, Any], tell: Callable[[Message], None], ended: Callable[[WorkerExit], None]
    ) -> FakeWorker:
        assert kind == "job"
        if self.refuse:
            self.refuse -= 1
            raise RefusedError("no headroom", retry_after_seconds=self.retry_after)
        self.workers.append(FakeWorker(spec, tell, ended, self.deaf))
        return self.workers[-1]

    def check(self, settings: JobSettings) -> JobSettings:
        if self.gone or "forbidden" in settings.source:
            raise ConfigError("the file is not below one of urls.file_roots")
        return settings

    def submit(self, name: str = "a", key: str = "", **more: Any) -> str:
        settings = JobSettings(source=f"/in/{name}.mp4", output=str(self.folder / f"{name}.mp4"), **more)
        return self.runner.submit(settings, key)[0].id

    def wait_for_workers(self, count: int) -> FakeWorker:
        until(lambda: len(self.workers) >= count, f"worker {count}")
        return self.workers[count - 1]

    def wait_for_phase(self, id: str, phase: str) -> JobState:
        until(lambda: self.runner.job(id).phase == phase, f"phase {phase}")
        return self.runner.job(id)

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"stream_guard_{name}", labels) or 0.0

    def close(self) -> None:
        self.runner.close()
        self.store.close()
