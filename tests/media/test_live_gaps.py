"""What a live sink makes of its sources: their sound, silence in a gap, and the source that comes next."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from stream_guard.media import LiveOutput, LiveSink, open_live
from tests.media.feeding import fed, times, write_all
from tests.support import media
from tests.support.servers import program, wait_for

pytestmark = pytest.mark.usefixtures("patient")


class TestSound:
    def test_silence_fills_a_gap(self, clip: Path, tmp_path: Path) -> None:
        """Two laps of the clip with two seconds between: silent packets of the same codec, no hole, no overlap."""
        with open_live(str(clip), allow_files=True) as source:
            source._pacer = None
            seen = list(source.read())
            with LiveSink(source, [], record=str(tmp_path / "r.mkv")) as sink:
                write_all(sink, seen, Fraction(0))
                for step in range(51):
                    sink.write_silence(2 + step * 0.04)
                write_all(sink, seen, Fraction(4))
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
                write_all(sink, seen, Fraction(0))
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
            write_all(sink, first, Fraction(0))
            assert sink.fits(source) == ""
            write_all(sink, list(source.read()), Fraction(2))
        assert len(times(tmp_path / "r.mkv", "video")) == 100
        assert times(tmp_path / "r.mkv", "audio")[-1] > 3.8


def _fits(sink: LiveSink, path: Path) -> str:
    with open_live(str(path), allow_files=True) as source:
        return sink.fits(source)
