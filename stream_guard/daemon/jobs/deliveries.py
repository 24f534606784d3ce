"""Webhooks that wait to be delivered, kept beside the jobs so that none is lost with the daemon."""

from __future__ import annotations

import json
import secrets
from collections.abc import Container
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ..control import JobState
from .store import JobStore


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
                "INSERT INTO deliveries (id, job, url, body, not_before, created) VALUES (?, ?, ?, ?, ?, ?)",
                (name, state.id, url, body, now, now),
            )

    def take(self, busy: Container[str] = ()) -> Delivery | None:
        """The first that is due of receivers that are not `busy`, its attempt counted."""
        with self._store.changing() as db:
            due = db.execute(
                "SELECT seq, url FROM deliveries WHERE not_before <= ? ORDER BY not_before, seq", (self._store.clock(),)
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
            waiting = db.execute("SELECT not_before, url FROM deliveries ORDER BY not_before")
            first = next((moment for moment, url in waiting if receiver_of(url) not in busy), None)
        return None if first is None else max(0.0, first - self._store.clock())

    def put_back(self, id: str, wait: float) -> None:
        with self._store.changing() as db:
            db.execute("UPDATE deliveries SET not_before = ? WHERE id = ?", (self._store.clock() + wait, id))

    def remove(self, id: str) -> None:
        with self._store.changing() as db:
            db.execute("DELETE FROM deliveries WHERE id = ?", (id,))
