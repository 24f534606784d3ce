"""What the end of a worker means for its job. Passing failures are tried again, permanent ones are not."""

from __future__ import annotations

import random
from dataclasses import dataclass

from ...errors import ExitCode
from ..control import Outcome
from . import WorkerExit
from .store import LONGEST_WAIT_SECONDS, Job

FIRST_WAIT_SECONDS, JITTER = 5.0, 0.3
MOST_INTERRUPTIONS = 5
"""How often a job may be cut off, by kills of the daemon or at its end, without one whole segment in between."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """`outcome` ends the job; None is another attempt after `wait` seconds."""

    outcome: Outcome | None
    error: str = ""
    wait: float = 0.0
    failed: bool = False
    interrupted: bool = False


def judge(job: Job, how: WorkerExit, error: str, permanent: bool, *, cancelled: bool, draining: bool) -> Judgement:
    """`error` is what the worker said last; `permanent` that another attempt would fail alike."""
    ends: dict[int, Outcome] = {ExitCode.DONE: "completed", ExitCode.REJECTED: "rejected"}
    if how.code in ends:
        return Judgement(ends[how.code])
    if cancelled:
        return Judgement("aborted", "cancelled")
    if how.reason == "memory":
        return Judgement("killed_memory", f"the worker took more than {job.settings.limits.memory} bytes of memory")
    if how.reason == "cpu":
        return Judgement("failed", f"the worker took more than {job.settings.limits.cpu:g} s of CPU time")
    if how.code == ExitCode.STOPPED:
        return Judgement(None)
    if how.reason == "shutdown" or (draining and how.code < 0):
        return interrupted(job, "the daemon ended before the worker had stopped")
    if how.code == ExitCode.USAGE or permanent:
        return Judgement("failed", error or "the worker refused the job")
    words = error or _died(how)
    if job.failures >= job.settings.retries:
        return Judgement("failed", words)
    return Judgement(None, words, retry_wait(job.failures), failed=True)


def interrupted(job: Job, words: str) -> Judgement:
    """Cut off through no fault of its own, so it counts as no failure; but not for ever."""
    if job.interruptions + 1 >= MOST_INTERRUPTIONS:
        return Judgement(
            "killed_shutdown", f"{words}, for the {MOST_INTERRUPTIONS}th time in a row without one whole segment"
        )
    return Judgement(None, words, interrupted=True)


def retry_wait(failures: int) -> float:
    """Seconds before the next attempt: doubling, shortened at random so that jobs do not come back together."""
    wait = min(FIRST_WAIT_SECONDS * 2.0 ** min(failures, 30), LONGEST_WAIT_SECONDS)
    return wait * (1 - JITTER * random.random())


def _died(how: WorkerExit) -> str:
    if how.reason == "stuck":
        return "the worker said nothing for too long and was killed"
    if how.code < 0:
        return f"the worker was killed by signal {-how.code}"
    return f"the worker ended with code {how.code} and no word"
