"""File jobs: a persistent queue, one worker process a job, segments to resume at, signed webhooks.

What the supervisor calls:

    store = JobStore(path)                                     # store.py; raises JobStoreError
    runner = JobRunner(store, spawn, settings, folder=state_dir / "segments", metrics=metrics)  # runner.py
    runner.start()
    runner.submit(settings, key) -> (JobState, bool)           # the Control methods of the same names
    runner.jobs(phase, limit) / runner.job(id) / runner.cancel(id)
    runner.drain(seconds)                                      # workers checkpoint; their jobs wait for the next start
    runner.close(); store.close()

What the supervisor gives is a `Spawn`. What runs inside a job's process is `work.run_job(spec, emit, stop) -> int`, the
exit code: `spec` as the runner gave it to `Spawn` (plain data for JSON), `emit` sends one message (a JSON object) to
`on_message`, and `stop` is an event that `Worker.stop` sets: the worker then checkpoints and ends with 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Message = dict[str, Any]
"""One JSON object from a worker: {"type": "progress" | "report" | "error" | ..., ...}."""


@dataclass(frozen=True, slots=True)
class WorkerExit:
    """How a worker ended. `code` as subprocess gives it: negative for a signal.

    `reason` says what the supervisor knows beyond that: it was killed for its memory or its CPU time, or because the
    daemon could not wait for it any longer; empty where it ended by itself or nobody knows.
    """

    code: int
    reason: Literal["", "memory", "cpu", "shutdown", "stuck"] = ""


class Worker(Protocol):
    """One process at work. Both methods return at once, and do nothing once it has ended."""

    def stop(self) -> None:
        """Ask it to checkpoint and end."""

    def kill(self) -> None:
        """End it now."""


class Spawn(Protocol):
    """Starts one worker process. Raises StreamGuardError where none can be started (RefusedError: ask again later).

    Both callbacks come on threads of the supervisor, in order; `on_exit` comes once, last. They return quickly.
    """

    def __call__(
        self,
        kind: str,
        spec: dict[str, Any],
        on_message: Callable[[Message], None],
        on_exit: Callable[[WorkerExit], None],
    ) -> Worker: ...
