"""What every sink promises, whatever the container: add a line to KINDS to test one more."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_guard.errors import SinkError
from stream_guard.media import EncoderSettings, FileSink, SinkReport, open_source
from stream_guard.types import Frame
from tests.media.reading import read
from tests.support import media

KINDS = {
    ".mp4": EncoderSettings(preset="ultrafast", threads=1),
    ".mov": EncoderSettings(preset="ultrafast", threads=1),
    ".mkv": EncoderSettings(preset="ultrafast", threads=1),
    ".ts": EncoderSettings(preset="ultrafast", threads=1),
    ".flv": EncoderSettings(preset="ultrafast", threads=1),
    ".webm": EncoderSettings(threads=1),
    ".gif": EncoderSettings(threads=1),
}


@pytest.fixture(params=KINDS)
def suffix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return media.vfr(tmp_path / "in")


def write(clip: Path, target: Path, frames: int | None = None, *, packets: bool = True) -> SinkReport:
    with open_source(str(clip)) as source, FileSink(str(target), source, KINDS[target.suffix]) as sink:
        count = 0
        for item in source.read():
            if isinstance(item, Frame):
                if frames is None or count < frames:
                    sink.write(item)
                count += 1
            elif packets:
                sink.write_packet(item)
    return sink.report


def test_each_frame_comes_out_once_and_in_order(suffix: str, clip: Path, tmp_path: Path) -> None:
    report = write(clip, tmp_path / f"out{suffix}")
    times = read(tmp_path / f"out{suffix}").video
    assert len(times) == report.frames == len(media.VFR_PTS)
    assert times == sorted(times)


def test_counters_say_what_was_written(suffix: str, clip: Path, tmp_path: Path) -> None:
    target = tmp_path / f"out{suffix}"
    report = write(clip, target)
    assert report.bytes == target.stat().st_size > 0
    sound = read(target).packets.get(1, [])
    if report.packets_copied:
        assert len(sound) == report.packets_copied
        assert report.packets_copied + report.packets_left_out == len(read(clip).packets[1])
    else:
        assert bool(sound) == bool(report.packets_transcoded)
        assert report.warnings, "sound that is not copied is spoken of"


def test_fewer_frames_than_announced_are_fine(suffix: str, clip: Path, tmp_path: Path) -> None:
    target = tmp_path / f"out{suffix}"
    write(clip, target, frames=3, packets=False)
    assert len(read(target).video) == 3


def test_a_video_without_a_frame_is_none(suffix: str, clip: Path, tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="no frame reached the output"):
        write(clip, tmp_path / f"out{suffix}", frames=0)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_abort_leaves_nothing(suffix: str, clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with open_source(str(clip)) as source:
        sink = FileSink(str(folder / f"out{suffix}"), source, KINDS[suffix])
        for item in source.read():
            if isinstance(item, Frame):
                sink.write(item)
        sink.abort()
        sink.abort()
    assert list(folder.iterdir()) == []
