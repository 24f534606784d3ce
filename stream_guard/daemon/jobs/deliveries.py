"""Webhooks that wait to be delivered, kept beside the jobs so that none is lost with the daemon."""

from __future__ import annotations

import json
import secrets
from collections.abc import Container
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ..control import JobState
from .store import JobStore

LONGEST_WAIT_SECONDS = 3 * 3600.0
"""Between two attempts. What is due later than that was put off before the clock was set back, and is due now."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """`body` is sent as it is, the same with each attempt; `id` lets a receiver see repetitions."""

    id: str
    job: str
    url: str = field(repr=False)
    body: str
    attempts: int

    @property
    def receiver(self) -> str:
        return receiver_of(self.url)


def receiver_of(url: str) -> str:
    """The host and port: who must not keep the others waiting."""
    return urlsplit(url).netloc.rpartition("@")[2]


class Deliveries:
    """Thread-safe; raises JobStoreError."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def add(self, event: str, state: JobState, url: str) -> None:
        """Have `event` told; within a transaction of the store, as a part of it."""
        name, now = secrets.token_hex(8), self._store.clock()
        body = json.dumps({"id": name, "event": event, "created": now, "job": state.model_dump(mode="json")})
        with self._store.changing() as db:
            db.execute(
                "INSERT INTO deliveries (id, job, url, body, not_before, created) VALUES (?, ?, ?, ?, 0, ?)",
                (name, state.id, url, body, now),
            )

    def take(self, busy: Container[str] = ()) -> Delivery | None:
        """The first that is due of receivers that are not `busy`, its attempt counted."""
        with self._store.changing() as db:
            now = self._store.clock()
            due = db.execute(
                "SELECT seq, url FROM deliveries WHERE not_before <= ? OR not_before > ? ORDER BY not_before, seq",
                (now, now + LONGEST_WAIT_SECONDS),
            )
            chosen = next((seq for seq, url in due if receiver_of(url) not in busy), None)
            if chosen is None:
                return None
            row = db.execute("SELECT * FROM deliveries WHERE seq = ?", (chosen,)).fetchone()
            db.execute("UPDATE deliveries SET attempts = attempts + 1 WHERE id = ?", (row["id"],))
            return Delivery(row["id"], row["job"], row["url"], row["body"], row["attempts"] + 1)

    def due(self, busy: Container[str] = ()) -> float | None:
        """Seconds until the next is due of receivers that are not `busy`; None where none waits."""
        with self._store.changing() as db:
            now = self._store.clock()
            found = db.execute("SELECT not_before, url FROM deliveries")
            waits = [moment - now for moment, url in found if receiver_of(url) not in busy]
        return min((0.0 if wait > LONGEST_WAIT_SECONDS else max(0.0, wait) for wait in waits), default=None)

    def put_back(self, id: str, wait: float) -> None:
        with self._store.changing() as db:
            db.execute("UPDATE deliveries SET not_before = ? WHERE id = ?", (self._store.clock() + wait, id))

    def remove(self, id: str) -> None:
        with self._store.changing() as db:
            db.execute("DELETE FROM deliveries WHERE id = ?", (id,))
