"""Every frame keeps its time, in every container as finely as the container can say it."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_guard.media import EncoderSettings, open_source, transcode
from stream_guard.media.clock import rescale
from stream_guard.types import Frame
from tests.media.reading import end, read
from tests.support import media, troubles

QUICK = EncoderSettings(preset="ultrafast", threads=1)
TICKS = {
    ".mp4": None,
    ".mov": None,
    ".m4v": None,
    ".mkv": Fraction(1, 1000),
    ".webm": Fraction(1, 1000),
    ".flv": Fraction(1, 1000),
    ".ts": Fraction(1, 90000),
    ".gif": Fraction(1, 100),
}


def expected(times: list[Fraction], tick: Fraction | None) -> list[Fraction]:
    return times if tick is None else [rescale(1, t, tick) * tick if t else t for t in times]


def quick(suffix: str) -> EncoderSettings:
    return EncoderSettings(threads=1) if suffix in (".webm", ".gif") else QUICK


@pytest.mark.parametrize("suffix", TICKS)
@pytest.mark.parametrize("make", [media.plain, media.vfr, troubles.late_start, troubles.b_frames])
def test_frames_keep_their_times(make, suffix, tmp_path: Path) -> None:
    source, target = make(tmp_path), tmp_path / f"out{suffix}"
    transcode(str(source), str(target), quick(suffix))
    before, after = read(source).video, read(target).video
    if suffix == ".gif" and before[0]:
        before = [t - before[0] for t in before]  # An animation has no late start; the sink says so.
    assert after == expected(before, TICKS[suffix])


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".flv", ".mov", ".webm"])
def test_a_trip_within_one_container_is_exact(suffix: str, tmp_path: Path) -> None:
    codec = {"codec": "libvpx-vp9", "audio": ("libopus",)} if suffix == ".webm" else {}
    pts = [0, 40, 97, 120, 333, 334, 400, 1000, 1033, 1067]
    clip = media.Clip(pts=pts, time_base=Fraction(1, 1000), **codec)
    source = media.write(tmp_path / f"in{suffix}", clip)
    target = tmp_path / f"out{suffix}"
    transcode(str(source), str(target), quick(suffix))
    before, after = read(source), read(target)
    assert after.video == before.video
    # Sound before zero, which only the encoder's warm-up is, may be left out where the container has no such times.
    assert after.packets == before.packets


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".flv"])
def test_sound_and_picture_stay_together(suffix: str, tmp_path: Path) -> None:
    source, target = troubles.late_start(tmp_path), tmp_path / f"out{suffix}"
    transcode(str(source), str(target), QUICK)
    before, after = read(source), read(target)
    kept = [t for t in before.packets[1] if t >= 0] if suffix != ".mp4" else before.packets[1]
    tick = TICKS[suffix] or Fraction(1, 44100)
    assert len(after.packets[1]) == len(kept)
    assert max(abs(a - b) for a, b in zip(after.packets[1], kept, strict=True)) <= tick


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".gif"])
def test_the_last_frame_lasts_as_long(suffix: str, tmp_path: Path) -> None:
    clip = media.Clip(pts=[0, 100, 200, 300, 1300], time_base=Fraction(1, 1000), rate=Fraction(1), audio=())
    source, target = media.write(tmp_path / "in.mp4", clip), tmp_path / f"out{suffix}"
    transcode(str(source), str(target), quick(suffix))
    assert end(source) == pytest.approx(2.3, abs=0.001)
    assert end(target) == pytest.approx(2.3, abs=0.011)


def test_an_edit_list_hides_what_it_hid(tmp_path: Path) -> None:
    source, target = troubles.edit_list(tmp_path, hidden=5), tmp_path / "out.mp4"
    report, _ = transcode(str(source), str(target), QUICK)
    assert report.frames == 25
    assert read(target).video == read(source).video == [Fraction(i, 25) for i in range(25)]


def test_durations_are_those_of_presentation(tmp_path: Path) -> None:
    with open_source(str(media.vfr(tmp_path))) as source:
        frames = [item for item in source.read() if isinstance(item, Frame)]
    assert [f.pts for f in frames] == list(media.VFR_PTS)
    gaps = [b - a for a, b in pairwise(media.VFR_PTS)]
    assert [f.duration for f in frames] == [*gaps, 512]
    assert [f.index for f in frames] == list(range(len(frames)))


gaps = st.lists(st.integers(1, 5000), min_size=1, max_size=24)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(gaps=gaps, start=st.integers(0, 30000), base=st.sampled_from([12800, 30000, 90000, 1000000]))
def test_any_times_survive(gaps: list[int], start: int, base: int) -> None:
    pts = [start]
    for gap in gaps:
        pts.append(pts[-1] + gap)
    with TemporaryDirectory() as folder:
        clip = media.Clip(size=(32, 32), pts=pts, time_base=Fraction(1, base), audio=())
        source = media.write(Path(folder) / "in.mp4", clip, container={"movie_timescale": str(base)})
        target = Path(folder) / "out.mp4"
        transcode(str(source), str(target), QUICK)
        assert read(target).video == [p * Fraction(1, base) for p in pts]


def test_joined_transport_streams_become_one_timeline(tmp_path: Path) -> None:
    once = media.plain(tmp_path, suffix=".ts", frames=40)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(once.read_bytes() * 3)
    report, _ = transcode(str(joined), str(tmp_path / "out.mp4"), QUICK)
    after = read(tmp_path / "out.mp4")
    assert (report.jumps, report.frames, report.pts_repaired) == (2, 120, 0)
    assert after.video == [Fraction(2, 25) + Fraction(i, 25) for i in range(120)]
    # The sound goes on beside the picture, and does not pile up at the joints.
    assert float(after.packets[1][-1]) == pytest.approx(float(after.video[-1]), abs=0.1)
    steps = [b - a for a, b in pairwise(after.packets[1])]
    assert max(steps) < 2 * sorted(steps)[len(steps) // 2]


@pytest.mark.parametrize("clip", [{"options": {"bf": "2"}}, {"codec": "mpeg4", "options": {"bf": "2"}, "audio": ()}])
def test_avi_has_no_presentation_times_of_its_own(clip: dict[str, Any], tmp_path: Path) -> None:
    recipe = {"audio": ("libmp3lame",), **clip}
    source = media.write(tmp_path / "in.avi", media.Clip(frames=30, **recipe))
    report, _ = transcode(str(source), str(tmp_path / "out.mp4"), QUICK)
    assert read(tmp_path / "out.mp4").video == [Fraction(i, 25) for i in range(30)]
    assert (report.pts_repaired, report.pts_invented) == (0, 0)


def test_a_change_of_size_in_mid_stream_is_counted_and_scaled(tmp_path: Path) -> None:
    first = media.plain(tmp_path, suffix=".ts", frames=30)
    second = media.write(tmp_path / "small.ts", media.Clip(size=(96, 64), frames=30))
    (tmp_path / "both.ts").write_bytes(first.read_bytes() + second.read_bytes())
    report, _ = transcode(str(tmp_path / "both.ts"), str(tmp_path / "out.mp4"), QUICK)
    assert (report.size_changes, report.frames) == (1, 60)
    assert report.sizes == ["160x120 yuv420p", "96x64 yuv420p"]
    assert len(read(tmp_path / "out.mp4").video) == 60


def test_a_change_of_pixel_shape_in_mid_stream_is_counted(tmp_path: Path) -> None:
    """As on television, where 4:3 and 16:9 follow one another in pictures of the same size."""
    wide = troubles.anamorphic(tmp_path, suffix=".ts").read_bytes()
    square = media.plain(tmp_path, suffix=".ts", frames=8).read_bytes()
    (tmp_path / "both.ts").write_bytes(square + wide + wide)
    report, _ = transcode(str(tmp_path / "both.ts"), str(tmp_path / "out.mp4"), QUICK)
    assert report.size_changes == 1
    assert report.sizes == ["160x120 yuv420p", "160x120 yuv420p with pixels of 16:11"]


@pytest.mark.parametrize("frames", [1, 2])
def test_the_shortest_clips_have_decoding_times_with_x265(frames: int, tmp_path: Path) -> None:
    """x265 4.2 takes them from memory that nobody set where pictures are fewer than it could reorder."""
    source, target = media.plain(tmp_path, frames=frames), tmp_path / "out.mp4"
    words = "import sys; from stream_guard.media import *; transcode(*sys.argv[1:], EncoderSettings(codec='libx265'))"
    memory = {**os.environ, "MALLOC_PERTURB_": "165"}  # glibc fills what it gives out.
    subprocess.run([sys.executable, "-c", words, str(source), str(target)], env=memory, check=True, timeout=60)
    with av.open(str(target)) as container:
        times = [(p.pts, p.dts) for p in container.demux(video=0) if p.size]
    assert times == [(512 * i, 512 * i) for i in range(frames)]


def test_pictures_faster_than_a_codec_can_say_end_no_run(tmp_path: Path) -> None:
    """A gif counts in 1/100 s: a telephone's slow motion has more pictures a second."""
    source = media.vfr(tmp_path, pts=(0, 30, 33, 36, 60, 200), base=Fraction(1, 1000))
    report = transcode(str(source), str(tmp_path / "out.gif"), EncoderSettings(threads=1))[1]
    assert read(tmp_path / "out.gif").frames[0] == [Fraction(n, 100) for n in (0, 3, 4, 5, 6, 20)]
    assert ["gif holds at most 100 pictures a second" in w and "0.033 s" in w for w in report.warnings] == [False, True]


def test_raw_dv_as_tape_cameras_give_it_is_read(tmp_path: Path) -> None:
    """FFmpeg 8 gives the ticks of its clock, 60000 a second, for the average rate of such a file."""
    encoder = av.CodecContext.create("dvvideo", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 720, 576, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    blank = av.VideoFrame(720, 576, "yuv420p")
    (tmp_path / "tape.dv").write_bytes(b"".join(bytes(p) for _ in range(3) for p in encoder.encode(blank)))
    with open_source(str(tmp_path / "tape.dv")) as source:
        assert source.info.video.average_rate == 25
        frames = [item for item in source.read() if isinstance(item, Frame)]
    assert [f.time_seconds for f in frames] == [0, 0.04, 0.08]
    assert {f.duration * f.time_base for f in frames} == {Fraction(1, 25)}
