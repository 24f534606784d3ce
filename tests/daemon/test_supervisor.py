"""Worker processes for real: how they end, what they take with them, and that nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from stream_guard.daemon import process as process_module
from stream_guard.daemon import supervisor as supervisor_module
from stream_guard.daemon.jobs import WorkerExit
from stream_guard.daemon.process import IDLE_SECONDS, Order, Process
from stream_guard.daemon.protocol import Message
from stream_guard.daemon.supervisor import NOT_STARTED, WORKER, Handle, Supervisor
from stream_guard.inference.builder import BUILDER
from stream_guard.resources import program

from .support import FAKE, PATIENCE, children, is_alive, open_files, until


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    made = Supervisor(FAKE)
    made.start()
    yield made
    made.close()
    assert not children()


class Watched:
    """A worker, what it said and how it ended."""

    def __init__(self, supervisor: Supervisor, word: str, **limits: float) -> None:
        self.said: list[Message] = []
        self.ended: WorkerExit | None = None
        self.done = threading.Event()
        spec = {"source": f"rtmp://127.0.0.1/live/{word}"}
        order = Order("live", spec, **limits)  # type: ignore[arg-type]
        self.handle: Handle = supervisor.spawn(order, self.said.append, self._end)

    def _end(self, ended: WorkerExit) -> None:
        self.ended = ended
        self.done.set()

    def wait(self) -> WorkerExit:
        assert self.done.wait(PATIENCE), "the worker did not end"
        assert self.ended is not None
        return self.ended

    def running(self) -> int:
        until(lambda: any(m.get("status", {}).get("phase") == "running" for m in self.said), "the worker to run")
        assert self.handle.process is not None
        return self.handle.process.pid


def test_a_worker_reports_stops_and_is_reaped(supervisor: Supervisor) -> None:
    worker = Watched(supervisor, "run")
    pid = worker.running()
    worker.handle.send({"type": "snapshot", "id": 7})
    until(lambda: any(m["type"] == "snapshot" and m["id"] == 7 for m in worker.said), "the snapshot")
    worker.handle.stop()
    assert worker.wait() == WorkerExit(4)
    assert worker.said[-2]["status"]["phase"] == "ended"
    assert not is_alive(pid)
    worker.handle.stop()  # does nothing
    worker.handle.kill()


@pytest.mark.parametrize("module", [WORKER, BUILDER])
def test_a_process_of_ours_imports_nothing_from_the_working_folder(tmp_path: Path, module: str) -> None:
    """It may be anybody's: a folder of videos in which others write."""
    for name in ("json", "runpy", "logging", "ctypes"):
        (tmp_path / f"{name}.py").write_text("print('from the working folder')")
    run = subprocess.run(program(module), cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert b"from the working folder" not in run.stdout + run.stderr
    assert b"No module named" not in run.stderr


def test_a_memory_bomb_hurts_itself_only(supervisor: Supervisor) -> None:
    beside = Watched(supervisor, "run")
    assert Watched(supervisor, "bomb", memory_bytes=200 * 1024**2).wait() == WorkerExit(-signal.SIGKILL, "memory")
    assert is_alive(beside.running())
    assert beside.ended is None


def test_cpu_time_is_limited(supervisor: Supervisor) -> None:
    assert Watched(supervisor, "spin", cpu_seconds=1).wait() == WorkerExit(-signal.SIGXCPU, "cpu")


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="Linux does not group by session here")
def test_a_niced_worker_gives_way_to_those_of_other_sessions(supervisor: Supervisor) -> None:
    """Each worker has a session of its own, and its niceness counts inside of it only."""
    beside, niced = Watched(supervisor, "run"), Watched(supervisor, "run", nice=10)
    own = os.getpriority(os.PRIO_PROCESS, 0)  # these tests may be niced themselves
    assert os.getpriority(os.PRIO_PROCESS, niced.running()) == min(own + 10, 19)
    assert Path(f"/proc/{niced.running()}/autogroup").read_text().endswith("nice 10\n")
    assert Path(f"/proc/{beside.running()}/autogroup").read_text().endswith("nice 0\n")


def test_a_segmentation_fault_is_an_exit_like_others(supervisor: Supervisor, tmp_path: Path) -> None:
    assert Watched(supervisor, "segv").wait() == WorkerExit(-signal.SIGSEGV)


def test_a_worker_that_does_not_stop_is_killed_in_time(supervisor: Supervisor) -> None:
    worker = Watched(supervisor, "deaf")
    worker.running()
    worker.handle.stop(within=0.5)
    assert worker.wait() == WorkerExit(-signal.SIGKILL, "shutdown")


def test_a_frozen_worker_is_killed(supervisor: Supervisor) -> None:
    assert Watched(supervisor, "frozen", patience=3.0).wait() == WorkerExit(-signal.SIGKILL, "stuck")


def test_a_frozen_worker_that_may_be_silent_for_long_is_killed_all_the_same(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that builds an engine may be: it would use CPU time meanwhile."""
    monkeypatch.setattr(process_module, "IDLE_SECONDS", 1.0)
    monkeypatch.setattr(process_module, "CPU_SECONDS", 0.1)
    assert Watched(supervisor, "frozen", patience=3600.0).wait() == WorkerExit(-signal.SIGKILL, "stuck")


def test_a_worker_that_is_silent_and_works_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    used = [1.0]
    monkeypatch.setattr(process_module, "cpu_seconds", lambda pid: used[0])
    order = Order("probe", {}, patience=3600.0)
    process = Process(order, (sys.executable, "-c", "input()"), lambda message: None, lambda ended: None)
    now = process.heard
    for _ in range(10):  # ten times as long as one that does nothing may take
        now += IDLE_SECONDS
        used[0] += 0.01
        process.check(now)
    assert process.reason == ""
    process.check(now + IDLE_SECONDS + 1)
    assert process.reason == "stuck"
    until(process.poll, "the end of the process")
    process.bury()


def test_a_worker_that_is_alive_and_gets_nowhere_is_killed(supervisor: Supervisor) -> None:
    assert Watched(supervisor, "deaf", stillness=2.0).wait() == WorkerExit(-signal.SIGKILL, "stuck")


def test_a_pause_of_the_whole_machine_is_no_silence_of_the_workers(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `docker pause`: the clock has gone on, and nobody could say anything."""
    pause = [0.0]
    worker = Watched(supervisor, "run", patience=60.0, stillness=600.0)
    worker.running()
    for module in (supervisor_module, process_module):
        monkeypatch.setattr(module, "monotonic", lambda: monotonic() + pause[0])
    pause[0] = 3600.0
    worker.handle.send({"type": "snapshot", "id": 1})
    until(lambda: worker.ended or any(m["type"] == "snapshot" for m in worker.said), "an answer")
    worker.handle.stop()
    assert worker.wait() == WorkerExit(4)


def test_what_libraries_print_disturbs_nobody(supervisor: Supervisor) -> None:
    worker = Watched(supervisor, "noise")
    worker.running()
    worker.handle.stop()
    assert worker.wait() == WorkerExit(4)
    assert {"this is not a message", "nor is this"} <= set(worker.handle.last_words)


def test_a_worker_that_talks_nonsense_is_killed(supervisor: Supervisor, caplog: pytest.LogCaptureFixture) -> None:
    assert Watched(supervisor, "nonsense").wait() == WorkerExit(-signal.SIGKILL)
    assert "not JSON" in caplog.text


def test_processes_that_a_worker_started_end_with_it(supervisor: Supervisor) -> None:
    worker = Watched(supervisor, "child")
    pid = worker.running()
    until(lambda: any(m.get("kind") == "child" for m in worker.said), "the grandchild")
    grandchild = next(m["data"]["pid"] for m in worker.said if m.get("kind") == "child")
    os.kill(pid, signal.SIGKILL)
    assert worker.wait() == WorkerExit(-signal.SIGKILL)
    until(lambda: not is_alive(grandchild), "the grandchild to end")


def test_a_command_that_is_not_there_is_told(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = Supervisor(("/nonexistent/worker",))
    supervisor.start()
    worker = Watched(supervisor, "run")
    assert worker.wait() == WorkerExit(NOT_STARTED)
    assert "No such file" in worker.said[0]["message"]
    supervisor.close()
    assert "no live worker could be started" in caplog.text


def test_thirty_workers_leave_no_process_and_no_open_file(supervisor: Supervisor) -> None:
    Watched(supervisor, "end").wait()
    before = open_files()
    for _ in range(10):
        for worker in [Watched(supervisor, "end") for _ in range(3)]:
            assert worker.wait() == WorkerExit(0)
    assert open_files() == before
    assert not children()


ORPHANS = """
import sys, time
from stream_guard.daemon.supervisor import Supervisor
from stream_guard.daemon.process import IDLE_SECONDS, Order, Process
supervisor = Supervisor(sys.argv[1:])
supervisor.start()
def said(message):
    if message.get("status", {}).get("phase") == "running" or message.get("kind") == "child":
        print(message.get("data", {}).get("pid") or handle.process.pid, flush=True)
handle = supervisor.spawn(Order("live", {"source": "rtmp://127.0.0.1/live/child"}), said, print)
time.sleep(600)
"""


def test_a_supervisor_that_is_killed_leaves_no_worker() -> None:
    command = [sys.executable, "-c", ORPHANS, *FAKE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        worker, _ = int(supervisor.stdout.readline()), int(supervisor.stdout.readline())
        assert is_alive(worker)
        supervisor.kill()
    until(lambda: not is_alive(worker), "the orphan to end")
