"""Bad input: a clear word before anything is written, or what is there and a count of what is not."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from stream_guard.errors import ExitCode, SourceError, TruncatedSourceError
from stream_guard.media import EncoderSettings, SourceReport, open_source, transcode
from stream_guard.media.extent import Extent
from stream_guard.types import Frame
from tests.media.reading import read
from tests.support import media, troubles

QUICK = EncoderSettings(preset="ultrafast", threads=1)
NOBODY = 65534


def read_all(path: Path) -> tuple[int, SourceReport, str]:
    with open_source(str(path)) as source:
        count = sum(isinstance(item, Frame) for item in source.read())
        return count, source.report, source.truncation


def animated_webp(folder: Path) -> Path:
    clip = media.Clip(frames=5, audio=(), codec="libwebp_anim", pix_fmt="yuva420p")
    return media.write(folder / "animated.webp", clip, format="webp")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda d: d / "missing.mp4", "no such file or directory"),
        (lambda d: Path("rtmp://127.0.0.1/live/x"), "is an address; .* for `stream-guard serve`"),
        (lambda d: d, "is a directory"),
        (troubles.empty, "is empty"),
        (troubles.text_as_mp4, "not a video that can be read"),
        (troubles.audio_only, "holds no video .only audio."),
        (troubles.headless, "cut off before its index"),
        (troubles.million_rate, "1e.06 frames a second; at most 1000"),
        (lambda d: troubles.resized_header(d, 0, 0), "no usable size"),
        (animated_webp, "is an animated WebP, which the FFmpeg inside PyAV cannot decode"),
        (lambda d: troubles.resized_header(d, 65535, 65535), "no usable size"),
        (lambda d: troubles.resized_header(d, 30000, 16), "30000x16; at most 16384 a side"),
    ],
    ids=[
        "missing",
        "address",
        "directory",
        "empty",
        "text",
        "audio",
        "headless",
        "rate",
        "no size",
        "webp",
        "absurd size",
        "wide",
    ],
)
def test_what_is_no_video_is_refused(make: Callable[[Path], Path], words: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    with pytest.raises(SourceError, match=words) as caught:
        open_source(str(path))
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == ExitCode.USAGE


def test_a_pipe_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(SourceError, match="not a regular file"):
        open_source(str(tmp_path / "pipe.mp4"))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root to become another user")
def test_no_permission_to_read(tmp_path: Path) -> None:
    path = media.plain(tmp_path, frames=2)
    path.chmod(0o600)
    for folder in [tmp_path, *tmp_path.parents[:2]]:
        folder.chmod(0o755)
    os.seteuid(NOBODY)
    try:
        with pytest.raises(SourceError, match="permission denied"):
            open_source(str(path))
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", ["a b.mp4", "http:x.mp4", "ünï.mp4", "%d.mp4", "-.mp4", "concat:a.mp4"])
def test_names_that_look_like_something_else(name: str, tmp_path: Path) -> None:
    source = media.plain(tmp_path, frames=3).rename(tmp_path / name)
    (tmp_path / "out").mkdir()
    report, _ = transcode(str(source), str(tmp_path / "out" / name), QUICK)
    assert report.frames == 3
    assert [p.name for p in (tmp_path / "out").iterdir()] == [name]


def test_a_playlist_in_disguise_fetches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "list.mp4"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(SourceError):
        open_source(str(path))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_cut_off_file_is_read_as_far_as_it_goes(suffix: str, tmp_path: Path) -> None:
    path = troubles.truncated(tmp_path, suffix=suffix, part=0.6)
    frames, report, words = read_all(path)
    assert 30 < frames < 60
    assert report.truncated
    assert report.expected_seconds == pytest.approx(3.0, abs=0.03)
    assert report.missing_seconds == pytest.approx(3.0 - frames / 25, abs=0.1)
    assert "cut off" in words
    assert f"{report.missing_seconds:.3f} s are missing" in words


def test_a_cut_off_file_is_an_error_when_strict(tmp_path: Path) -> None:
    with open_source(str(troubles.truncated(tmp_path)), strict=True) as source:
        seen: list[bool] = []
        with pytest.raises(TruncatedSourceError, match="cut off"):
            seen.extend(isinstance(item, Frame) for item in source.read())
    assert sum(seen) > 30


def test_a_cut_off_file_is_still_transcoded(tmp_path: Path) -> None:
    report, _ = transcode(str(troubles.truncated(tmp_path)), str(tmp_path / "out.mp4"), QUICK)
    assert len(read(tmp_path / "out.mp4").video) == report.frames


def test_a_few_pictures_that_are_missing_at_the_end_are_named(tmp_path: Path) -> None:
    clip = media.Clip(frames=50, audio=(), options={"bf": "0"})
    path = media.write(tmp_path / "in.mp4", clip, container={"movflags": "faststart"})
    with av.open(str(path)) as whole:
        places = [packet.pos for packet in whole.demux() if packet.size]
    path.write_bytes(path.read_bytes()[: places[-3]])
    _, report, words = read_all(path)
    assert (report.frames, report.truncated) == (47, True)
    assert report.missing_seconds == pytest.approx(3 / 25)
    assert "0.120 s are missing" in words


def test_the_index_of_a_video_that_begins_late_tells_its_end(tmp_path: Path) -> None:
    path = media.write(
        tmp_path / "in.mp4", media.Clip(pts=range(3000, 4000, 40), time_base=Fraction(1, 1000), audio=())
    )
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        assert (Extent(container, video).end or 0) * video.time_base == pytest.approx(4.0, abs=0.001)


@pytest.mark.parametrize("make", [media.plain, media.vfr, troubles.late_start, troubles.b_frames, troubles.edit_list])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".flv", ".ts"])
def test_a_whole_file_is_not_called_cut_off(make: Callable[..., Path], suffix: str, tmp_path: Path) -> None:
    if make is troubles.edit_list:
        suffix, path = ".mp4", make(tmp_path)
    else:
        path = make(tmp_path, suffix=suffix)
    _, report, words = read_all(path)
    assert (report.truncated, report.missing_seconds, words) == (False, 0.0, "")
    assert (report.corrupt_frames, report.corrupt_packets, report.pts_repaired, report.pts_invented) == (0, 0, 0, 0)


KINDS = {
    ".mkv": ("libx264", "aac"),
    ".webm": ("libvpx", "libopus"),
    ".wmv": ("wmv2", "ac3"),
    ".nut": ("mpeg4", "aac"),
    ".flv": ("flv", "aac"),
}


def beginning_late(folder: Path, suffix: str, sound: bool = False) -> Path:
    """75 pictures from 3 s on; the sound, where there is any, begins at zero."""
    codec, voice = KINDS[suffix]
    clip = media.Clip(
        pts=range(3000, 6000, 40),
        time_base=Fraction(1, 1000),
        codec=codec,
        audio=(voice,) if sound else (),
        options={"g": "12"},
    )
    return media.write(folder / f"late{suffix}", clip)


@pytest.mark.parametrize("sound", [False, True])
@pytest.mark.parametrize("suffix", list(KINDS))
def test_a_whole_file_that_begins_late_is_not_called_cut_off(suffix: str, sound: bool, tmp_path: Path) -> None:
    frames, report, words = read_all(beginning_late(tmp_path, suffix, sound))
    assert (frames, report.truncated, words) == (75, False, "")


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_a_cut_off_file_that_begins_late_is_called_so(suffix: str, tmp_path: Path) -> None:
    path = beginning_late(tmp_path, suffix)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    frames, report, _ = read_all(path)
    assert frames < 60
    assert report.truncated
    assert report.expected_seconds == pytest.approx(6.0, abs=0.1)
    assert report.missing_seconds == pytest.approx(3.0 - frames / 25, abs=0.1)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("threads", [1, 3])
def test_damage_in_the_middle_is_counted_and_concealed(suffix: str, threads: int, tmp_path: Path) -> None:
    path = troubles.corrupt(tmp_path, suffix=suffix)
    with open_source(str(path), threads=threads) as source:
        frames = [item for item in source.read() if isinstance(item, Frame)]
        report = source.report
    assert len(frames) > 50
    assert frames[-1].time_seconds > 2.9, "reading went on behind the damage"
    assert report.corrupt_packets + report.corrupt_frames > 0
    transcode(str(path), str(tmp_path / f"out{suffix}"), QUICK)
    times = read(tmp_path / f"out{suffix}").video
    assert [float(t) for t in times] == pytest.approx([f.time_seconds for f in frames], abs=0.001)


def test_damage_everywhere_is_refused_or_survived(tmp_path: Path) -> None:
    """Whatever a byte does, the answer is frames or an error of ours."""
    clean = media.plain(tmp_path, frames=12).read_bytes()
    for seed in range(60):
        data = bytearray(clean)
        for k in range(8):
            place = (seed * 7919 + k * 104729) % len(data)
            data[place] ^= 1 << ((seed + k) % 8)
        path = tmp_path / "damaged.mp4"
        path.write_bytes(bytes(data))
        try:
            count, _, _ = read_all(path)
        except SourceError:
            continue
        assert count <= 40
