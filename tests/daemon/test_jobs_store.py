"""The queue on the disk: order, states, keys, and what happens to it when things go wrong."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_guard.daemon.control import ConflictError, JobState, MissingError
from stream_guard.daemon.daemon import Daemon
from stream_guard.daemon.jobs import store as store_module
from stream_guard.daemon.jobs.deliveries import Deliveries
from stream_guard.daemon.jobs.schema import STEPS, DiskFullError, JobStoreError
from stream_guard.daemon.jobs.store import JobStore
from stream_guard.daemon.settings import DaemonSettings, JobSettings


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[JobStore]:
    made = JobStore(tmp_path / "jobs.sqlite3", clock)
    yield made
    made.close()


def settings(name: str = "a", **more: object) -> JobSettings:
    return JobSettings(source=f"/in/{name}.mp4", output=f"/out/{name}.mp4", **more)  # type: ignore[arg-type]


def taken(store: JobStore) -> list[str]:
    """The jobs in the order in which they are taken."""
    names = []
    while (job := store.take()) is not None:
        names.append(job.state.id)
    return names


def test_the_highest_priority_comes_first_and_then_the_oldest(store: JobStore) -> None:
    ids = [store.submit(settings(str(i), priority=p))[0].id for i, p in enumerate((0, 5, 0, 5, -1))]
    assert taken(store) == [ids[1], ids[3], ids[0], ids[2], ids[4]]
    assert [job.id for job in store.jobs()] == ids[::-1]
    assert store.count("running") == 5
    assert store.jobs("queued") == []


def test_a_job_tells_its_life(store: JobStore, clock: Clock) -> None:
    made, new = store.submit(settings())
    assert new
    assert (made.phase, made.attempts, made.created, made.kind) == ("queued", 0, 1000.0, "protect")
    clock.now = 1010
    running = store.take()
    assert running is not None
    assert (running.state.phase, running.state.attempts, running.state.started) == ("running", 1, 1010.0)
    store.advanced(made.id, 0.4)
    waiting = store.put_back(made.id, wait=60, error="the disk is full", failed=True)
    assert (waiting.phase, waiting.error, waiting.progress) == ("waiting", "the disk is full", 0.4)
    assert store.take() is None
    assert store.due() == 60
    clock.now = 1070
    again = store.take()
    assert again is not None
    assert (again.state.attempts, again.failures, again.state.started) == (2, 1, 1010.0)
    ended = store.end(made.id, "completed", report={"frames_out": 3})
    assert (ended.phase, ended.outcome, ended.progress, ended.report) == ("ended", "completed", 1.0, {"frames_out": 3})
    assert store.end(made.id, "failed") == ended
    assert store.due() is None


def test_the_same_key_gives_the_same_job_and_other_settings_are_refused(store: JobStore) -> None:
    first, new = store.submit(settings(), "k")
    again, new_again = store.submit(settings(), "k")
    assert (new, new_again) == (True, False)
    assert again == first
    with pytest.raises(ConflictError, match=first.id):
        store.submit(settings(priority=1), "k")
    other, new = store.submit(settings())
    assert new
    assert other.id != first.id
    with pytest.raises(ConflictError, match="at most 200"):
        store.submit(settings(), "k" * 201)


def test_one_key_from_many_threads_makes_one_job(store: JobStore) -> None:
    results: list[tuple[JobState, bool]] = []
    threads = [threading.Thread(target=lambda: results.append(store.submit(settings(), "k"))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({state.id for state, _ in results}) == 1
    assert [new for _, new in results].count(True) == 1


def test_no_job_is_taken_twice(store: JobStore) -> None:
    ids = {store.submit(settings(str(i)))[0].id for i in range(30)}
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.extend(taken(store))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(ids)


def test_interruptions_count_until_a_segment_is_whole(store: JobStore) -> None:
    name = store.submit(settings())[0].id
    for count in (1, 2):
        store.take()
        store.put_back(name, interrupted=True)
        assert store.job(name).interruptions == count
    store.take()
    store.advanced(name, 0.2)
    assert store.job(name).interruptions == 0


def test_a_job_that_is_missing_is_said_to_be(store: JobStore) -> None:
    with pytest.raises(MissingError, match="'x'"):
        store.job("x")


def test_ended_jobs_are_forgotten_and_others_are_not(store: JobStore, clock: Clock) -> None:
    old, kept = store.submit(settings("a"), "key")[0].id, store.submit(settings("b"))[0].id
    store.end(old, "failed", "no")
    clock.now = 5000
    assert store.forget(4000) == 1
    assert [job.id for job in store.jobs()] == [kept]
    assert store.submit(settings("c"), "key")[1]


def test_what_was_running_when_a_process_was_killed_is_queued_again(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite3"
    script = (
        "import os, signal, sys\n"
        "from stream_guard.daemon.jobs.store import JobStore\n"
        "from stream_guard.daemon.settings import JobSettings\n"
        "store = JobStore(sys.argv[1])\n"
        "for name in 'abc':\n"
        "    store.submit(JobSettings(source='/' + name, output='/o/' + name + '.mp4'), name)\n"
        "print(store.take().state.id, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    made = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert made.returncode == -9, made.stderr
    store = JobStore(path)
    try:
        assert [job.state.id for job in store.recover()] == [made.stdout.strip()]
        assert [state.phase for state in store.jobs()] == ["queued"] * 3
        assert taken(store)[0] == made.stdout.strip()
        assert store.job(made.stdout.strip()).interruptions == 1
    finally:
        store.close()


def test_a_second_daemon_is_refused(store: JobStore) -> None:
    store.submit(settings())
    with pytest.raises(JobStoreError, match="in use by another process"):
        JobStore(store.path)
    assert store.count("queued") == 1


def test_the_database_is_for_its_owner_only(store: JobStore) -> None:
    assert os.stat(store.path).st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", ["text", "middle"])
def test_a_damaged_database_is_said_in_words_and_left_alone(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "jobs.sqlite3"
    store = JobStore(path)
    for number in range(20):
        store.submit(settings(f"{number}" * 900))
    store.close()
    data = bytearray(path.read_bytes())
    if damage == "text":
        data[:100] = b"this is not a database at all, but somebody's shopping list".ljust(100)
    else:
        data[4096:20480] = os.urandom(16384)
    path.write_bytes(bytes(data))
    with pytest.raises(JobStoreError, match="damaged"):
        JobStore(path)
    assert path.read_bytes() == bytes(data)


def test_a_place_that_cannot_be_written_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(JobStoreError, match="check state_dir"):
        JobStore(tmp_path / "missing" / "jobs.sqlite3")


def test_an_older_database_is_brought_up_to_date_with_its_jobs(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite3"
    db = sqlite3.connect(path)
    db.executescript(f"{STEPS[0]} PRAGMA user_version = 1;")
    db.execute(
        "INSERT INTO jobs (id, settings, hash, priority, phase, created) VALUES ('old', ?, 'h', 0, 'queued', 1)",
        (settings().model_dump_json(),),
    )
    db.commit()
    db.close()
    store = JobStore(path)
    try:
        assert [job.id for job in store.jobs()] == ["old"]
        Deliveries(store).add("job.ended", store.job("old").state, "https://example.org/")
        assert Deliveries(store).take() is not None
    finally:
        store.close()
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (len(STEPS),)
    db.close()


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite3"
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    db.close()
    with pytest.raises(JobStoreError, match="written by a newer one"):
        JobStore(path)
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (len(STEPS) + 1,)
    db.close()


def test_a_change_that_fails_leaves_nothing(store: JobStore) -> None:
    name = store.submit(settings())[0].id

    def fail() -> None:
        with store.changing():
            store.end(name, "completed")
            Deliveries(store).add("job.ended", store.job(name).state, "https://example.org/")
            raise OSError("the disk is full")

    with pytest.raises(JobStoreError, match="cannot be opened"):
        fail()
    assert store.job(name).state.phase == "queued"
    assert Deliveries(store).take() is None


def test_deliveries_wait_and_keep_their_body(store: JobStore, clock: Clock) -> None:
    name = store.submit(settings())[0].id
    deliveries = Deliveries(store)
    assert deliveries.due() is None
    deliveries.add("job.ended", store.end(name, "completed"), "https://example.org/secret")
    first = deliveries.take()
    assert first is not None
    assert first.attempts == 1
    assert "secret" not in repr(first)
    deliveries.put_back(first.id, 30)
    assert deliveries.due() == 30
    assert deliveries.take() is None
    clock.now += 31
    second = deliveries.take()
    assert second is not None
    assert (second.id, second.body, second.attempts) == (first.id, first.body, 2)
    deliveries.remove(second.id)
    assert deliveries.due() is None


def test_a_clock_that_is_set_back_keeps_no_job_waiting(store: JobStore, clock: Clock) -> None:
    clock.now = 1e9
    name = store.submit(settings())[0].id
    store.take()
    store.put_back(name, wait=5.0, failed=True)
    assert (store.take(), store.due()) == (None, 5.0)
    clock.now -= 86400
    assert store.due() == 0.0
    assert taken(store) == [name]


def test_a_clock_that_is_set_back_keeps_no_webhook_waiting(store: JobStore, clock: Clock) -> None:
    clock.now = 1e9
    deliveries = Deliveries(store)
    deliveries.add("job.ended", store.submit(settings())[0], "http://127.0.0.1/hook")
    clock.now -= 3600
    first = deliveries.take()
    assert first is not None
    deliveries.put_back(first.id, 5.0)
    assert (deliveries.take(), deliveries.due()) == (None, 5.0)
    clock.now -= 86400
    assert deliveries.due() == 0.0
    again = deliveries.take()
    assert again is not None
    assert again.id == first.id


def test_the_list_goes_on_before_the_last_that_was_seen(store: JobStore) -> None:
    ids = [store.submit(settings(str(i)))[0].id for i in range(5)]
    store.end(ids[1], "aborted")
    assert [job.id for job in store.jobs(limit=2, before=ids[3])] == [ids[2], ids[1]]
    assert [job.id for job in store.jobs("queued", before=ids[2])] == [ids[0]]
    assert store.jobs(before=ids[0]) == []
    with pytest.raises(MissingError, match="no job 'nobody'"):
        store.jobs(before="nobody")


def test_a_disk_that_is_full_at_the_start_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(db: sqlite3.Connection, path: str) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as full:
        full.setattr(store_module, "migrate", refuse)
        store = JobStore(tmp_path / "jobs.sqlite3")
        with pytest.raises(DiskFullError):
            store.submit(settings())
        with pytest.raises(DiskFullError):
            store.jobs()
    assert [store.submit(settings())[0]] == store.jobs()
    store.close()


def test_folders_that_a_full_disk_does_not_take_are_made_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(Path, "mkdir", refuse)
        daemon = Daemon(DaemonSettings(state_dir=str(tmp_path / "state")))
        with pytest.raises(DiskFullError):
            daemon.jobs()
    assert daemon.jobs() == []
    assert (tmp_path / "state" / "segments").is_dir()
    daemon.close()
