"""Takes jobs from the queue, has each done by a worker process, and settles what became of it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from ...errors import StreamGuardError, UsageError
from ...metrics import Metrics
from ..control import ConflictError, JobPhase, JobState, RefusedError
from ..settings import JobSettings, JobsSection, Urls
from ..urls import CheckedUrl, check_url
from . import Message, Spawn, Worker, WorkerExit
from .deliveries import Deliveries
from .ends import Ends
from .outcomes import Judgement, interrupted, judge
from .planning import check_job
from .schema import JobStoreError
from .store import Job, JobStore
from .webhooks import Webhooks

IDLE_SECONDS = 60.0
"""How long the queue is left alone when nothing is due."""
CANCEL_SECONDS = 10.0
"""A cancelled worker that has not ended by then is killed."""
DISK_SECONDS = 5.0
"""How long the queue rests when its database refuses, as it does on a full disk."""

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Active:
    """A job at work. `deadline` is when a worker that was asked to end is killed."""

    job: Job
    began: float
    worker: Worker | None = None
    progress: float = 0.0
    error: str = ""
    permanent: bool = False
    report: dict[str, Any] | None = None
    cancelled: bool = False
    deadline: float | None = None


class JobRunner:
    """Thread-safe. `start` once, then `drain` and `close`; the store belongs to the caller."""

    def __init__(
        self,
        store: JobStore,
        spawn: Spawn,
        settings: JobsSection,
        *,
        folder: Path,
        metrics: Metrics,
        check: Callable[[JobSettings], JobSettings] = lambda settings: settings,
        urls: Callable[[], Urls] = Urls,
        on_change: Callable[[JobState], None] = lambda state: None,
    ) -> None:
        """`folder` may be made later. `check` resolves files or raises ConfigError; asked when a job comes and before
        each attempt. `urls` says which webhooks are allowed. `on_change` is told of jobs that begin, wait or end.
        """
        self._store = store
        self._spawn = spawn
        self._settings = settings
        self._folder = folder
        self._metrics = metrics
        self._resolve = check
        self._urls = urls
        self._on_change = on_change
        deliveries = Deliveries(store)
        self._webhooks = Webhooks(deliveries, settings.webhook_secret, self._webhook_url, metrics)
        self._ends = Ends(store, settings, folder, metrics, deliveries, self._webhooks, on_change)
        self._active: dict[str, _Active] = {}
        self._todo: deque[Callable[[], None]] = deque()  # what workers said: for our thread, it waits for the disk
        self._changed = threading.Condition()
        self._awake = False
        self._draining = False
        self._closing = False
        self._rests_until = 0.0  # no job is begun before
        self._thread = threading.Thread(target=self._run, name="stream-guard-jobs", daemon=True)

    def start(self) -> None:
        """Settle what a killed daemon left, and begin; on a full disk when there is room."""
        try:
            self._recover()
        except JobStoreError as exc:
            log.error("the job queue begins later: %s", exc)
            self._later(self._recover)
        self._webhooks.start()
        self._thread.start()

    def _recover(self) -> None:
        for job in self._store.recover():
            if job.cancelled:
                self._ends.end(job, Judgement("aborted", "cancelled"), None)
            elif (judged := interrupted(job, "the daemon was killed while the job ran")).outcome is not None:
                self._ends.end(job, judged, None)
            else:
                log.warning(
                    "job %s was running when the daemon was killed; it goes on at its last segment", job.state.id
                )
        self._ends.sweep()
        self._ends.count()

    def submit(self, settings: JobSettings, key: str = "") -> tuple[JobState, bool]:
        """As Control.submit."""
        known = self._store.known(settings, key)
        if known is not None:  # Before the checks: its source may have been moved away since it was done.
            return self._seen(known), False
        check_job(self._resolve(settings))
        if settings.webhook:
            self._webhook_url(settings.webhook)
            if not self._settings.webhook_secret:
                raise UsageError(
                    "a webhook was asked for, but there is no jobs.webhook_secret to sign it with; set one"
                )
        state, new = self._store.submit(settings, key)
        if new:
            self._on_change(state)
        self._ends.count()
        self._wake()
        return self._seen(state), new

    def jobs(self, phase: JobPhase | None = None, limit: int = 100, before: str | None = None) -> list[JobState]:
        return [self._seen(state) for state in self._store.jobs(phase, limit, before)]

    def job(self, id: str) -> JobState:
        return self._seen(self._store.job(id).state)

    def cancel(self, id: str) -> JobState:
        """As Control.cancel. A running job is asked to end, and killed when it does not."""
        with self._changed:
            job = self._store.job(id)
            if job.state.phase == "ended":
                raise ConflictError(f"job {id} has ended already ({job.state.outcome}); there is nothing to cancel")
            active = self._active.get(id)
            if active is None:
                return self._ends.end(job, Judgement("aborted", "cancelled before it ran"), None)
            self._store.mark_cancelled(id)
            active.cancelled = True
            self._ask_to_end(active, CANCEL_SECONDS)
            self._wake()
            return self.job(id)

    def drain(self, seconds: float) -> None:
        """Begin no more jobs, ask workers to checkpoint, and wait at most `seconds` before they are killed."""
        with self._changed:
            self._draining = True
            for active in self._active.values():
                self._ask_to_end(active, seconds)
            self._wake()
            self._changed.wait_for(lambda: not self._active, seconds)
            for active in self._active.values():
                if active.worker is not None:
                    active.worker.kill()
            self._changed.wait_for(lambda: not self._active, CANCEL_SECONDS)

    def close(self) -> None:
        """End the threads. Jobs still at work are found running at the next start, and go on then."""
        with self._changed:
            self._draining = self._closing = True
            self._wake()
        if self._thread.ident is not None:
            self._thread.join()
        self._webhooks.close()

    def _wake(self) -> None:
        with self._changed:
            self._awake = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._awake, self._pause())
                self._awake = False
            self._kill_overdue()
            try:
                self._settle_all()
                if not self._closing:
                    self._turn()
            except JobStoreError as exc:
                log.error("the job queue rests for %g s: %s", DISK_SECONDS, exc)
                self._rest(DISK_SECONDS)
            except Exception:
                log.exception("the job queue goes on after an error")
                self._rest(DISK_SECONDS)
            if self._closing:
                return

    def _settle_all(self) -> None:
        """In order. What the database refuses to take stays first: no job is forgotten as `running`."""
        while self._todo:
            try:
                self._todo[0]()
            except JobStoreError:
                raise
            except Exception:
                log.exception("the job queue goes on after an error")
            self._todo.popleft()

    def _rest(self, seconds: float) -> None:
        self._rests_until = monotonic() + seconds

    def _later(self, action: Callable[[], None]) -> None:
        self._todo.append(action)
        self._wake()

    def _pause(self) -> float:
        """Seconds until there is something to do."""
        waits = [IDLE_SECONDS]
        rest = max(0.0, self._rests_until - monotonic())
        waits += [max(0.0, one.deadline - monotonic()) for one in self._active.values() if one.deadline is not None]
        waits += [rest] if self._todo else []
        if not self._draining and len(self._active) < self._settings.workers:
            try:
                due = self._store.due()
            except StreamGuardError as exc:
                log.error("the job queue cannot be read: %s", exc)
                due = DISK_SECONDS
            waits += [] if due is None else [max(due, rest)]
        return min(waits)

    def _kill_overdue(self) -> None:
        with self._changed:
            for active in self._active.values():
                if active.deadline is not None and monotonic() >= active.deadline:
                    active.deadline = None
                    if active.worker is not None:
                        active.worker.kill()

    def _turn(self) -> None:
        while (taken := self._next()) is not None:
            self._begin(taken)
        self._ends.count()
        self._ends.clean()

    def _next(self) -> _Active | None:
        """The job whose turn it is; taken and known as active in one step, so that a cancellation finds it."""
        with self._changed:
            if self._draining or len(self._active) >= self._settings.workers or monotonic() < self._rests_until:
                return None
            job = self._store.take()
            if job is None:
                return None
            active = _Active(job, monotonic(), progress=job.state.progress, cancelled=job.cancelled)
            self._active[job.state.id] = active
            return active

    def _begin(self, active: _Active) -> None:
        job, name = active.job, active.job.state.id
        if active.cancelled:  # while the end of its last attempt was settled
            self._later(partial(self._bury, active, Judgement("aborted", "cancelled")))
            return
        try:
            settings = self._resolve(job.settings)
            spec = {
                "id": name,
                "settings": settings.model_dump(mode="json"),
                "folder": str(self._folder / name),
                "segment_seconds": self._settings.segment_seconds,
            }
            worker = self._spawn("job", spec, partial(self._told, active), partial(self._ended, active))
        except RefusedError as exc:
            self._rest(exc.retry_after_seconds)  # the next job would be refused as well, and the thousand behind it
            self._later(partial(self._put_off, active, exc))
            return
        except UsageError as exc:
            self._later(partial(self._bury, active, Judgement("failed", str(exc))))
            return
        except Exception as exc:
            log.exception("no worker could be started for job %s", name)
            judged = judge(job, WorkerExit(1), str(exc), False, cancelled=False, draining=False)
            self._later(partial(self._bury, active, judged))
            return
        self._on_change(job.state)
        with self._changed:
            active.worker = worker
            if active.deadline is not None:  # asked to end before it was there
                worker.stop()

    def _drop(self, name: str) -> None:
        with self._changed:
            self._active.pop(name, None)
            self._changed.notify_all()

    def _ask_to_end(self, active: _Active, seconds: float) -> None:
        if active.deadline is None:
            active.deadline = monotonic() + seconds
            if active.worker is not None:
                active.worker.stop()

    def _told(self, active: _Active, message: Message) -> None:
        kind = message.get("type")
        if kind == "progress":
            active.progress = min(1.0, max(active.progress, float(message.get("progress") or 0.0)))
        elif kind == "segment":
            self._later(partial(self._advanced, active))
        elif kind == "report":
            active.report = message.get("report")
        elif kind == "error":
            active.error, active.permanent = str(message.get("message", "")), bool(message.get("permanent"))
        elif kind == "note":
            level = logging.WARNING if message.get("warning") else logging.INFO
            log.log(level, "job %s: %s", active.job.state.id, message.get("message"))

    def _advanced(self, active: _Active) -> None:
        self._store.advanced(active.job.state.id, active.progress)
        active.job = self._store.job(active.job.state.id)

    def _ended(self, active: _Active, how: WorkerExit) -> None:
        self._later(partial(self._judge, active, how))

    def _judge(self, active: _Active, how: WorkerExit) -> None:
        judged = judge(
            active.job, how, active.error, active.permanent, cancelled=active.cancelled, draining=self._draining
        )
        self._bury(active, judged)

    def _bury(self, active: _Active, judged: Judgement) -> None:
        """Raises JobStoreError, and it stays active: a job that is `running` without being at work would run never."""
        try:
            self._ends.settle(active.job, judged, active.report)
        except JobStoreError:
            raise
        except Exception:
            log.exception("the job queue goes on after an error")
        self._metrics["job_duration_seconds"].observe(monotonic() - active.began)
        self._drop(active.job.state.id)

    def _put_off(self, active: _Active, why: RefusedError) -> None:
        name = active.job.state.id
        self._on_change(self._store.put_back(name, wait=why.retry_after_seconds, error=str(why), refused=True))
        self._drop(name)

    def _webhook_url(self, url: str) -> CheckedUrl:
        return check_url(url, self._urls(), "webhook")

    def _seen(self, state: JobState) -> JobState:
        """With the progress of this moment."""
        active = self._active.get(state.id)
        if active is None or state.phase != "running":
            return state
        return state.model_copy(update={"progress": max(state.progress, active.progress)})
