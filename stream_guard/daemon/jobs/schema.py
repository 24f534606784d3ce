"""The tables of the queue and how older ones are brought up to date. `PRAGMA user_version` counts the steps done."""

from __future__ import annotations

import sqlite3

from ...errors import StreamGuardError

STEPS = (
    """
    CREATE TABLE jobs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        key TEXT UNIQUE,
        settings TEXT NOT NULL,
        hash TEXT NOT NULL,
        priority INTEGER NOT NULL,
        phase TEXT NOT NULL CHECK (phase IN ('queued', 'running', 'waiting', 'ended')),
        outcome TEXT CHECK ((outcome IS NULL) = (phase != 'ended')),
        attempts INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        interruptions INTEGER NOT NULL DEFAULT 0,
        cancelled INTEGER NOT NULL DEFAULT 0,
        progress REAL NOT NULL DEFAULT 0,
        not_before REAL NOT NULL DEFAULT 0,
        created REAL NOT NULL,
        started REAL,
        ended REAL,
        error TEXT NOT NULL DEFAULT '',
        report TEXT
    );
    CREATE INDEX jobs_turn ON jobs (phase, priority DESC, seq);
    CREATE INDEX jobs_ended ON jobs (ended) WHERE phase = 'ended';
    """,
    """
    CREATE TABLE deliveries (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        job TEXT NOT NULL,
        url TEXT NOT NULL,
        body TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        not_before REAL NOT NULL,
        created REAL NOT NULL
    );
    CREATE INDEX deliveries_due ON deliveries (not_before);
    """,
)
"""What each version adds to the one before. Steps are never changed once they were released, only added."""


class JobStoreError(StreamGuardError):
    """The queue's database cannot be used: damaged, locked, of a newer version, or the disk refuses."""


class DiskFullError(JobStoreError):
    """There is no room for the database, or for what is to be written. Later there may be."""


def migrate(db: sqlite3.Connection, path: str) -> None:
    """Bring the tables up to date, each step in one transaction. Raises JobStoreError for a newer database."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(STEPS):
        raise JobStoreError(
            f"the job database {path!r} is of version {version}, this Stream Guard knows {len(STEPS)}: it was written "
            "by a newer one; use that, or name another file with jobs.database"
        )
    for number, step in enumerate(STEPS[version:], version + 1):
        db.executescript(f"BEGIN IMMEDIATE; {step}; PRAGMA user_version = {number}; COMMIT;")
