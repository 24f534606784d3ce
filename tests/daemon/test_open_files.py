"""The daemon without a file descriptor to spare: nothing that runs ends for it, and the log does not fill the disk."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import socket
from collections.abc import Iterator

import pytest

from stream_guard.daemon import serving
from stream_guard.daemon.jobs import WorkerExit
from stream_guard.daemon.process import Order, Process
from stream_guard.daemon.supervisor import Supervisor

from .api_server import running, wait_until
from .support import FAKE, is_alive, until


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextlib.contextmanager
def none_left() -> Iterator[None]:
    """Every file descriptor that this process may have is taken."""
    held, (soft, hard) = list[int](), resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 16, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for one in held:
            os.close(one)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    made = Supervisor(FAKE)
    made.start()
    yield made
    made.close()


def start(supervisor: Supervisor) -> tuple[int, list[WorkerExit]]:
    """A worker that runs: its process, and how it ended once it has."""
    ends: list[WorkerExit] = []
    said: list[object] = []
    order = Order("live", {"source": "rtmp://127.0.0.1/live/run"})
    handle = supervisor.spawn(order, lambda message: said.append(message.get("status", {}).get("phase")), ends.append)
    until(lambda: "running" in said, "the worker to run")
    assert handle.process is not None
    return handle.process.pid, ends


def test_a_worker_that_dies_is_buried_and_the_others_live(supervisor: Supervisor) -> None:
    (first, ends), (second, others) = start(supervisor), start(supervisor)
    with none_left():
        os.kill(first, signal.SIGKILL)
        until(lambda: bool(ends), "the burial")
    assert ends == [WorkerExit(-signal.SIGKILL)]
    assert is_alive(second)
    assert not others
    assert supervisor._thread.is_alive()


def test_trouble_with_one_worker_is_none_of_the_others(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (first, _), (second, ends) = start(supervisor), start(supervisor)
    check = Process.check

    def stumbles(process: Process, now: float) -> None:
        if process.pid == first:
            raise KeyError("nobody foresaw this")
        check(process, now)

    monkeypatch.setattr(Process, "check", stumbles)
    until(lambda: "nobody foresaw this" in caplog.text, "the trouble")
    os.kill(second, signal.SIGKILL)
    until(lambda: bool(ends), "the burial")
    assert is_alive(first)


def test_who_cannot_be_let_in_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with running() as api, socket.socket() as late:
        late.settimeout(30)
        with none_left():
            late.connect(("127.0.0.1", api.server.port))
            late.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            wait_until(lambda: "no connection can be taken: Too many open files" in caplog.text)
        assert late.recv(12) == b"HTTP/1.1 200", "it is let in once there is room"
    assert len([line for line in caplog.records if line.levelno > logging.INFO]) == 1


def test_the_daemon_takes_as_many_files_as_it_may() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    serving._allow_files()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(hard, serving.OPEN_FILES), hard)
    serving._allow_files()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(hard, serving.OPEN_FILES), hard), "none is taken back"
