"""What the end of a worker means for its job: the whole table, without a worker."""

from __future__ import annotations

import pytest

from stream_guard.daemon.control import JobState, Outcome
from stream_guard.daemon.jobs import WorkerExit
from stream_guard.daemon.jobs.outcomes import FIRST_WAIT_SECONDS, JITTER, MOST_INTERRUPTIONS, judge, retry_wait
from stream_guard.daemon.jobs.store import LONGEST_WAIT_SECONDS, Job
from stream_guard.daemon.settings import JobSettings


def job(failures: int = 0, interruptions: int = 0) -> Job:
    settings = JobSettings(source="/in.mp4", output="/out.mp4", retries=2)
    state = JobState(id="a", phase="running", kind="protect", source="", output="", priority=0, attempts=1, created=1.0)
    return Job(state, settings, failures, interruptions, cancelled=False)


@pytest.mark.parametrize(
    ("how", "said", "permanent", "outcome", "words"),
    [
        (WorkerExit(0), "", False, "completed", ""),
        (WorkerExit(3), "", False, "rejected", ""),
        (WorkerExit(2), "the input is no video", False, "failed", "the input is no video"),
        (WorkerExit(1), "the input is cut off", True, "failed", "the input is cut off"),
        (WorkerExit(2), "", False, "failed", "the worker refused the job"),
        (WorkerExit(-9, "memory"), "", False, "killed_memory", "more than 2147483648 bytes of memory"),
        (WorkerExit(-24, "cpu"), "", False, "failed", "of CPU time"),
        (WorkerExit(1), "the disk is full", False, None, "the disk is full"),
        (WorkerExit(1), "", False, None, "ended with code 1 and no word"),
        (WorkerExit(-11), "", False, None, "killed by signal 11"),
        (WorkerExit(-9, "stuck"), "", False, None, "said nothing for too long"),
    ],
)
def test_each_end(how: WorkerExit, said: str, permanent: bool, outcome: Outcome | None, words: str) -> None:
    judged = judge(job(), how, said, permanent, cancelled=False, draining=False)
    assert (judged.outcome, judged.failed, judged.interrupted) == (outcome, outcome is None, False)
    assert words in judged.error
    assert (judged.wait > 0) == judged.failed


def test_retries_are_used_up() -> None:
    for failures, outcome in ((1, None), (2, "failed")):
        judged = judge(job(failures), WorkerExit(1), "no luck", False, cancelled=False, draining=False)
        assert (judged.outcome, judged.error) == (outcome, "no luck")


@pytest.mark.parametrize(
    ("how", "draining", "interrupted"),
    [
        (WorkerExit(4), True, False),  # it wrote a checkpoint
        (WorkerExit(-9, "shutdown"), True, True),
        (WorkerExit(-9, "shutdown"), False, True),
        (WorkerExit(-9), True, True),
        (WorkerExit(-9), False, False),
    ],
)
def test_what_the_daemons_end_cuts_off_is_no_failure(how: WorkerExit, draining: bool, interrupted: bool) -> None:
    judged = judge(job(), how, "", False, cancelled=False, draining=draining)
    assert (judged.outcome, judged.interrupted) == (None, interrupted)
    assert judged.failed == (not draining and not interrupted)


def test_what_is_cut_off_again_and_again_is_given_up() -> None:
    for before, outcome in ((MOST_INTERRUPTIONS - 2, None), (MOST_INTERRUPTIONS - 1, "killed_shutdown")):
        judged = judge(job(0, before), WorkerExit(-9, "shutdown"), "", False, cancelled=False, draining=True)
        assert judged.outcome == outcome


def test_a_cancelled_job_is_aborted_unless_it_was_done() -> None:
    for code, outcome in ((4, "aborted"), (-9, "aborted"), (1, "aborted"), (0, "completed")):
        assert judge(job(), WorkerExit(code), "", True, cancelled=True, draining=True).outcome == outcome


def test_waits_double_and_are_shortened_by_chance() -> None:
    for failures, longest in ((0, FIRST_WAIT_SECONDS), (1, 10.0), (3, 40.0), (7, 600.0), (2000, LONGEST_WAIT_SECONDS)):
        waits = [retry_wait(failures) for _ in range(50)]
        assert longest * (1 - JITTER) <= min(waits) < max(waits) <= longest
