"""What the end of an attempt changes: the store and the webhook that tells it, the metrics, and what the job left."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from ...media.atomic import remove_leftover
from ...metrics import Metrics
from ..control import JobPhase, JobState
from ..settings import JobsSection
from ..urls import file_path
from .deliveries import Deliveries
from .outcomes import Judgement
from .schema import JobStoreError
from .segments import remove
from .store import Job, JobStore
from .webhooks import Webhooks

CLEAN_SECONDS = 60.0
"""How often old jobs are forgotten."""
DAY_SECONDS = 86400.0

log = logging.getLogger(__name__)


class Ends:
    """Called by one thread. What it writes raises JobStoreError, and then has changed nothing."""

    def __init__(
        self,
        store: JobStore,
        settings: JobsSection,
        folder: Path,
        metrics: Metrics,
        deliveries: Deliveries,
        webhooks: Webhooks,
        on_change: Callable[[JobState], None],
    ) -> None:
        self._store = store
        self._settings = settings
        self._folder = folder
        self._metrics = metrics
        self._deliveries = deliveries
        self._webhooks = webhooks
        self._on_change = on_change
        self._cleaned = 0.0

    def settle(self, job: Job, judged: Judgement, report: dict[str, Any] | None) -> None:
        """The job has ended, or waits for another attempt."""
        if judged.outcome is not None:
            self.end(job, judged, report)
            return
        with self._store.changing():
            state = self._store.put_back(
                job.state.id,
                wait=judged.wait,
                error=judged.error,
                failed=judged.failed,
                interrupted=judged.interrupted,
            )
            if judged.failed and job.settings.webhook_on == "attempts":
                self._tell("job.attempt_failed", job, state)
        self._on_change(state)
        self._webhooks.wake()

    def end(self, job: Job, judged: Judgement, report: dict[str, Any] | None) -> JobState:
        """The outcome and the webhook that tells it are one transaction; then what the job left is removed."""
        with self._store.changing():
            state = self._store.end(job.state.id, judged.outcome or "failed", judged.error, report)
            self._tell("job.ended", job, state)
        self._metrics["jobs"].labels(state.outcome).inc()
        self._tidy(job)
        self.count()
        self._on_change(state)
        self._webhooks.wake()
        return state

    def count(self) -> None:
        with contextlib.suppress(JobStoreError):  # what was just written stays written; the next turn counts again
            self._metrics["jobs_queued"].set(self._store.count("queued", "waiting"))
            self._metrics["jobs_running"].set(self._store.count("running"))

    def sweep(self) -> None:
        """Remove folders of jobs that are not to run any more."""
        phases: tuple[JobPhase, ...] = ("queued", "waiting", "running")
        live = {state.id for phase in phases for state in self._store.jobs(phase, -1)}
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if path.name not in live and path.is_dir():
                _removed(path.name, partial(remove, path))

    def clean(self) -> None:
        """Forget jobs that ended long ago, as often as CLEAN_SECONDS."""
        if self._settings.keep_days and monotonic() - self._cleaned >= CLEAN_SECONDS:
            self._cleaned = monotonic()
            self._store.forget(self._store.clock() - self._settings.keep_days * DAY_SECONDS)

    def _tell(self, event: str, job: Job, state: JobState) -> None:
        if job.settings.webhook and self._settings.webhook_secret:
            self._deliveries.add(event, state, job.settings.webhook)

    def _tidy(self, job: Job) -> None:
        name, output = job.state.id, job.settings.output
        _removed(name, partial(remove, self._folder / name))
        if output:
            _removed(name, partial(remove_leftover, file_path(output), name))


def _removed(name: str, action: Callable[[], object]) -> None:
    try:
        action()
    except OSError as exc:
        log.warning("what job %s left could not be removed: %s", name, exc.strerror)
