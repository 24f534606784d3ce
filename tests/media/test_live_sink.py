"""Live sinks against real servers on loopback: one encode, many outputs, and what becomes of each when it goes bad."""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import av
import pytest

from stream_guard.backoff import Backoff
from stream_guard.errors import ConfigError, SinkError, UsageError
from stream_guard.media import CopiedPacket, EncoderSettings, LiveOutput, LiveSink, open_live
from stream_guard.media.live import output as live_output
from stream_guard.media.live import places
from stream_guard.types import Frame
from tests.media.feeding import Feed, fed, state, times
from tests.media.live import frames_of, opened
from tests.support import media
from tests.support.servers import free_port, nginx, program, tcp_server, tls_proxy, wait_for

KEY = "verysecretkey"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests write faster than life and the machine may be busy: only those on slowness want drops."""
    monkeypatch.setattr(live_output, "QUEUE_SECONDS", 60.0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.plain(tmp_path_factory.mktemp("clip"), frames=50, suffix=".mkv")


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
                wait_for(lambda count=count: _pictures(sink) >= count, "the picture to leave")

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
        assert [line for line in playlist.read_text().splitlines() if line.endswith(".ts")] == ["x-0.ts", "x-1.ts"]

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
        names = ("x", "x1", "x-1")
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
    return max((int(path.stem[2:]) for path in folder.glob("x-*.ts")), default=-1)


def _pictures(sink: LiveSink) -> int:
    recording = sink._recording
    assert recording is not None
    return recording.pictures


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


class TestFiles:
    @pytest.mark.parametrize("form", ["{}", "file:{}", "file://{}", "FILE://localhost{}"])
    def test_a_url_of_a_file_is_opened_at_its_path(self, tmp_path: Path, form: str) -> None:
        name = "a b.ts" if form == "{}" else "a%20b.ts"
        assert places.Place(LiveOutput(form.format(tmp_path / name))).open() == str(tmp_path / "a b.ts")

    def test_a_percent_sign_of_a_path_is_one(self, tmp_path: Path) -> None:
        assert places.Place(LiveOutput(str(tmp_path / "a%20b.ts"))).open() == str(tmp_path / "a%20b.ts")

    def test_a_file_is_on_no_other_host(self) -> None:
        with pytest.raises(ConfigError, match="names no host"):
            places.Place(LiveOutput("file://elsewhere/tmp/a.ts"))


class TestRecording:
    def test_a_recording_never_replaces_another(self, clip: Path, tmp_path: Path) -> None:
        (tmp_path / "r.mkv").write_bytes(b"older")
        with fed(clip, [], record=str(tmp_path / "r.mkv")) as sink:
            wait_for(lambda: sink.report.frames > 10, "frames")
        assert (tmp_path / "r.mkv").read_bytes() == b"older"
        assert len(times(tmp_path / "r-2.mkv", "video")) == sink.report.frames

    def test_an_aborted_recording_stays_as_partial(self, clip: Path, tmp_path: Path) -> None:
        said: list[str] = []
        with open_live(str(clip), allow_files=True) as source:
            record = str(tmp_path / "r.mkv")
            sink = LiveSink(source, [], record=record, on_event=lambda _, words, **__: said.append(words))
        with Feed(clip, sink):
            wait_for(lambda: _pictures(sink) > 30, "frames")
        sink.abort()
        assert not (tmp_path / "r.mkv").exists()
        assert len(times(tmp_path / "r.mkv.partial", "video")) > 10
        assert any("kept as" in words for words in said)

    @pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mp4"])
    def test_a_crash_leaves_what_was_written(self, clip: Path, tmp_path: Path, suffix: str) -> None:
        """The file as it is at any moment, copied while it is written, can be played."""
        partial = tmp_path / f"r{suffix}.partial"
        with fed(clip, [], record=str(tmp_path / f"r{suffix}"), settings=EncoderSettings(gop=25)) as sink:
            wait_for(lambda: sink.report.frames > 120, "120 frames")
            copy = tmp_path / f"copy{suffix}"
            copy.write_bytes(partial.read_bytes())
        assert len(times(copy, "video")) > 40

    @pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
    def test_a_transport_stream_is_recorded_with_sound(self, tmp_path: Path, suffix: str) -> None:
        """Its AAC has no setup beside the packets, and a fragmented MP4 wants one before the first."""
        clip = media.plain(tmp_path, frames=50, suffix=".ts")
        with open_live(str(clip), allow_files=True) as source:
            assert [(a.codec, a.extradata) for a in source.audio] == [("aac", b"")]
        record = tmp_path / f"r{suffix}"
        said: list[str] = []
        with open_live(str(clip), allow_files=True) as source:
            sink = LiveSink(source, [], record=str(record), on_event=lambda _, words, **__: said.append(words))
        assert any("encoded anew as aac" in words for words in said) == (suffix == ".mp4")
        with contextlib.closing(sink), Feed(clip, sink):
            wait_for(lambda: sink.report.frames > 60, "frames")
        assert len(times(record, "video")) == sink.report.frames
        assert len(times(record, "audio")) > 40
        assert not list(tmp_path.glob("r-*"))

    def test_a_recording_that_others_took_away_is_said_to_be_lost(self, tmp_path: Path) -> None:
        recording = places.Recording(str(tmp_path / "r.mkv"))
        recording.open()
        assert recording.done(clean=False) == "", "it was never made"
        partial = Path(recording.open())
        partial.touch()
        partial.unlink()
        with pytest.raises(SinkError, match="taken away while it was written"):
            recording.done(clean=True)

    def test_a_recording_that_was_cut_off_waits_for_room(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where others free a little again and again, each attempt would leave a file of a picture or two."""
        free = 0
        monkeypatch.setattr(places.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
        recording = places.Recording(str(tmp_path / "r.mkv"))
        Path(recording.open()).touch()
        recording.done(clean=False)
        first = recording.open()
        assert first.endswith("r.mkv.partial"), "an empty one left nothing"
        Path(first).write_bytes(b"pictures")
        assert "is kept" in recording.done(clean=False)
        with pytest.raises(SinkError, match="less than 16 MiB of the disk are free"):
            recording.open()
        assert recording.done(clean=False) == ""
        free = places.ROOM_BYTES
        assert recording.open().endswith("r-2.mkv.partial")

    def test_a_full_disk_fails_the_recording_only(self, clip: Path, tmp_path: Path) -> None:
        if not os.path.exists("/dev/full"):
            pytest.skip("needs /dev/full")
        os.symlink("/dev/full", tmp_path / "full.ts")
        outputs = [LiveOutput(str(tmp_path / "full.ts")), LiveOutput(str(tmp_path / "good.ts"))]
        with fed(clip, outputs) as sink:
            wait_for(lambda: "No space" in str(sink.outputs[0]["error"]), "the disk to be full")
            wait_for(lambda: sink.report.frames > 30, "frames")
        assert len(times(tmp_path / "good.ts", "video")) == sink.report.frames


class TestSound:
    def test_silence_fills_a_gap(self, clip: Path, tmp_path: Path) -> None:
        """Two laps of the clip with two seconds between: silent packets of the same codec, no hole, no overlap."""
        with open_live(str(clip), allow_files=True) as source:
            source._pacer = None
            seen = list(source.read())
            with LiveSink(source, [], record=str(tmp_path / "r.mkv")) as sink:
                _write_all(sink, seen, Fraction(0))
                for step in range(51):
                    sink.write_silence(2 + step * 0.04)
                _write_all(sink, seen, Fraction(4))
        stamps = times(tmp_path / "r.mkv", "audio")
        steps = [b - a for a, b in pairwise(stamps)]
        assert max(steps) < 0.05
        assert min(steps) > 0
        with av.open(str(tmp_path / "r.mkv")) as container:
            levels = [(f.time, float(abs(f.to_ndarray()).max())) for f in container.decode(audio=0)]
        assert max(level for at, level in levels if 2.3 < at < 3.8) < 0.001
        assert max(level for at, level in levels if 0.5 < at < 1.5) > 0.1
        assert max(level for at, level in levels if 4.5 < at < 5.5) > 0.1

    @pytest.mark.parametrize(("codec", "suffix"), [("libopus", ".mkv"), ("pcm_s16le", ".mkv"), ("mp2", ".ts")])
    def test_sound_that_rtmp_does_not_hold_becomes_aac(self, tmp_path: Path, codec: str, suffix: str) -> None:
        path = media.write(tmp_path / f"in{suffix}", media.Clip(frames=50, audio=(codec,)))
        out, record = tmp_path / "out.flv", tmp_path / "r.mkv"
        with open_live(str(path), allow_files=True) as source:
            source._pacer = None
            seen = list(source.read())
            with LiveSink(source, [LiveOutput(str(out))], record=str(record)) as sink:
                _write_all(sink, seen, Fraction(0))
                sink.write_silence(4)
        with av.open(str(out)) as container:
            assert container.streams.audio[0].codec_context.name == "aac"
            levels = [(f.time, float(abs(f.to_ndarray()).max())) for f in container.decode(audio=0)]
        assert max(level for at, level in levels if 0.5 < at < 1.5) > 0.1
        assert max(level for at, level in levels if 2.5 < at < 3.5) < 0.001
        with av.open(str(record)) as container:
            assert container.streams.audio[0].codec_context.codec.canonical_name == source.info.streams[1].codec

    def test_sound_and_picture_stay_together(self, clip: Path, tmp_path: Path) -> None:
        with fed(clip, [], record=str(tmp_path / "r.ts"), rate=500) as sink:
            wait_for(lambda: sink.report.frames > 300, "300 frames")
        video, audio = times(tmp_path / "r.ts", "video"), times(tmp_path / "r.ts", "audio")
        assert abs(video[0] - audio[0]) < 0.1
        assert abs(video[-1] - audio[-1]) < 0.2


class TestNextSource:
    def test_the_same_kind_fits_and_another_does_not(self, clip: Path, tmp_path: Path) -> None:
        other = media.write(tmp_path / "o.mkv", media.Clip(size=(320, 240)))
        mute = media.write(tmp_path / "m.mkv", media.Clip(audio=()))
        fast = media.write(tmp_path / "f.mkv", media.Clip(rate=Fraction(50)))
        near = media.write(tmp_path / "n.mkv", media.Clip(rate=Fraction(30)))
        with open_live(str(clip), allow_files=True) as source:
            sink = LiveSink(source, [], record=str(tmp_path / "r.mkv"))
        try:
            assert _fits(sink, clip) == ""
            assert "320x240" in _fits(sink, other)
            assert "is none" in _fits(sink, mute)
            assert _fits(sink, fast) == "the source sent 25 pictures a second and sends 50"
            assert _fits(sink, near) == ""
        finally:
            sink.abort()

    def test_streams_in_another_order_go_on(self, clip: Path, tmp_path: Path) -> None:
        """The next connection announces its sound first."""
        turned = tmp_path / "turned.mkv"
        copy = [program("ffmpeg"), "-loglevel", "error", "-i", str(clip), "-map", "0:a", "-map", "0:v", "-c", "copy"]
        subprocess.run([*copy, str(turned)], check=True, stdin=subprocess.DEVNULL)
        with open_live(str(clip), allow_files=True) as source:
            source._pacer = None
            sink = LiveSink(source, [], record=str(tmp_path / "r.mkv"))
            first = list(source.read())
        with sink, open_live(str(turned), allow_files=True) as source:
            source._pacer = None
            assert source.audio[0].stream == 0
            _write_all(sink, first, Fraction(0))
            assert sink.fits(source) == ""
            _write_all(sink, list(source.read()), Fraction(2))
        assert len(times(tmp_path / "r.mkv", "video")) == 100
        assert times(tmp_path / "r.mkv", "audio")[-1] > 3.8


def _fits(sink: LiveSink, path: Path) -> str:
    with open_live(str(path), allow_files=True) as source:
        return sink.fits(source)


def _write_all(sink: LiveSink, seen: list[Frame | CopiedPacket], offset: Fraction) -> None:
    """Write items moved by `offset` seconds; packets are copies, because muxers and shifts change them."""
    for item in seen:
        if isinstance(item, Frame):
            sink.write(replace(item, pts=item.pts + round(offset / item.time_base)))
            continue
        packet = av.Packet(bytes(item.packet))
        packet.time_base, packet.duration = item.packet.time_base, item.packet.duration
        packet.pts = packet.dts = (item.packet.pts or 0) + round(offset / Fraction(packet.time_base))
        sink.write_packet(CopiedPacket(packet, item.stream))
