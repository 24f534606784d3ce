"""The runner with workers that do as they are told: who runs when, what an end means, and what is left behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_guard.daemon.control import ConflictError, MissingError
from stream_guard.daemon.jobs import outcomes, runner, segments
from stream_guard.daemon.settings import JobSettings
from stream_guard.errors import ConfigError, UsageError

from .job_house import House
from .support import until


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., House]]:
    monkeypatch.setattr(outcomes, "FIRST_WAIT_SECONDS", 0.05)
    houses: list[House] = []

    def build(**settings: Any) -> House:
        houses.append(House(tmp_path, **settings))
        return houses[-1]

    yield build
    for house in houses:
        house.close()


@pytest.fixture
def house(make: Callable[..., House]) -> House:
    made = make()
    made.runner.start()
    return made


def test_a_job_runs_and_reports(house: House) -> None:
    name = house.submit()
    worker = house.wait_for_workers(1)
    assert worker.spec["id"] == name
    assert worker.spec["segment_seconds"] == 7.0
    assert worker.spec["settings"]["source"] == "/in/a.mp4"
    worker.tell({"type": "progress", "progress": 0.5})
    assert house.runner.job(name).progress == 0.5
    Path(worker.spec["folder"]).mkdir()
    (Path(worker.spec["folder"]) / "00000000.segment").write_bytes(b"x")
    worker.tell({"type": "report", "report": {"frames_out": 9}})
    worker.end(0)
    state = house.wait_for_phase(name, "ended")
    assert (state.outcome, state.progress, state.report, state.error) == ("completed", 1.0, {"frames_out": 9}, "")
    until(lambda: not Path(worker.spec["folder"]).exists(), "the segments are gone")
    until(lambda: house.value("jobs_total", outcome="completed") == 1, "the job is counted")
    until(lambda: house.value("job_duration_seconds_count") == 1, "its length is counted")
    until(lambda: len(house.changes) == 3, "its end is told")
    assert [change.phase for change in house.changes] == ["queued", "running", "ended"]


def test_as_many_at_once_as_are_allowed(make: Callable[..., House]) -> None:
    house = make(workers=2)
    house.runner.start()
    names = [house.submit(str(number), priority=number) for number in range(4)]
    house.wait_for_workers(2)
    until(lambda: house.value("jobs_running") == 2, "two jobs run")
    assert sum(house.runner.job(name).phase == "running" for name in names) == 2
    assert house.value("jobs_queued") == 2
    house.workers[0].end(0)
    house.wait_for_workers(3)
    for worker in house.workers[1:]:
        worker.end(0)
    house.wait_for_workers(4).end(0)
    until(lambda: len(house.runner.jobs("ended")) == 4, "all ended")


def test_a_failure_that_may_pass_is_tried_again_up_to_a_limit(house: House) -> None:
    name = house.submit(retries=2)
    for attempt in (1, 2, 3):
        worker = house.wait_for_workers(attempt)
        worker.tell({"type": "error", "message": "no space left on the device", "permanent": False})
        worker.end(1)
    state = house.wait_for_phase(name, "ended")
    assert (state.outcome, state.attempts, state.error) == ("failed", 3, "no space left on the device")


def test_a_crash_is_tried_again_and_then_done(house: House) -> None:
    name = house.submit()
    house.wait_for_workers(1).end(-11)
    house.wait_for_workers(2).end(0)
    state = house.wait_for_phase(name, "ended")
    assert (state.outcome, state.attempts) == ("completed", 2)


@pytest.mark.parametrize(
    ("code", "reason", "outcome"), [(2, "", "failed"), (3, "", "rejected"), (-9, "memory", "killed_memory")]
)
def test_what_would_end_alike_is_not_tried_again(house: House, code: int, reason: str, outcome: str) -> None:
    name = house.submit()
    house.wait_for_workers(1).end(code, reason)
    state = house.wait_for_phase(name, "ended")
    assert (state.outcome, state.attempts) == (outcome, 1)
    assert house.value("jobs_total", outcome=outcome) == 1


def test_a_refusal_for_want_of_headroom_is_no_failure(house: House) -> None:
    house.refuse = 3
    name = house.submit(retries=0)
    house.wait_for_workers(1).end(0)
    assert house.wait_for_phase(name, "ended").outcome == "completed"


def test_without_headroom_the_whole_queue_waits_not_each_job_in_its_turn(make: Callable[..., House]) -> None:
    house = make()
    house.refuse, house.retry_after = 100, 600
    for number in range(20):
        house.submit(str(number))
    house.runner.start()
    until(lambda: house.runner.jobs("waiting"), "the first job is refused")
    time.sleep(0.3)
    assert house.refuse == 99
    (refused,) = house.runner.jobs("waiting")
    assert (refused.attempts, refused.started, refused.error) == (0, None, "no headroom")
    assert len(house.runner.jobs("queued")) == 19


def test_a_full_disk_holds_the_queue_up_and_nothing_is_lost(
    make: Callable[..., House], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runner, "DISK_SECONDS", 0.3)
    house = make(workers=2)
    first, second, third = (house.submit(name) for name in "abc")
    house.runner.start()
    house.wait_for_workers(2)
    until(lambda: len(house.runner.jobs("running")) == 2, "two jobs run")
    house.store.full = True
    house.workers[0].end(0)
    house.workers[1].end(1)
    time.sleep(1.0)
    assert house.store.refusals < 10  # it neither spins nor fills the log, which may lie on the same disk
    assert "Traceback" not in caplog.text
    house.store.full = False
    assert house.wait_for_phase(first, "ended").outcome == "completed"
    for number in (3, 4):
        house.wait_for_workers(number).end(0)
    assert [house.wait_for_phase(name, "ended").outcome for name in (second, third)] == ["completed", "completed"]
    assert house.value("jobs_total", outcome="completed") == 3
    until(lambda: house.value("job_duration_seconds_count") == 4, "each attempt is counted once")


def test_a_disk_that_is_full_at_the_start_holds_up_nothing_but_the_queue(
    make: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "DISK_SECONDS", 0.1)
    house = make()
    left, cancelled = house.submit("left"), house.submit("cancelled", priority=1)
    assert [house.store.take(), house.store.take()]
    house.store.mark_cancelled(cancelled)
    house.store.full = True
    house.runner.start()
    until(lambda: house.store.refusals > 1, "what was left is looked at again")
    assert not house.workers
    house.store.full = False
    assert house.wait_for_phase(cancelled, "ended").outcome == "aborted"
    house.wait_for_workers(1).end(0)
    assert house.wait_for_phase(left, "ended").outcome == "completed"


def test_a_full_disk_does_not_keep_the_queue_from_ending(make: Callable[..., House]) -> None:
    house = make()
    house.runner.start()
    name = house.submit()
    house.wait_for_workers(1)
    house.store.full = True
    house.workers[0].end(0)
    until(lambda: house.store.refusals, "the end cannot be written")
    house.runner.close()
    house.store.full = False
    house.store.close()
    again = make()
    again.runner.start()
    again.wait_for_workers(1).end(0)
    assert again.wait_for_phase(name, "ended").outcome == "completed"


def test_what_a_killed_worker_left_beside_an_output_named_by_url_is_removed(house: House, tmp_path: Path) -> None:
    output = (tmp_path / "two words.mp4").as_uri()
    state, _ = house.runner.submit(JobSettings(source="/in/a.mp4", output=output))
    worker = house.wait_for_workers(1)
    left = tmp_path / f".stream-guard-{state.id}.mp4"
    left.touch()
    worker.end(2)
    assert house.wait_for_phase(state.id, "ended").outcome == "failed"
    until(lambda: not left.exists(), "the hidden file is gone")


def test_what_another_user_left_does_not_keep_the_queue_from_starting(
    make: Callable[..., House], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The daemon ran once as root, and its jobs' folders are root's."""

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    house = make()
    (tmp_path / "segments" / "old").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(segments.shutil, "rmtree", refuse)
        house.runner.start()
    assert "what job old left could not be removed: Permission denied" in caplog.text
    name = house.submit()
    house.wait_for_workers(1).end(0)
    assert house.wait_for_phase(name, "ended").outcome == "completed"


def test_what_can_never_run_is_refused_at_once(house: House) -> None:
    with pytest.raises(ConfigError, match="file_roots"):
        house.submit("forbidden")
    with pytest.raises(ConfigError, match="detectr"):
        house.submit(options={"faces.detectr": "x"})
    with pytest.raises(ConfigError, match="both given"):
        house.submit(encoder={"crf": 20, "bit_rate": 1000})
    with pytest.raises(UsageError, match="no format"):
        house.runner.submit(JobSettings(source="/in/a.mp4", output="/out/a.txt"))
    with pytest.raises(ConfigError, match="needs an output"):
        house.runner.submit(JobSettings(source="/in/a.mp4"))
    with pytest.raises(ConfigError, match="input itself"):
        house.runner.submit(JobSettings(source="/in/a.mp4", output="/in/a.mp4"))
    with pytest.raises(UsageError, match="webhook_secret"):
        house.submit(webhook="https://8.8.8.8/hook")
    assert house.runner.jobs() == []


def test_a_key_gives_the_same_job(house: House) -> None:
    first = house.submit("a", "key")
    worker = house.wait_for_workers(1)
    house.gone = True  # The source was moved away, and the same request comes again.
    assert house.submit("a", "key") == first
    with pytest.raises(ConflictError):
        house.submit("b", "key")
    worker.end(0)


def test_a_queued_job_is_cancelled_at_once(make: Callable[..., House]) -> None:
    house = make(workers=0)
    house.runner.start()
    name = house.submit()
    assert house.runner.cancel(name).outcome == "aborted"
    with pytest.raises(ConflictError, match="ended already"):
        house.runner.cancel(name)
    with pytest.raises(MissingError):
        house.runner.cancel("nothing")


@pytest.mark.parametrize("deaf", [False, True])
def test_a_running_job_is_asked_to_end_and_killed_if_it_does_not(
    house: House, deaf: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CANCEL_SECONDS", 0.2)
    house.deaf = deaf
    name = house.submit()
    worker = house.wait_for_workers(1)
    until(lambda: house.runner.job(name).phase == "running", "it runs")
    house.runner.cancel(name)
    state = house.wait_for_phase(name, "ended")
    assert state.outcome == "aborted"
    assert worker.asked == 1


@pytest.mark.parametrize("deaf", [False, True])
def test_a_drain_lets_jobs_wait_for_the_next_start(make: Callable[..., House], deaf: bool) -> None:
    house = make()
    house.deaf = deaf
    house.runner.start()
    running, queued = house.submit("a"), house.submit("b")
    house.wait_for_workers(1)
    house.runner.drain(0.3)
    assert [house.runner.job(name).phase for name in (running, queued)] == ["waiting", "queued"]
    assert len(house.workers) == 1
    house.close()

    again = make()
    again.runner.start()
    assert again.wait_for_workers(1).spec["id"] == running
    again.workers[0].end(0)
    again.wait_for_workers(2).end(0)
    until(lambda: len(again.runner.jobs("ended")) == 2, "both ended")
    assert again.runner.job(running).attempts == 2


def test_a_job_that_was_cancelled_as_its_attempt_failed_does_not_run_again(house: House) -> None:
    name = house.submit()
    worker = house.wait_for_workers(1)
    until(lambda: house.runner.job(name).phase == "running", "it runs")
    house.store.mark_cancelled(name)  # as a request does between the judgement and the end of the attempt
    worker.end(1)
    assert house.wait_for_phase(name, "ended").outcome == "aborted"
    assert len(house.workers) == 1


def test_a_killed_daemon_loses_no_job(make: Callable[..., House]) -> None:
    house = make()
    house.runner.start()
    name = house.submit()
    folder = Path(house.wait_for_workers(1).spec["folder"])
    folder.mkdir()
    stray = folder.parent / "0123456789abcdef"
    stray.mkdir()
    house.runner.close()  # nobody settles the job: as after kill -9
    house.store.close()

    again = make()
    again.runner.start()
    assert again.wait_for_workers(1).spec["id"] == name
    assert folder.exists()
    assert not stray.exists()
    again.workers[0].end(0)
    assert again.wait_for_phase(name, "ended").outcome == "completed"


def test_a_job_that_takes_the_daemon_down_again_and_again_is_given_up(make: Callable[..., House]) -> None:
    for _ in range(outcomes.MOST_INTERRUPTIONS):
        house = make()
        house.runner.start()
        name = house.submit("a", "key")
        house.wait_for_workers(1)
        house.runner.close()
        house.store.close()
    last = make()
    last.runner.start()
    state = last.wait_for_phase(name, "ended")
    assert state.outcome == "killed_shutdown"
    assert "without one whole segment" in state.error


def test_a_cancelled_job_stays_cancelled_over_a_kill(make: Callable[..., House]) -> None:
    house = make()
    house.deaf = True
    house.runner.start()
    name = house.submit()
    house.wait_for_workers(1)
    until(lambda: house.runner.job(name).phase == "running", "it runs")
    house.runner.cancel(name)
    house.runner.close()
    house.store.close()
    again = make()
    again.runner.start()
    assert again.wait_for_phase(name, "ended").outcome == "aborted"
    assert again.workers == []


def test_a_file_that_is_forbidden_meanwhile_is_not_opened(make: Callable[..., House]) -> None:
    house = make(workers=0)
    house.runner.start()
    name = house.submit()
    house.close()
    again = make()
    again.check = lambda settings: again.__class__.check(again, settings.model_copy(update={"source": "/forbidden"}))  # type: ignore[method-assign]
    again.runner._resolve = again.check
    again.runner.start()
    state = again.wait_for_phase(name, "ended")
    assert state.outcome == "failed"
    assert "file_roots" in state.error
    assert again.workers == []
