"""What the HTTP API asks of the daemon: one protocol, and the states that it answers with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from ..errors import StreamGuardError
from .settings import JobSettings, StreamSettings


class RefusedError(StreamGuardError):
    """No headroom for more work: 503, with the reason and the seconds after which to ask again."""

    def __init__(self, reason: str, retry_after_seconds: int = 10) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class ConflictError(StreamGuardError):
    """The name is taken, or the state does not allow it: 409."""


class MissingError(StreamGuardError):
    """No stream or job of that name: 404."""


class State(BaseModel):
    model_config = ConfigDict(frozen=True)


class StreamState(State):
    """One stream as the API shows it. URLs are redacted."""

    name: str
    origin: Literal["config", "api", "hook"]
    phase: str = Field(description="starting, loading, connecting, running, gap, draining, ended, failed")
    source: str
    outputs: list[str] = []
    started: float = Field(description="Unix time in seconds")
    restarts: int = 0
    status: dict[str, Any] = Field({}, description="LiveStatus of the worker, as JSON")
    error: str = ""


JobPhase = Literal["queued", "running", "waiting", "ended"]
Outcome = Literal["completed", "failed", "rejected", "aborted", "killed_memory", "killed_shutdown"]


class JobState(State):
    id: str
    phase: JobPhase
    outcome: Outcome | None = None
    kind: str
    source: str
    output: str
    priority: int
    attempts: int
    progress: float = Field(0.0, ge=0, le=1)
    created: float
    started: float | None = None
    ended: float | None = None
    error: str = ""
    report: dict[str, Any] | None = Field(None, description="RunReport, or the verdicts of a screening")


class Health(State):
    """Readiness: ready when streams can be protected, also while something faster is being built (`building`)."""

    ready: bool
    engine: Literal["loading", "building", "ready", "failed"]
    draining: bool = False
    reasons: list[str] = []


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event. `stream` or `job` names its subject; `id` rises."""

    id: int
    time: float
    kind: str
    message: str
    stream: str = ""
    job: str = ""
    data: dict[str, Any] | None = None


class Control(Protocol):
    """Everything that may be asked of the daemon. Thread-safe; methods may block for a second or so."""

    def streams(self) -> list[StreamState]: ...

    def stream(self, name: str) -> StreamState:
        """Raises MissingError."""

    def start_stream(self, settings: StreamSettings, origin: Literal["api", "hook"] = "api") -> StreamState:
        """Raises ConflictError for a name in use, RefusedError without headroom, ConfigError for bad settings."""

    def replace_stream(self, settings: StreamSettings) -> StreamState:
        """The same, but an existing stream of that name is drained and started anew."""

    def stop_stream(self, name: str) -> StreamState:
        """Drain and remove. Raises MissingError, ConflictError for a stream of the configuration file."""

    def snapshot(self, name: str, kind: Literal["original", "protected", "difference"]) -> bytes:
        """A JPEG of the newest picture. Raises MissingError where there is none yet."""

    def jobs(self, phase: JobPhase | None = None, limit: int = 100, before: str | None = None) -> list[JobState]:
        """The newest first; with `before` those older than that job. Raises MissingError where there is none."""

    def job(self, id: str) -> JobState:
        """Raises MissingError."""

    def submit(self, settings: JobSettings, key: str = "") -> tuple[JobState, bool]:
        """Queue a job; with an idempotency `key` seen before, that job and False.

        Raises ConflictError where the same key came with other settings, ConfigError for bad settings.
        """

    def cancel(self, id: str) -> JobState:
        """Raises MissingError, ConflictError for an ended job."""

    def events(self, since: int = 0, stream: str = "") -> Iterator[Event | None]:
        """Events after number `since` as they come; None every few seconds of silence. Ends when the daemon drains."""

    def health(self) -> Health: ...

    def metrics(self) -> bytes:
        """All workers' metrics and the supervisor's own, in Prometheus' text format."""
