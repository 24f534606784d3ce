"""What reaches standard output and standard error, where they take little or nothing, and the end of a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_guard.commands.stopping import STOPS, interrupted_by_term, stopping
from stream_guard.errors import ExitCode

from .support import media, plugin

ROOT = Path(__file__).resolve().parents[1]
LOST = "error: the result cannot be written to standard output"
ODD_NAME = b"caf\xe9.mp4"


class Work:
    """A folder with a source and a pipeline of fake stages, in which commands are run as processes of their own."""

    def __init__(self, folder: Path) -> None:
        site = plugin.install(folder / "site")
        self.known = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
        self.known.pop("PYTHONUNBUFFERED", None)  # with it nothing is left to be written when Python ends
        self.folder = folder / "work"
        self.folder.mkdir()

    def start(self, *arguments: object, **extra: Any) -> subprocess.Popen[bytes]:
        known = self.known | extra.pop("known", {})
        asked = [os.fsencode(a) if isinstance(a, Path) else str(a) for a in arguments]
        return subprocess.Popen([sys.executable, "-m", "stream_guard", *asked], env=known, cwd=self.folder, **extra)

    def run(self, *arguments: object, **extra: Any) -> tuple[int, bytes, bytes]:
        with self.start(*arguments, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | extra) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def protect(self, *stages: str, output: str = "out.mp4", frames: int = 5) -> tuple[object, ...]:
        source = media.plain(self.folder, frames=frames)
        pipeline = plugin.write_pipeline(self.folder, *(stages or ("find", "protect")))
        return "protect", source, self.folder / output, "--pipeline", pipeline

    def left(self) -> set[str]:
        return {p.name for p in self.folder.iterdir()} - {"plain.mp4", "fake.yaml"}


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8:strict", "utf-8:surrogateescape", "ascii:strict"])
def test_a_name_in_another_encoding_is_told_in_plain_json(work: Work, encoding: str) -> None:
    name = os.fsdecode(ODD_NAME)
    known = {"PYTHONIOENCODING": encoding}
    code, out, err = work.run(*work.protect(output=name), "--json", known=known)
    assert code == ExitCode.DONE, err
    assert os.fsencode(json.loads(out.decode("ascii"))["output"]).endswith(ODD_NAME)
    assert b"5 of 5 faces protected" in err


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8:strict", b"caf\\udce9.mp4\n"),
        ("utf-8:surrogateescape", b"caf\xe9.mp4\n"),
        ("ascii:strict", b"caf\\udce9.mp4\n"),
    ],
)
def test_a_line_that_stdout_has_no_letters_for_is_spelled(encoding: str, shown: bytes) -> None:
    code = f"import os; from stream_guard.commands.console import emit; emit(os.fsdecode({ODD_NAME!r}))"
    known = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    assert subprocess.run([sys.executable, "-c", code], env=known, capture_output=True).stdout == shown


def closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def full() -> int:
    return os.open("/dev/full", os.O_WRONLY)


@pytest.mark.parametrize(("make", "why"), [(full, "No space left on device"), (closed_pipe, "Broken pipe")])
def test_a_report_that_cannot_be_written_is_told(work: Work, make: Callable[[], int], why: str) -> None:
    place = make()
    code, _, err = work.run(*work.protect(), "--json", stdout=place)
    os.close(place)
    words = err.decode().splitlines()
    assert code == ExitCode.ERROR
    assert "5 of 5 faces protected" in words[0], "the output is told of all the same"
    assert words[1].startswith(f"stream-guard: {LOST} ({why})")
    assert len(words) == 2
    assert work.left() == {"out.mp4"}


@pytest.mark.parametrize(
    "arguments", [("--version",), ("stages",), ("engines", "list", "--json"), ("serve", "--example")]
)
def test_every_command_tells_of_a_full_place(work: Work, arguments: tuple[str, ...]) -> None:
    place = full()
    code, _, err = work.run(*arguments, stdout=place)
    os.close(place)
    assert code == ExitCode.ERROR
    assert err.decode().startswith(f"stream-guard: {LOST} (No space left on device)")
    assert len(err.splitlines()) == 1


def test_a_closed_stdout_is_told(work: Work) -> None:
    code, _, err = work.run("stages", preexec_fn=lambda: os.close(1))
    assert (code, err.decode().startswith(f"stream-guard: {LOST} (it is closed)")) == (ExitCode.ERROR, True)


@pytest.mark.parametrize("make", [full, closed_pipe])
def test_what_stderr_does_not_take_changes_nothing(work: Work, make: Callable[[], int]) -> None:
    place = make()
    code, out, _ = work.run(*work.protect(), "--json", stderr=place)
    os.close(place)
    assert (code, json.loads(out)["protected_faces"]) == (ExitCode.DONE, 5)


def heard() -> None:
    """The tests themselves may run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_a_closed_terminal_leaves_nothing(work: Work) -> None:
    """As when its window is closed: the end is told by the kernel, and nothing can be written there any more."""
    ours, theirs = pty.openpty()
    run = work.start(
        *work.protect("find", "slow", "protect", frames=300),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: (fcntl.ioctl(0, termios.TIOCSCTTY, 0), heard()),
    )
    os.close(theirs)
    wait_for_hidden(work, run)
    os.close(ours)
    assert run.wait(30) == ExitCode.STOPPED
    assert work.left() == set()


def test_shell_and_kernel_may_both_tell_of_it(work: Work) -> None:
    run = work.start(*work.protect("find", "slow", "protect", frames=300), stderr=subprocess.DEVNULL, preexec_fn=heard)
    wait_for_hidden(work, run)
    while run.poll() is None:
        run.send_signal(signal.SIGHUP)
        time.sleep(0.001)
    assert work.left() == set()


def test_under_nohup_it_runs_on(work: Work) -> None:
    run = work.start(
        *work.protect("find", "slow", "protect", frames=60),
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    wait_for_hidden(work, run)
    run.send_signal(signal.SIGHUP)
    assert run.communicate(timeout=60)[1].startswith(b"stream-guard: ")
    assert run.returncode == ExitCode.DONE
    assert work.left() == {"out.mp4"}


@pytest.fixture
def hangups() -> Iterator[list[int]]:
    """Who hears of SIGHUP when no command listens: this list."""
    told: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, frame: told.append(number))
    yield told
    signal.signal(signal.SIGHUP, before)


def test_a_command_without_an_event_is_interrupted_once(hangups: list[int]) -> None:
    with pytest.raises(KeyboardInterrupt), interrupted_by_term():  # noqa: PT012
        try:
            signal.raise_signal(signal.SIGHUP)
        finally:
            signal.raise_signal(signal.SIGHUP)
            hangups.append(0)
    signal.raise_signal(signal.SIGHUP)
    assert hangups == [0, signal.SIGHUP]


def test_the_daemon_keeps_its_own_meaning_while_it_ends(hangups: list[int]) -> None:
    with stopping(STOPS) as stop:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_set()
        signal.raise_signal(signal.SIGHUP)
    assert hangups == [signal.SIGHUP] * 2


@pytest.mark.parametrize("module", ["typer", "stream_guard.commands.stages", "stream_guard.stages.registry"])
def test_ctrl_c_ends_a_command_as_stopped_also_while_it_is_being_loaded(work: Work, module: str) -> None:
    """Before there is a command line, before there is a command, and in the command before it listens."""
    site = work.folder.parent / "early"
    site.mkdir()
    words = (
        "import importlib.abc, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job inherits it as ignored
        "class Interrupting(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == {module!r}:\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
    )
    (site / "sitecustomize.py").write_text(words)
    known = {"PYTHONPATH": os.pathsep.join([str(site), work.known["PYTHONPATH"]])}
    code, out, err = work.run("stages", known=known)
    assert (code, out, err) == (ExitCode.STOPPED, b"", b"stream-guard: stopped\n")


def wait_for_hidden(work: Work, run: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 30
    while not any(name.startswith(".stream-guard-") for name in work.left()):
        assert run.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
