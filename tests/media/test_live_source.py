"""Live sources against real servers on loopback: every protocol, and every way in which a connection goes bad."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from itertools import pairwise
from pathlib import Path

import av
import pytest

from stream_guard.errors import ConfigError, LimitError, SourceError, UsageError
from stream_guard.media import CopiedPacket, LiveSource, open_live
from stream_guard.types import Frame
from tests.media.live import ending, frames_of, items, opened
from tests.support import media
from tests.support.servers import (
    SMALL,
    TONE,
    free_port,
    http_flv,
    nginx,
    publisher,
    rtsp_server,
    tcp_server,
    web_server,
)

KEY = "verysecretkey"


def check_flows(source: LiveSource, *, audio: bool, count: int = 40) -> None:
    """Frames rise by the source's own steps, and the sound comes as packets."""
    with source:
        assert (source.info.video.width, source.info.video.height) == (160, 120)
        assert [a.codec for a in source.audio] == (["aac"] if audio else [])
        seen = list(items(source, count))
    frames = [item for item in seen if isinstance(item, Frame)]
    steps = {round(b.time_seconds - a.time_seconds, 2) for a, b in pairwise(frames)}
    assert steps == {0.04}
    assert any(isinstance(item, CopiedPacket) for item in seen) == audio


def joined_late(folder: Path, *, gop: int) -> Path:
    """A transport stream of 150 pictures with a key frame every `gop`, as one sees it who comes a second late."""
    options = {**media.X264, "g": str(gop), "sc_threshold": "0"}
    whole = media.write(folder / "whole.ts", media.Clip(frames=150, options=options, audio=()))
    with av.open(str(whole)) as clip, av.open(str(folder / "late.ts"), "w") as late:
        stream = late.add_stream_from_template(clip.streams.video[0])
        for packet in list(clip.demux(video=0))[25:-1]:
            packet.stream = stream
            late.mux(packet)
    return folder / "late.ts"


class TestProtocols:
    def test_rtmp(self, tmp_path: Path) -> None:
        with nginx(tmp_path) as server, publisher(server.rtmp(f"live/{KEY}")):
            check_flows(opened(server.rtmp(f"live/{KEY}")), audio=True)

    @pytest.mark.parametrize("transport", ["tcp", "udp"])
    def test_rtsp(self, tmp_path: Path, transport: str) -> None:
        with rtsp_server(tmp_path) as url:
            check_flows(opened(url, options={"rtsp_transport": transport}), audio=False)

    def test_http_flv(self) -> None:
        with http_flv() as url:
            check_flows(opened(url), audio=True)

    def test_hls(self, tmp_path: Path) -> None:
        options = ("-hls_time", "1", "-hls_flags", "delete_segments")
        with publisher(str(tmp_path / "x.m3u8"), format="hls", options=options), web_server(tmp_path) as address:
            check_flows(opened(f"{address}/x.m3u8"), audio=True)

    def test_hls_is_silent_between_segments(self, tmp_path: Path) -> None:
        """Segments of three seconds are no stall for who allows one second."""
        with publisher(str(tmp_path / "x.m3u8"), format="hls", options=("-hls_time", "3")), web_server(tmp_path) as web:
            check_flows(opened(f"{web}/x.m3u8", stall_seconds=1, read_timeout_seconds=1), audio=True, count=160)

    def test_mpegts_over_udp(self) -> None:
        url = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
        with publisher(f"{url}?pkt_size=1316", format="mpegts"):
            check_flows(opened(url), audio=True)

    def test_a_file_flows_at_its_own_speed_and_ends(self, tmp_path: Path) -> None:
        path = media.plain(tmp_path, frames=30, suffix=".mkv")
        begun = time.monotonic()
        with open_live(str(path), allow_files=True) as source:
            frames = [item for item in source.read() if isinstance(item, Frame)]
        assert len(frames) == 30
        assert time.monotonic() - begun >= 29 / 25

    def test_files_are_refused_unless_allowed(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="is a file"):
            open_live(str(media.plain(tmp_path)))


class TestBounds:
    """What a source may demand and lead to."""

    def test_a_large_picture_is_refused_in_words(self, tmp_path: Path) -> None:
        path = media.plain(tmp_path)
        with pytest.raises(LimitError, match=r"160x120; at most 128x128"):
            open_live(str(path), allow_files=True, max_width=128, max_height=128)

    def test_a_high_rate_is_refused_in_words(self, tmp_path: Path) -> None:
        path = media.plain(tmp_path)
        with pytest.raises(LimitError, match=r"at most 10 are allowed"):
            open_live(str(path), allow_files=True, max_rate=10)

    def test_a_picture_that_changes_its_size_ends_the_connection(self, tmp_path: Path) -> None:
        parts = [media.plain(tmp_path, frames=10, size=size, suffix=".ts") for size in ((160, 120),)]
        (tmp_path / "large").mkdir()
        parts.append(media.plain(tmp_path / "large", frames=10, size=(320, 240), suffix=".ts"))
        joined = tmp_path / "joined.ts"
        joined.write_bytes(b"".join(part.read_bytes() for part in parts))
        seen = []
        with (
            open_live(str(joined), allow_files=True) as source,
            pytest.raises(SourceError, match="size changed from 160x120 yuv420p to 320x240"),
        ):
            seen.extend(source.read())
        assert {(i.width, i.height) for i in seen if isinstance(i, Frame)} == {(160, 120)}

    def test_a_clock_that_jumps_is_joined(self, tmp_path: Path) -> None:
        base = media.plain(tmp_path, frames=50, suffix=".ts")
        (tmp_path / "later").mkdir()
        later = media.write(
            tmp_path / "later" / "x.ts",
            media.Clip(
                frames=50,
                pts=[90000 * 3600 + 3600 * i for i in range(50)],
                time_base=media.Fraction(1, 90000),
                audio=(),
            ),
        )
        joined = tmp_path / "joined.ts"
        joined.write_bytes(base.read_bytes() + later.read_bytes() + base.read_bytes())
        with open_live(str(joined), allow_files=True) as source:
            frames = [item for item in source.read() if isinstance(item, Frame)]
        times = [f.time_seconds for f in frames]
        assert len(frames) >= 140
        assert times == sorted(times)
        assert times[-1] - times[0] < 10
        assert source.report.jumps >= 2

    @pytest.mark.parametrize("scheme", ["rtmp", "RTMPS"])
    def test_nobody_is_waited_for(self, scheme: str) -> None:
        """FFmpeg's RTMP would take `timeout` for how long to listen."""
        with pytest.raises(ConfigError, match="'timeout' makes FFmpeg listen"):
            open_live(f"{scheme}://127.0.0.1:{free_port()}/live/x", options={"timeout": "6"})

    @pytest.mark.parametrize(
        "line",
        ["file:///etc/passwd", "concat:a.ts|b.ts", "subfile,,start,0,end,9,,:/etc/passwd", "data:,x", "/etc/passwd"],
    )
    def test_a_playlist_leads_nowhere_but_to_the_web(self, tmp_path: Path, line: str) -> None:
        secret = media.plain(tmp_path, suffix=".ts")
        if "etc" in line:
            line = line.replace("/etc/passwd", str(secret))
        (tmp_path / "web").mkdir()
        (tmp_path / "web" / "x.m3u8").write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1.2,\n{line}\n#EXT-X-ENDLIST\n"
        )
        with web_server(tmp_path / "web") as address, pytest.raises(SourceError):
            open_live(f"{address}/x.m3u8", open_timeout_seconds=3).close()

    def test_a_redirect_leads_nowhere_but_to_the_web(self, tmp_path: Path) -> None:
        secret = media.plain(tmp_path, suffix=".ts")

        def redirect(connection: socket.socket) -> None:
            connection.recv(4096)
            connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: file://{secret}\r\nContent-Length: 0\r\n\r\n".encode())

        with tcp_server(redirect) as port, pytest.raises(SourceError, match="cannot open"):
            open_live(f"http://127.0.0.1:{port}/x.ts", open_timeout_seconds=3)

    def test_options_cannot_undo_the_bounds(self, tmp_path: Path) -> None:
        secret = media.plain(tmp_path, suffix=".ts")
        (tmp_path / "web").mkdir()
        (tmp_path / "web" / "x.m3u8").write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\nfile://{secret}\n#EXT-X-ENDLIST\n"
        )
        options = {"protocol_whitelist": "ALL", "format_whitelist": "ALL", "allowed_extensions": "ALL"}
        with web_server(tmp_path / "web") as address, pytest.raises(SourceError):
            open_live(f"{address}/x.m3u8", options=options, open_timeout_seconds=3).close()


class TestFaults:
    def test_nobody_listens(self) -> None:
        with pytest.raises(SourceError, match=r"cannot open the live source rtmp://127\.0\.0\.1:1/live/"):
            open_live(f"rtmp://127.0.0.1:1/live/{KEY}")

    def test_nobody_publishes_yet(self, tmp_path: Path) -> None:
        silent = "application live { live on; idle_streams off; }"
        with (
            nginx(tmp_path, applications=silent) as server,
            pytest.raises(SourceError, match="nobody publishes there yet") as told,
        ):
            open_live(server.rtmp(f"live/{KEY}"), open_timeout_seconds=10).close()
        assert KEY not in str(told.value)

    def test_a_server_that_waits_for_a_publisher_says_nothing(self, tmp_path: Path) -> None:
        limit = "the server sent nothing for 0.5 s, or hung up"
        with nginx(tmp_path) as server, pytest.raises(SourceError, match=f"{limit}: nobody publishes there yet"):
            open_live(server.rtmp(f"live/{KEY}"), open_timeout_seconds=20, read_timeout_seconds=0.5).close()

    def test_a_server_that_says_nothing_is_given_up(self) -> None:
        gone = threading.Event()
        with tcp_server(lambda connection: gone.wait(30) and None) as port:
            with pytest.raises(SourceError, match=r"no data for 0.5 s"):
                open_live(f"rtmp://127.0.0.1:{port}/live/{KEY}", open_timeout_seconds=0.5)
            gone.set()

    def test_a_publisher_that_stops_sending_is_a_failure(self, tmp_path: Path) -> None:
        with (
            nginx(tmp_path) as server,
            publisher(server.rtmp("live/x")) as process,
            opened(server.rtmp("live/x"), read_timeout_seconds=1, stall_seconds=1) as source,
        ):
            words = ending(source, process.kill)
        assert words == f"lost the live source {source.path}: no data for 1 s"

    def test_a_publisher_that_leaves_is_seen_at_once_where_the_server_hangs_up(self, tmp_path: Path) -> None:
        application = "application live { live on; idle_streams off; }"
        with (
            nginx(tmp_path, applications=application) as server,
            publisher(server.rtmp("live/x")) as process,
            opened(server.rtmp("live/x"), read_timeout_seconds=30, stall_seconds=30) as source,
        ):
            assert "no data" not in ending(source, process.kill)

    def test_sound_alone_is_a_stall(self, tmp_path: Path) -> None:
        inputs = ("-re", *SMALL[:2], "-i", "testsrc2=size=160x120:rate=25:duration=4", "-re", *TONE)
        with (
            nginx(tmp_path) as server,
            publisher(server.rtmp("live/x"), inputs=inputs, options=("-max_interleave_delta", "100000")),
            opened(server.rtmp("live/x"), stall_seconds=4) as source,  # longer than a busy machine stands still
        ):
            words = ending(source, lambda: None)
        assert words == f"the live source {source.path} stalled: no new picture for 4 s"

    def test_a_slow_reader_is_no_stall(self, tmp_path: Path) -> None:
        with (
            nginx(tmp_path) as server,
            publisher(server.rtmp("live/x")),
            opened(server.rtmp("live/x"), stall_seconds=0.8) as source,
        ):
            flow = items(source, 40)
            for _ in range(3):
                next(flow)
            time.sleep(1.5)
            assert sum(isinstance(item, Frame) for item in flow) > 30

    def test_a_reader_that_begins_late_is_no_stall(self, tmp_path: Path) -> None:
        """The outputs had to be opened first."""
        with (
            nginx(tmp_path) as server,
            publisher(server.rtmp("live/x")),
            opened(server.rtmp("live/x"), stall_seconds=0.8) as source,
        ):
            time.sleep(1.5)
            assert sum(isinstance(item, Frame) for item in items(source, 40)) > 30

    def test_the_server_goes_away(self, tmp_path: Path) -> None:
        """A connection that is closed in order is an end, one that is torn an error: both end the reading."""
        with (
            nginx(tmp_path) as server,
            publisher(server.rtmp("live/x")),
            opened(server.rtmp("live/x"), read_timeout_seconds=20, stall_seconds=20) as source,
        ):
            begun = time.monotonic()
            words = ending(source, server.process.kill)
        assert "stalled" not in words
        assert "no data" not in words
        assert time.monotonic() - begun < 20

    def test_interrupt_ends_a_blocked_read(self, tmp_path: Path) -> None:
        with (
            nginx(tmp_path) as server,
            publisher(server.rtmp("live/x")) as process,
            opened(server.rtmp("live/x"), read_timeout_seconds=2, stall_seconds=2) as source,
        ):

            def silence_and_interrupt() -> None:
                process.kill()
                threading.Timer(0.2, source.interrupt).start()

            assert ending(source, silence_and_interrupt)

    def test_interrupt_ends_a_flow(self, tmp_path: Path) -> None:
        with (
            nginx(tmp_path) as server,
            publisher(server.rtmp("live/x")),
            opened(server.rtmp("live/x")) as source,
        ):
            assert "was interrupted" in ending(source, source.interrupt)

    def test_sound_first(self, tmp_path: Path) -> None:
        """The picture comes three seconds after the sound: longer than the first look at the stream."""
        inputs = ("-re", *TONE, "-re", "-itsoffset", "3", *SMALL)
        with (
            nginx(tmp_path) as server,
            publisher(server.rtmp("live/x"), inputs=inputs),
            opened(server.rtmp("live/x")) as source,
        ):
            assert len(frames_of(source, 10)) == 10
            assert [a.codec for a in source.audio] == ["aac"]

    def test_in_between_two_key_frames(self, tmp_path: Path) -> None:
        """The next key frame comes three seconds later: longer than the first look at the stream."""
        with open_live(str(joined_late(tmp_path, gop=100)), allow_files=True) as source:
            assert (source.info.video.width, source.info.video.height) == (160, 120)
            assert isinstance(next(i for i in source.read() if isinstance(i, Frame)), Frame)

    def test_no_key_frame_at_all(self, tmp_path: Path) -> None:
        path = joined_late(tmp_path, gop=1000)
        with pytest.raises(SourceError, match=r"showed no key frame within 7 s; .* open_timeout must be longer"):
            open_live(str(path), allow_files=True, open_timeout_seconds=7)

    def test_no_secret_in_errors_or_tracebacks(self, capfd: pytest.CaptureFixture[str]) -> None:
        url = f"rtmp://user:{KEY}@127.0.0.1:1/live/{KEY}?sign={KEY}"
        for broken in (url, url.replace("rtmp:", "rtsp:"), url.replace("rtmp:", "http:")):
            with pytest.raises(SourceError) as caught:
                open_live(broken, open_timeout_seconds=2)
            assert KEY not in "".join(traceback.format_exception(caught.value))
        said = capfd.readouterr()
        assert KEY not in said.out + said.err

    def test_damaged_packets_are_survived(self, tmp_path: Path) -> None:
        """Datagrams of a transport stream are damaged and lost on their way."""
        inner, outer = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
        stop = threading.Event()

        def relay() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
                receiver.bind(("127.0.0.1", inner))
                receiver.settimeout(0.1)
                count = 0
                while not stop.is_set():
                    try:
                        data = bytearray(receiver.recv(65536))
                    except TimeoutError:
                        continue
                    count += 1
                    if count % 7 == 0:
                        continue
                    if count % 5 == 0:
                        data[200:300] = bytes(100)
                    receiver.sendto(data, ("127.0.0.1", outer))

        thread = threading.Thread(target=relay)
        thread.start()
        try:
            with (
                publisher(f"udp://127.0.0.1:{inner}?pkt_size=1316", format="mpegts"),
                opened(f"udp://127.0.0.1:{outer}", stall_seconds=20) as source,
            ):
                frames = frames_of(source, 60)
        finally:
            stop.set()
            thread.join()
        assert [f.pts for f in frames] == sorted({f.pts for f in frames})
        assert source.report.corrupt_packets > 0
