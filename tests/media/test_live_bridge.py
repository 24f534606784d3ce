"""Protocols of a system ffmpeg, and what is said where there is none."""

from __future__ import annotations

import builtins
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stream_guard.errors import SinkError, SourceError
from stream_guard.media import LiveOutput, LiveSink, open_live
from stream_guard.media.live.native import protocols
from stream_guard.media.live.places import Place
from tests.media.live import ending, frames_of, items, opened
from tests.support import media
from tests.support.servers import free_port, program, publisher, wait_for

KEY = "verysecretkey"


@pytest.fixture
def srt_port() -> int:
    """A free port; skips where the system ffmpeg lacks SRT, or the bundled one has it."""
    if "srt" in protocols(output=False):
        pytest.skip("the bundled FFmpeg knows SRT itself")
    said = subprocess.run([program("ffmpeg"), "-hide_banner", "-protocols"], capture_output=True, text=True, check=True)
    if " srt" not in said.stdout:
        pytest.skip("needs a system ffmpeg with SRT")
    return free_port(socket.SOCK_DGRAM)


def test_srt_in(srt_port: int) -> None:
    with (
        publisher(f"srt://127.0.0.1:{srt_port}?mode=listener", format="mpegts"),
        opened(f"srt://127.0.0.1:{srt_port}?mode=caller&streamid={KEY}") as source,
    ):
        assert len(frames_of(source, 30)) == 30
        assert [a.codec for a in source.audio] == ["aac"]


def test_srt_in_ends_when_the_publisher_does(srt_port: int) -> None:
    with (
        publisher(f"srt://127.0.0.1:{srt_port}?mode=listener", format="mpegts") as process,
        opened(f"srt://127.0.0.1:{srt_port}?mode=caller") as source,
    ):
        words = ending(source, process.terminate)
        child = source._pipe
    assert "stalled" not in words
    assert child is not None
    assert child._child.returncode is not None


def test_srt_out(srt_port: int, tmp_path: Path) -> None:
    received = tmp_path / "received.ts"
    reader = [program("ffmpeg"), "-nostdin", "-loglevel", "error", "-i", f"srt://127.0.0.1:{srt_port}?mode=listener"]
    listener = subprocess.Popen([*reader, "-c", "copy", "-f", "mpegts", str(received)], stdin=subprocess.DEVNULL)
    try:
        path = media.plain(tmp_path, frames=150, suffix=".mkv")
        output = LiveOutput(f"srt://127.0.0.1:{srt_port}?mode=caller&streamid={KEY}")
        with open_live(str(path), allow_files=True) as source, LiveSink(source, [output]) as sink:
            for item in items(source, 150):
                sink.write_packet(item) if hasattr(item, "packet") else sink.write(item)
        wait_for(lambda: listener.poll() is not None, "the receiver to end with the stream")
    finally:
        listener.kill()
        listener.wait()
    with open_live(str(received), allow_files=True) as source:
        assert len(list(frames_of(source, 40))) == 40


HOLDS = """
import sys, time
from stream_guard.media.live import bridge
{made}
print(held._child.pid, flush=True)
time.sleep(600)
"""
READS = "held = bridge.reader('srt://127.0.0.1:{port}?mode=listener', {{}}, open_seconds=600, read_seconds=600)"
WRITES = "held = bridge.writer('srt://127.0.0.1:{port}?mode=listener', {{}}, write_seconds=600)"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux' signal of a parent's death")
@pytest.mark.parametrize("made", [READS, WRITES])
def test_the_child_dies_with_a_process_that_is_killed(srt_port: int, made: str) -> None:
    """It waits for somebody who never comes, so nothing but the signal would end it."""
    script = HOLDS.format(made=made.format(port=srt_port))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        wait_for(lambda: name_of(child) == "ffmpeg", "the bridge to have become ffmpeg")
        holder.kill()
    wait_for(lambda: not name_of(child), "the child to die")


def name_of(pid: int) -> str:
    """The program's name; empty where it does not run any more."""
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(") ")
    except OSError:
        return ""
    return "" if rest[0] in "ZX" else name


def test_an_ffmpeg_that_fails_says_why_without_the_key() -> None:
    program("ffmpeg")
    with pytest.raises(SourceError) as caught:
        open_live(f"srt://127.0.0.1:1?mode=caller&streamid={KEY}&connect_timeout=300", open_timeout_seconds=5)
    assert "ffmpeg ended with" in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_missing_ffmpeg_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SourceError, match="needs a system ffmpeg, and none is on the PATH"):
        open_live("srt://127.0.0.1:1")
    with pytest.raises(SinkError, match="needs a system ffmpeg, and none is on the PATH"):
        Place(LiveOutput("srt://127.0.0.1:1"))


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "ffmpeg":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SourceError, match=r"stream-guard\[external\]"):
        open_live("srt://127.0.0.1:1")
