"""What every source promises, whatever the file: add a line to CLIPS to test one more kind."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from stream_guard.media import CopiedPacket, Source, open_source
from stream_guard.types import Frame
from tests.support import media, troubles

CLIPS: dict[str, Callable[[Path], Path]] = {
    "mp4": media.plain,
    "mkv": lambda d: media.plain(d, suffix=".mkv"),
    "ts": lambda d: media.plain(d, suffix=".ts"),
    "flv": lambda d: media.plain(d, suffix=".flv"),
    "vfr": media.vfr,
    "late": troubles.late_start,
    "edits": troubles.edit_list,
    "b_frames": troubles.b_frames,
    "rich": troubles.rich,
    "vp9": troubles.odd_sized,
    "prores": lambda d: troubles.pixels(d, "yuv422p10le", codec="prores_ks", suffix=".mov"),
    "gif": lambda d: media.write(d / "a.gif", media.Clip(codec="gif", pix_fmt="rgb8", audio=(), frames=6)),
    "truncated": troubles.truncated,
    "corrupt": troubles.corrupt,
    "single": lambda d: media.plain(d, frames=1),
    "rotated": troubles.rotated,
}


@pytest.fixture(params=CLIPS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return CLIPS[request.param](tmp_path)


def items_of(source: Source) -> tuple[list[Frame], list[CopiedPacket]]:
    items = list(source.read())
    return [i for i in items if isinstance(i, Frame)], [i for i in items if isinstance(i, CopiedPacket)]


def test_frames_rise_and_know_their_place(path: Path) -> None:
    with open_source(str(path)) as source:
        frames, packets = items_of(source)
        info, report = source.info, source.report
    assert frames
    assert [f.index for f in frames] == list(range(len(frames)))
    pairs = list(pairwise(frames))
    assert all(b.pts > a.pts for a, b in pairs)
    assert all(f.duration > 0 for f in frames)
    assert all(a.pts + a.duration == b.pts for a, b in pairs)
    for frame in frames:
        assert isinstance(frame.time_base, Fraction)
        assert frame.picture.pts == frame.pts
        assert (frame.width, frame.height) == (info.video.width, info.video.height)
        assert frame.stream == info.video.stream
        assert not frame.faces
        assert not frame.faces_known
    assert (report.frames, report.packets) == (len(frames), len(packets))


def test_every_other_packet_is_handed_on(path: Path) -> None:
    with open_source(str(path)) as source:
        _, packets = items_of(source)
        roles = {s.index: s.role for s in source.info.streams}
    assert all(roles[p.stream] == "copied" for p in packets)
    assert [s for s in roles.values() if s == "protected"] == ["protected"]


def test_what_is_known_beforehand_is_true(path: Path) -> None:
    with open_source(str(path)) as source:
        info = source.info
        frames, _ = items_of(source)
        whole = not source.report.truncated and not source.report.corrupt_packets
    first = frames[0]
    assert first.picture.format.name == info.video.pix_fmt
    assert info.video.time_base == first.time_base
    assert info.video.rotation == first.picture.rotation
    if whole and info.video.frames:
        assert abs(info.video.frames - len(frames)) <= max(1, 0 if info.video.frames < 30 else 5)


def test_two_readings_are_the_same(path: Path) -> None:
    if path.stem in ("corrupt", "truncated"):
        pytest.skip("how a decoder conceals damage depends on its threads")

    def once(threads: int) -> list[tuple[int, bytes]]:
        with open_source(str(path), threads=threads) as source:
            return [
                (f.pts, f.picture.to_rgb(threads=1).to_ndarray().tobytes())
                for f in source.read()
                if isinstance(f, Frame)
            ]

    assert once(1) == once(3)


def test_reading_may_stop_anywhere(path: Path) -> None:
    with open_source(str(path)) as source:
        for _ in zip(range(3), source.read(), strict=False):
            pass
    with open_source(str(path)) as source:
        pass
    source.close()
