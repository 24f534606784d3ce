"""The queue on the disk: SQLite, one transaction a state change, synced before it counts. Thread-safe.

The database belongs to one process at a time: a second daemon on it is refused, so no job is ever run by two.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..control import ConflictError, JobPhase, JobState, MissingError, Outcome
from ..settings import JobSettings
from .planning import settings_hash
from .schema import DiskFullError, JobStoreError, migrate

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
LONGEST_KEY = 200
"""Characters of an idempotency key."""
LONGEST_WAIT_SECONDS = 600.0
"""Between two attempts. What is due later than that was put off before the clock was set back, and is due now."""


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A job with what the runner needs beyond its state."""

    state: JobState
    settings: JobSettings
    failures: int
    interruptions: int
    cancelled: bool


class JobStore:
    """`clock` gives Unix time in seconds. Every method raises JobStoreError where the database cannot be used.

    Where the disk is full at the start, it is opened by the first method that is called when there is room.
    """

    def __init__(
        self, path: str | Path, clock: Callable[[], float] = time.time, folders: Callable[[], None] = lambda: None
    ) -> None:
        """`folders` makes those that are needed. Raises JobStoreError where the database cannot be used, and what
        `folders` raises, but an OSError: a full disk is only logged.
        """
        self.path = str(path)
        self.clock, self._folders = clock, folders
        self._lock = threading.RLock()
        self._opened: sqlite3.Connection | None = None
        try:
            with self._reading():
                pass
        except DiskFullError as exc:
            log.error("%s; there are no jobs until there is room", exc)

    def submit(self, settings: JobSettings, key: str = "") -> tuple[JobState, bool]:
        """Queue a job and True; for a key seen before, that job and False. ConflictError: same key, other settings."""
        if len(key) > LONGEST_KEY:
            raise ConflictError(f"the idempotency key has {len(key)} characters; at most {LONGEST_KEY} are allowed")
        words = settings_hash(settings)
        with self.changing() as db:
            known = _known(db, key, words)
            if known is not None:
                return known, False
            name = secrets.token_hex(8)
            db.execute(
                "INSERT INTO jobs (id, key, settings, hash, priority, phase, created) "
                "VALUES (?, ?, ?, ?, ?, 'queued', ?)",
                (name, key or None, settings.model_dump_json(), words, settings.priority, self.clock()),
            )
            return self.job(name).state, True

    def known(self, settings: JobSettings, key: str) -> JobState | None:
        """The job of a key seen before. ConflictError as `submit`."""
        with self._reading() as db:
            return _known(db, key, settings_hash(settings))

    def job(self, id: str) -> Job:
        """Raises MissingError."""
        with self._reading() as db:
            found = db.execute("SELECT * FROM jobs WHERE id = ?", (id,)).fetchone()
        if found is None:
            raise MissingError(f"there is no job {id!r}")
        return _job(found)

    def jobs(self, phase: JobPhase | None = None, limit: int = 100, before: str | None = None) -> list[JobState]:
        """The newest first; with `before` only those older than that job. Raises MissingError where there is none."""
        with self._reading() as db:
            if before is not None:
                self.job(before)
            rows = db.execute(
                "SELECT * FROM jobs WHERE (? IS NULL OR phase = ?) "
                "AND (? IS NULL OR seq < (SELECT seq FROM jobs WHERE id = ?)) ORDER BY seq DESC LIMIT ?",
                (phase, phase, before, before, limit),
            ).fetchall()
        return [state_of(row) for row in rows]

    def count(self, *phases: JobPhase) -> int:
        marks = ", ".join("?" * len(phases))
        with self._reading() as db:
            return int(db.execute(f"SELECT count(*) FROM jobs WHERE phase IN ({marks})", phases).fetchone()[0])

    def take(self) -> Job | None:
        """The job whose turn it is, now running: the highest priority first, then the oldest."""
        with self.changing() as db:
            now = self.clock()
            found = db.execute(
                "SELECT id FROM jobs WHERE phase IN ('queued', 'waiting') AND (not_before <= ? OR not_before > ?) "
                "ORDER BY priority DESC, seq LIMIT 1",
                (now, now + LONGEST_WAIT_SECONDS),
            ).fetchone()
            if found is None:
                return None
            db.execute(
                "UPDATE jobs SET phase = 'running', attempts = attempts + 1, started = coalesce(started, ?) "
                "WHERE id = ?",
                (now, found["id"]),
            )
            return self.job(found["id"])

    def due(self) -> float | None:
        """Seconds until the next waiting job may run; None where none waits."""
        now = self.clock()
        with self._reading() as db:
            (first,) = db.execute(
                "SELECT min(CASE WHEN not_before > ? THEN 0 ELSE not_before END) FROM jobs "
                "WHERE phase IN ('queued', 'waiting')",
                (now + LONGEST_WAIT_SECONDS,),
            ).fetchone()
        return None if first is None else max(0.0, first - now)

    def recover(self) -> list[Job]:
        """At the start: jobs that a killed daemon left running wait for their turn again. Returns them as they were."""
        with self.changing() as db:
            left = [_job(row) for row in db.execute("SELECT * FROM jobs WHERE phase = 'running'")]
            db.execute(
                "UPDATE jobs SET phase = 'queued', interruptions = interruptions + 1, not_before = 0 "
                "WHERE phase = 'running'"
            )
        return left

    def put_back(
        self,
        id: str,
        *,
        wait: float = 0.0,
        error: str = "",
        failed: bool = False,
        interrupted: bool = False,
        refused: bool = False,
    ) -> JobState:
        """A running job waits for another attempt, at the earliest after `wait` seconds. `refused`: it did not begin,
        so that was no attempt.
        """
        with self.changing() as db:
            db.execute(
                "UPDATE jobs SET phase = 'waiting', not_before = ?, error = ?, failures = failures + ?, "
                "interruptions = interruptions + ?, attempts = attempts - ?, "
                "started = CASE WHEN ? AND attempts = 1 THEN NULL ELSE started END "
                "WHERE id = ? AND phase = 'running'",
                (self.clock() + wait if wait else 0.0, error, failed, interrupted, refused, refused, id),
            )
            return self.job(id).state

    def advanced(self, id: str, progress: float) -> None:
        """A segment is whole: what interrupted the job before is forgiven."""
        with self.changing() as db:
            db.execute(
                "UPDATE jobs SET progress = max(progress, ?), interruptions = 0 WHERE id = ? AND phase = 'running'",
                (progress, id),
            )

    def mark_cancelled(self, id: str) -> None:
        with self.changing() as db:
            db.execute("UPDATE jobs SET cancelled = 1 WHERE id = ? AND phase != 'ended'", (id,))

    def end(self, id: str, outcome: Outcome, error: str = "", report: dict[str, Any] | None = None) -> JobState:
        """A job ends once: ended already, it stays as it is."""
        with self.changing() as db:
            db.execute(
                "UPDATE jobs SET phase = 'ended', outcome = ?, error = ?, report = ?, ended = ?, "
                "progress = CASE WHEN ? IN ('completed', 'rejected') THEN 1 ELSE progress END "
                "WHERE id = ? AND phase != 'ended'",
                (outcome, error, None if report is None else json.dumps(report), self.clock(), outcome, id),
            )
            return self.job(id).state

    def forget(self, before: float) -> int:
        """Delete jobs that ended before this time, and their keys; returns how many."""
        with self.changing() as db:
            return db.execute("DELETE FROM jobs WHERE phase = 'ended' AND ended < ?", (before,)).rowcount

    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                self._opened.close()

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; within another one, a part of it. On the disk when the outermost ends."""
        with self._reading() as db:
            if db.in_transaction:
                yield db
                return
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._translated():
            if self._opened is None:
                self._opened = self._open()
            yield self._opened

    def _open(self) -> sqlite3.Connection:
        self._folders()
        # It holds URLs of webhooks: nobody else may read it.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(self.path, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN EXCLUSIVE")
        db.execute("COMMIT")
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        migrate(db, self.path)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as exc:
            if "locked" in str(exc) or "busy" in str(exc):
                raise JobStoreError(
                    f"the job database {self.path!r} is in use by another process; stop that daemon, or give this one "
                    "a state_dir of its own"
                ) from exc
            kind = DiskFullError if "full" in str(exc) else JobStoreError
            raise kind(f"the job database {self.path!r} cannot be used: {exc}") from exc
        except sqlite3.DatabaseError as exc:
            raise JobStoreError(
                f"the job database {self.path!r} is damaged ({exc}); nothing was changed: restore it from a backup, or "
                "move it away and submit its jobs again"
            ) from exc
        except OSError as exc:
            kind = DiskFullError if exc.errno in NO_ROOM else JobStoreError
            raise kind(f"the job database {self.path!r} cannot be opened: {exc.strerror}; check state_dir") from exc


def _known(db: sqlite3.Connection, key: str, words: str) -> JobState | None:
    """The job of a key seen before; ConflictError where it came with other settings."""
    found = db.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone() if key else None
    if found is None:
        return None
    if found["hash"] != words:
        raise ConflictError(
            f"the idempotency key was given before with other settings, for job {found['id']}; "
            "use a new key for a new job"
        )
    return state_of(found)


def state_of(row: sqlite3.Row) -> JobState:
    settings = JobSettings.model_validate_json(row["settings"])
    return JobState(
        id=row["id"],
        phase=row["phase"],
        outcome=row["outcome"],
        kind=settings.kind,
        source=settings.source,
        output=settings.output,
        priority=row["priority"],
        attempts=row["attempts"],
        progress=row["progress"],
        created=row["created"],
        started=row["started"],
        ended=row["ended"],
        error=row["error"],
        report=None if row["report"] is None else json.loads(row["report"]),
    )


def _job(row: sqlite3.Row) -> Job:
    settings = JobSettings.model_validate_json(row["settings"])
    return Job(state_of(row), settings, row["failures"], row["interruptions"], bool(row["cancelled"]))
