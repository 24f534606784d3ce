"""Outputs of a live sink that go bad, against real servers on loopback: each by itself, the others go on."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_guard.backoff import Backoff
from stream_guard.media import EncoderSettings, LiveOutput, LiveSink, open_live
from stream_guard.media.live import output as live_output
from stream_guard.media.live import places
from tests.media.feeding import Feed, fed, state, times
from tests.media.live import frames_of, opened
from tests.support.servers import nginx, tcp_server, wait_for

pytestmark = pytest.mark.usefixtures("patient")

KEY = "verysecretkey"


class TestFaults:
    def test_a_refused_output_leaves_the_others_alone(self, clip: Path, tmp_path: Path) -> None:
        said: list[str] = []
        bad, good = LiveOutput(f"rtmp://127.0.0.1:1/live/{KEY}"), LiveOutput(str(tmp_path / "good.ts"))
        with fed(clip, [bad, good], on_event=lambda kind, words, **_: said.append(words)) as sink:
            wait_for(lambda: len([w for w in said if "Connection refused" in w]) > 2, "three attempts")
            wait_for(lambda: sink.report.frames > 30, "30 frames")
            assert [o["state"] for o in sink.outputs] == ["waiting", "open"]
            wait_for(lambda: sink.outputs[0]["dropped"], "what was missed to be counted")
        assert len(times(tmp_path / "good.ts", "video")) == sink.report.frames
        assert KEY not in "".join(said)

    def test_attempts_are_counted(self, clip: Path, tmp_path: Path) -> None:
        said: list[str] = []
        with open_live(str(clip), allow_files=True) as source:
            sink = LiveSink(
                source,
                [LiveOutput("rtmp://127.0.0.1:1/live/x")],
                record=str(tmp_path / "r.mkv"),
                retry=Backoff(0.01, 0.02, 0.5, attempts=3),
                on_event=lambda kind, words, **_: said.append(words),
            )
        with sink, Feed(clip, sink):
            wait_for(lambda: state(sink) == "failed", "the output to fail for good")
        assert sum("tried again" in words for words in said) == 2

    def test_a_server_that_comes_back_is_fed_again_from_a_key_frame(self, clip: Path, tmp_path: Path) -> None:
        with nginx(tmp_path / "one") as server:
            url, port = server.rtmp("protected/x"), server.rtmp_port
            outputs = [LiveOutput(url), LiveOutput(str(tmp_path / "good.ts"))]
            with fed(clip, outputs) as sink:
                wait_for(lambda: state(sink) == "open", "the first connection")
                server.process.kill()
                server.process.wait()
                wait_for(lambda: sink.outputs[0]["reconnects"], "the loss to be seen")
                with nginx(tmp_path / "two", rtmp_port=port) as again:
                    wait_for(lambda: state(sink) == "open", "the second connection")
                    with opened(again.rtmp("protected/x")) as source:
                        assert len(frames_of(source, 20)) == 20
                    assert sink.outputs[0]["reconnects"] == 1
        seen = times(tmp_path / "good.ts", "video")
        assert len(seen) == sink.report.frames
        assert seen == sorted(set(seen))

    def test_a_consumer_that_takes_nothing_blocks_nobody(
        self, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It accepts and never reads: its socket fills, its queue drops, the recording has every frame."""
        monkeypatch.setattr(live_output, "QUEUE_SECONDS", 0.5)
        gone = threading.Event()

        def swallow_little(connection: socket.socket) -> None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            gone.wait(60)

        with tcp_server(swallow_little) as port:
            settings = EncoderSettings(bit_rate=20_000_000, options={"nal-hrd": "cbr"})
            outputs = [LiveOutput(f"tcp://127.0.0.1:{port}")]
            with fed(clip, outputs, record=str(tmp_path / "r.mkv"), settings=settings, rate=100) as sink:
                wait_for(lambda: int(sink.outputs[0]["dropped"]) > 20, "drops")  # type: ignore[call-overload]
                assert not gone.is_set()
            gone.set()
        assert len(times(tmp_path / "r.mkv", "video")) == sink.report.frames

    def test_a_silent_server_can_be_left(self, clip: Path, tmp_path: Path) -> None:
        """It accepts and says nothing: opening waits in vain, closing does not wait for it."""
        with beside_a_silent_server(clip, tmp_path) as sink:
            sink.abort()
        wait_for(lambda: not threads_of_outputs(), "its thread's end")

    def test_a_silent_server_holds_up_no_end(self, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The others are drained, and it is left although it would go on connecting for a minute."""
        monkeypatch.setattr(places, "OPEN_SECONDS", 60.0)
        with beside_a_silent_server(clip, tmp_path) as sink:
            sink.close(60)
            assert threads_of_outputs() == []
        assert len(times(tmp_path / "r.mkv", "video")) == sink.report.frames


@contextlib.contextmanager
def beside_a_silent_server(clip: Path, folder: Path) -> Iterator[LiveSink]:
    """A sink that was fed, of a recording and of an output whose server accepts and says nothing."""
    gone = threading.Event()
    with tcp_server(lambda connection: gone.wait(60) and None) as port:
        try:
            with open_live(str(clip), allow_files=True) as source:
                sink = LiveSink(source, [LiveOutput(f"rtmp://127.0.0.1:{port}/a/b")], record=str(folder / "r.mkv"))
            with Feed(clip, sink):
                wait_for(lambda: sink.report.frames > 5, "frames in spite of it")
            yield sink
        finally:
            gone.set()


def threads_of_outputs() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("output-")]
