"""Live sinks against real servers on loopback: one encode, many outputs, and what each of them holds."""

from __future__ import annotations

import io
import re
import socket
from pathlib import Path

import av
import pytest

from stream_guard.errors import ConfigError, UsageError
from stream_guard.media import EncoderSettings, LiveOutput, LiveSink, open_live
from stream_guard.media.live import places
from tests.media.feeding import fed, recorded, state, times
from tests.media.live import frames_of, opened
from tests.support import media
from tests.support.servers import free_port, nginx, tls_proxy, wait_for

pytestmark = pytest.mark.usefixtures("patient")

KEY = "verysecretkey"


class TestOutputs:
    def test_one_encode_reaches_all(self, clip: Path, tmp_path: Path) -> None:
        """RTMP, HLS, MPEG-TS over UDP and a recording at once; each can be read back with sound."""
        udp = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
        with nginx(tmp_path / "nginx") as server:
            hls, record = server.folder / "x.m3u8", tmp_path / "r.mkv"
            outputs = [LiveOutput(server.rtmp(f"protected/{KEY}")), LiveOutput(str(hls)), LiveOutput(udp)]
            with fed(clip, outputs, record=str(record)) as sink:
                for url in (server.rtmp(f"protected/{KEY}"), udp, server.http("x.m3u8")):
                    with opened(url) as source:
                        assert len(frames_of(source, 20)) == 20
                        assert [a.codec for a in source.audio] == ["aac"]
                assert [o["state"] for o in sink.outputs] == ["open"] * 3
                assert KEY not in str(sink.outputs)
        assert sink.report.frames == len(times(record, "video"))
        assert not list(tmp_path.glob("*.partial"))

    def test_no_picture_waits_in_the_encoder(self, clip: Path, tmp_path: Path) -> None:
        record = tmp_path / "r.ts"
        with open_live(str(clip), allow_files=True) as source, LiveSink(source, [], record=str(record)) as sink:
            for count, frame in enumerate(frames_of(source, 5), 1):
                sink.write(frame)
                wait_for(lambda count=count: recorded(sink) >= count, "the picture to leave")

    def test_key_frames_come_every_two_seconds(self, clip: Path, tmp_path: Path) -> None:
        with fed(clip, [], record=str(tmp_path / "r.mkv"), rate=500) as sink:
            wait_for(lambda: sink.report.frames > 160, "160 frames")
        with av.open(str(tmp_path / "r.mkv")) as container:
            keys = [float(p.pts * p.time_base) for p in container.demux(video=0) if p.is_keyframe and p.size]
        assert [round(k) for k in keys[:4]] == [0, 2, 4, 6]

    def test_hls_keeps_few_segments(self, clip: Path, tmp_path: Path) -> None:
        playlist = tmp_path / "x.m3u8"
        options = (("hls_time", "1"), ("hls_list_size", "2"))
        settings = EncoderSettings(gop=25)
        with fed(clip, [LiveOutput(str(playlist), options=options)], settings=settings, rate=200):
            wait_for(lambda: _newest(tmp_path) >= 8, "the ninth segment")
        assert len(list(tmp_path.glob("*.ts"))) <= 5
        assert "#EXT-X-ENDLIST" in playlist.read_text()

    def test_a_playlist_that_was_cut_off_goes_on(self, clip: Path, tmp_path: Path) -> None:
        """As a worker does that comes back after a crash: numbers go on, and the break is marked."""
        playlist = tmp_path / "x.m3u8"
        outputs = [LiveOutput(str(playlist), options=(("hls_list_size", "0"),))]  # a break is not listed for long
        with fed(clip, outputs, rate=300):
            wait_for(lambda: _newest(tmp_path) >= 2, "the third segment")
        playlist.write_text(playlist.read_text().replace("#EXT-X-ENDLIST\n", ""))
        newest = _newest(tmp_path)
        with fed(clip, outputs, rate=300):
            wait_for(lambda: _newest(tmp_path) >= newest + 2, "two more segments")
        assert "#EXT-X-DISCONTINUITY" in playlist.read_text()

    @pytest.mark.parametrize("for_good", [True, False])
    def test_a_playlist_goes_on_with_the_sink_that_follows(self, clip: Path, tmp_path: Path, for_good: bool) -> None:
        """As after a gap with `close`, and when the source comes back in another size: no number comes twice."""
        playlist = tmp_path / "x.m3u8"
        for _ in range(2):
            with (
                open_live(str(clip), allow_files=True) as source,
                LiveSink(source, [LiveOutput(str(playlist))]) as sink,
            ):
                wait_for(lambda sink=sink: state(sink) == "open", "the playlist to be open")
                for frame in frames_of(source, 10):
                    sink.write(frame)
                sink.close(60, for_good=for_good)
            assert ("#EXT-X-ENDLIST" in playlist.read_text()) == for_good
        assert [line for line in playlist.read_text().splitlines() if line.endswith(".ts")] == ["x_0.ts", "x_1.ts"]

    def test_rtmps(self, clip: Path, tmp_path: Path) -> None:
        """Through a TLS proxy before nginx, out and in again."""
        with nginx(tmp_path / "nginx") as server, tls_proxy(tmp_path, server.rtmp_port) as port:
            url = f"rtmps://127.0.0.1:{port}/protected/{KEY}"
            with fed(clip, [LiveOutput(url)]), opened(url) as source:
                assert len(frames_of(source, 20)) == 20

    def test_what_cannot_be_written_is_refused_at_once(self, clip: Path, tmp_path: Path) -> None:
        with open_live(str(clip), allow_files=True) as source:
            with pytest.raises(ConfigError, match="flv does not hold ffv1"):
                LiveSink(source, [LiveOutput("rtmp://h/a/k")], EncoderSettings(codec="ffv1"))
            with pytest.raises(UsageError, match="has the scheme 'gopher'"):
                LiveSink(source, [LiveOutput(f"gopher://h/a/{KEY}")])
            with pytest.raises(ConfigError, match="'dash', whose files or connections cannot be watched"):
                LiveSink(source, [LiveOutput(str(tmp_path / "x.mpd"), "dash")])
            with pytest.raises(UsageError, match="does not exist"):
                LiveSink(source, [], record=str(tmp_path / "missing" / "r.mkv"))
            with pytest.raises(UsageError, match="at least one output"):
                LiveSink(source, [])

    @pytest.mark.parametrize(
        ("url", "format", "why"),
        [
            ("/v/x.mpd", "dash", "cannot be watched"),  # ends the process when it is asked what it holds
            ("/v/x.ts", "tee", "cannot be watched"),
            ("udp://h:1", "rtsp", "cannot be watched"),
            ("udp://h:1", "hls", "cannot be watched"),  # its segments would lie where the daemon was started
            ("udp://h:1", "mpegtsraw", "no muxer"),  # only read
            ("udp://h:1", "bogus", "unknown format"),
        ],
    )
    def test_formats_that_no_output_can_have_are_refused(self, url: str, format: str, why: str) -> None:
        with pytest.raises(ConfigError, match=why):
            places.check_places([LiveOutput(url, format)], "")

    def test_a_playlist_with_a_place_for_a_number_is_refused(self) -> None:
        """FFmpeg would write into another folder, or another playlist than that which ends."""
        for path in ("/v/%d/x.m3u8", "/v/x%v.m3u8", "/v/x%03d.m3u8"):
            with pytest.raises(ConfigError, match="would put a number"):
                places.check_places([LiveOutput(path)], "")
        places.check_places([LiveOutput("/v/100%.m3u8"), LiveOutput("/v/x%d.ts")], "")

    @pytest.mark.parametrize("kind", ["mpegts", "fmp4"])
    def test_playlists_in_one_folder_share_no_file(self, clip: Path, tmp_path: Path, kind: str) -> None:
        """Names without a mark between stem and number do: x10.ts is of x.m3u8 and of x1.m3u8."""
        options = (("hls_segment_type", kind), ("hls_list_size", "0"))
        names = ("x", "x1", "x_1")
        with fed(clip, [LiveOutput(str(tmp_path / f"{n}.m3u8"), options=options) for n in names], rate=2000) as sink:
            wait_for(lambda: sink.report.frames > 600, "twelve segments")
        held = [set(_named(tmp_path / f"{name}.m3u8")) for name in names]
        assert all(len(one) > 10 for one in held)
        assert sum(map(len, held)) == len(set.union(*held)) == len(list(tmp_path.iterdir())) - len(names)

    def test_each_fmp4_segment_has_the_init_file_of_its_size(self, clip: Path, tmp_path: Path) -> None:
        """As when the source comes back in another size: one file for all would make the first unreadable."""
        playlist = tmp_path / "x.m3u8"
        output = LiveOutput(str(playlist), options=(("hls_segment_type", "fmp4"),))
        sizes = []
        for size in ((160, 120), (96, 64), (160, 120)):
            small = media.plain(tmp_path, size=size, suffix=".mkv")
            with open_live(str(small), allow_files=True) as source, LiveSink(source, [output]) as sink:
                wait_for(lambda sink=sink: state(sink) == "open", "the playlist to be open")
                for frame in frames_of(source, 10):
                    sink.write(frame)
                sink.close(60, for_good=False)
        init = b""
        for line in playlist.read_text().splitlines():
            if line.startswith("#EXT-X-MAP"):
                init = (tmp_path / line.split('"')[1]).read_bytes()
            elif not line.startswith("#"):
                with av.open(io.BytesIO(init + (tmp_path / line).read_bytes())) as segment:
                    sizes += [(frame.width, frame.height) for frame in segment.decode(video=0)]
        assert sizes == [(160, 120)] * 10 + [(96, 64)] * 10 + [(160, 120)] * 10

    def test_formats_that_an_output_may_have(self) -> None:
        places.check_places([LiveOutput("/v/x.out", "hls"), LiveOutput("udp://h:1", "mpegts")], "")


def _named(playlist: Path) -> list[str]:
    """The files beside it that a playlist names."""
    text = playlist.read_text()
    return [line for line in text.splitlines() if not line.startswith("#")] + re.findall('URI="(.*)"', text)


def _newest(folder: Path) -> int:
    """The number of the newest segment; the older ones may be deleted between two looks."""
    return max((int(path.stem[2:]) for path in folder.glob("x_*.ts")), default=-1)
