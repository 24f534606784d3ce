"""Protocols that the bundled FFmpeg lacks, such as SRT: a system ffmpeg copies between them and a pipe.

The child is always reaped, and on Linux it dies with the thread that started it, so also when this process is killed.
What it wrote to its standard error is the reason in the error, without secrets.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import MediaError, SinkError, SourceError
from .protocols import scheme_of
from .redact import redact, redact_text

LAST_LINES = 3
END_SECONDS = 2.0
"""How long the child may take to end by itself before it is killed."""
_TICK = 0.1
BOUND = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9, 0, 0, 0); "  # PR_SET_PDEATHSIG, SIGKILL
    "os.getppid() == int(sys.argv[1]) or os._exit(1); os.execv(sys.argv[2], sys.argv[2:])"
)
"""Binds a process to the life of its parent, then becomes the command. Python may not do so between fork and exec of a
process with threads, hence a moment as a small program of its own."""
_GLOBAL = ("-hide_banner", "-nostdin", "-loglevel", "error")


def reader(url: str, options: Mapping[str, str], *, open_seconds: float, read_seconds: float) -> BridgeReader:
    """An ffmpeg that copies `url` into a pipe of MPEG-TS. SourceError where there is none to run."""
    ffmpeg = _ffmpeg_python(url, SourceError)
    made = ffmpeg.input(url, **options).output("pipe:1", format="mpegts", c="copy", flush_packets=1)
    command = _command(ffmpeg, made, url, SourceError)
    return BridgeReader(command, url, open_seconds=open_seconds, read_seconds=read_seconds)


def writer(url: str, options: Mapping[str, str], *, write_seconds: float) -> BridgeWriter:
    """An ffmpeg that copies MPEG-TS from a pipe to `url`. SinkError where there is none to run."""
    ffmpeg = _ffmpeg_python(url, SinkError)
    source = ffmpeg.input("pipe:0", format="mpegts", fflags="nobuffer", probesize=100000, analyzeduration=500000)
    made = source.output(url, format="mpegts", c="copy", map=0, flush_packets=1, **options)
    return BridgeWriter(_command(ffmpeg, made, url, SinkError), url, write_seconds=write_seconds)


def check(url: str) -> None:
    """Raise SinkError where no ffmpeg could be run for this output."""
    _ffmpeg_python(url, SinkError)
    _program(url, SinkError)


def _ffmpeg_python(url: str, kind: type[MediaError]) -> Any:
    try:
        import ffmpeg
    except ImportError as error:
        raise kind(
            f"{redact(url)}: {scheme_of(url)} needs a system ffmpeg and ffmpeg-python; install the extra: "
            "pip install 'stream-guard[external]'"
        ) from error
    return ffmpeg


def _command(ffmpeg: Any, made: Any, url: str, kind: type[MediaError]) -> Sequence[str]:
    command: Sequence[str] = ffmpeg.compile(made.global_args(*_GLOBAL), cmd=_program(url, kind))
    return command


def _program(url: str, kind: type[MediaError]) -> str:
    program = shutil.which("ffmpeg")
    if program is None:
        raise kind(
            f"{redact(url)}: {scheme_of(url)} needs a system ffmpeg, and none is on the PATH; install one that knows "
            f"{scheme_of(url)}, or use another protocol"
        )
    return program


def _bound(command: Sequence[str]) -> Sequence[str]:
    """The command, ending with the thread that starts it; the program's path must be whole."""
    if not sys.platform.startswith("linux"):
        return command
    return (sys.executable, "-I", "-S", "-c", BOUND, str(os.getpid()), *command)


class _Bridge:
    """One child and its end. Closing twice does no harm. The thread that opens it lives as long as it is needed."""

    def __init__(self, command: Sequence[str], url: str, *, stdin: int, stdout: int) -> None:
        self.closed = False
        self._url = url
        self._gone = threading.Event()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child.
        try:
            self._child = subprocess.Popen(_bound(command), stdin=stdin, stdout=stdout, stderr=self._errors)
        except BaseException:
            self._errors.close()
            raise

    def abort(self) -> None:
        """From any thread: the child is killed, and whoever waits for it goes on."""
        self._gone.set()
        self._child.kill()

    def _reap(self, *, patience_seconds: float) -> None:
        try:
            self._child.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._errors.close()

    def _words(self) -> str:
        """The child's last lines."""
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(self._errors.tell() - 4096, 0))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()[-LAST_LINES:]
        said = redact_text("; ".join(line.strip() for line in lines), self._url)
        return f"ffmpeg ended with {self._child.returncode}" + (f": {said}" if said else "")


class BridgeReader(_Bridge):
    """The child's output as a file to read from: blocks at most for the limits. Empty bytes are a clean end."""

    def __init__(self, command: Sequence[str], url: str, *, open_seconds: float, read_seconds: float) -> None:
        super().__init__(command, url, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self._limit = open_seconds
        self._read_seconds = read_seconds
        self.failure = ""
        """Why the stream ended, where that was no clean end."""

    def read(self, size: int) -> bytes:
        pipe = self._child.stdout
        if self.closed or pipe is None:
            return b""
        deadline = time.monotonic() + self._limit
        while not select.select([pipe], [], [], _TICK)[0]:
            if self._gone.is_set() or time.monotonic() > deadline:
                self.failure = "interrupted" if self._gone.is_set() else f"no data for {self._limit:g} s"
                return b""
        data = os.read(pipe.fileno(), size)
        self._limit = self._read_seconds
        if not data and self._child.wait() and not self._gone.is_set():
            self.failure = self._words()
        return data

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._child.kill()  # It only reads: nothing is lost.
        if self._child.stdout is not None:
            self._child.stdout.close()
        self._reap(patience_seconds=END_SECONDS)


class BridgeWriter(_Bridge):
    """The child's input as a file to write to. Raises SinkError when it takes nothing in time or has ended."""

    def __init__(self, command: Sequence[str], url: str, *, write_seconds: float) -> None:
        super().__init__(command, url, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self._write_seconds = write_seconds
        if self._child.stdin is not None:
            os.set_blocking(self._child.stdin.fileno(), False)

    def write(self, data: bytes) -> int:
        pipe = self._child.stdin
        if self.closed or pipe is None:
            raise SinkError("the output is closed")
        left, deadline = memoryview(data), time.monotonic() + self._write_seconds
        while left:
            if select.select([], [pipe], [], _TICK)[1]:
                left = left[self._some(pipe.fileno(), left) :]
            elif self._gone.is_set() or time.monotonic() > deadline:
                raise SinkError("given up" if self._gone.is_set() else "no answer in time")
        return len(data)

    def close(self) -> None:
        """The child gets the end of the stream and a moment to send what it holds."""
        if self.closed:
            return
        self.closed = True
        if self._child.stdin is not None:
            self._child.stdin.close()
        self._reap(patience_seconds=0 if self._gone.is_set() else END_SECONDS)

    def _some(self, number: int, data: memoryview) -> int:
        try:
            return os.write(number, data)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            self._child.wait()
            raise SinkError("given up" if self._gone.is_set() else self._words()) from None
