"""The small parts by themselves: rounding, clocks, guards, choices."""

from __future__ import annotations

from fractions import Fraction

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_guard.errors import ConfigError
from stream_guard.media.clock import DtsGuard, rescale
from stream_guard.media.containers import container_for
from stream_guard.media.decoder import FrameClock
from stream_guard.media.formats import choose_format, depth_of
from stream_guard.media.info import SinkReport, SourceReport

bases = st.builds(Fraction, st.integers(1, 1001), st.sampled_from([25, 1000, 12800, 30000, 44100, 90000, 1000000]))


@given(value=st.integers(-(10**12), 10**12), source=bases, target=bases)
def test_rescale_is_the_nearest_tick(value: int, source: Fraction, target: Fraction) -> None:
    found = rescale(value, source, target)
    assert abs(found * target - value * source) * 2 <= target
    assert rescale(-value, source, target) == -found, "halves go away from zero on both sides"


def test_rescale_takes_halves_away_from_zero() -> None:
    assert [rescale(v, Fraction(1, 2), Fraction(1)) for v in (1, 2, 3, -1, -3)] == [1, 1, 2, -1, -2]


@given(values=st.lists(st.integers(0, 10**6), min_size=2, max_size=30), base=bases, coarse=bases)
def test_rescale_keeps_the_order(values: list[int], base: Fraction, coarse: Fraction) -> None:
    values.sort()
    found = [rescale(v, base, coarse) for v in values]
    assert found == sorted(found)


def packet(pts: int | None, dts: int | None, duration: int = 0) -> av.Packet:
    made = av.Packet(b"x")
    made.pts, made.dts, made.duration, made.time_base = pts, dts, duration, Fraction(1, 1000)
    return made


@given(stamps=st.lists(st.integers(0, 400), min_size=1, max_size=40))
def test_the_guard_makes_any_times_rise(stamps: list[int]) -> None:
    report = SinkReport()
    guard = DtsGuard(Fraction(1, 90000), report)
    packets = [packet(s, s, 10) for s in stamps]
    for item in packets:
        guard.fix(item)
    found = [p.dts for p in packets]
    assert found == sorted(set(found))
    assert all(p.pts >= p.dts for p in packets)
    assert all(p.duration == 900 for p in packets)
    rising = stamps == sorted(set(stamps))
    assert (report.dts_repaired == 0) == rising


def test_the_guard_leaves_good_times_alone() -> None:
    report = SinkReport()
    guard = DtsGuard(Fraction(1, 1000), report)
    items = [packet(40, 0), packet(120, 40), packet(None, 80), packet(100, None)]
    for item in items:
        guard.fix(item)
    assert [(p.pts, p.dts) for p in items] == [(40, 0), (120, 40), (80, 80), (100, 100)]
    assert report.dts_repaired == 0


def test_lines_that_begin_together_are_allowed_for_subtitles() -> None:
    report = SinkReport()
    guard = DtsGuard(Fraction(1, 1000), report, allow_equal=True)
    items = [packet(40, 40), packet(40, 40), packet(30, 30)]
    for item in items:
        guard.fix(item)
    assert [p.dts for p in items] == [40, 40, 40]
    assert report.dts_repaired == 1


def test_the_clock_invents_and_repairs() -> None:
    report = SourceReport()
    clock = FrameClock(40, report)
    given_stamps = [(None, None), (None, None), (100, 0), (100, 0), (90, 0), (None, 300), (None, 10), (400, 0)]
    found = [clock.stamp(pts, dts) for pts, dts in given_stamps]
    assert found == [0, 40, 100, 101, 102, 300, 498, 499]
    assert (report.pts_invented, report.pts_repaired) == (4, 3)


@pytest.mark.parametrize(
    ("encoder", "source", "size", "chosen", "lost"),
    [
        ("libx264", "yuv420p", (64, 64), "yuv420p", ""),
        ("libx264", "nv12", (64, 64), "nv12", ""),
        ("libx264", "yuvj422p", (64, 64), "yuvj422p", ""),
        ("libx264", "p010le", (64, 64), "yuv420p10le", ""),
        ("libx264", "yuv422p12le", (64, 64), "yuv422p10le", "bit depth"),
        ("libx264", "yuva420p", (64, 64), "yuv420p", "transparency"),
        ("libx264", "yuv420p", (65, 64), "yuv444p", "odd size"),
        ("libx264", "yuv422p", (64, 65), "yuv422p", ""),
        ("libvpx-vp9", "yuvj420p", (64, 64), "yuv420p", ""),
        ("libvpx-vp9", "yuv420p", (65, 33), "yuv420p", ""),
        ("libsvtav1", "yuv444p", (64, 64), "yuv420p", "colour resolution"),
        ("prores_ks", "yuv420p", (64, 64), "yuv422p10le", ""),
    ],
)
def test_the_nearest_pixel_format(encoder: str, source: str, size: tuple[int, int], chosen: str, lost: str) -> None:
    found, words = choose_format(encoder, source, *size)
    assert found == chosen
    assert lost in words
    assert bool(words) == bool(lost)


def test_a_wanted_pixel_format_that_cannot_be() -> None:
    words = "yuv444p is encoded as yuv420p, which loses colour resolution"
    assert choose_format("libx264", "yuv444p", 64, 64, "yuv420p") == ("yuv420p", words)
    assert choose_format("libx264", "yuv420p", 64, 64, "yuv444p") == ("yuv444p", ""), "nothing is odd, nothing is lost"
    with pytest.raises(ConfigError, match="odd size"):
        choose_format("libx264", "yuv420p", 65, 64, "yuv420p")


def test_depths() -> None:
    assert [depth_of(n) for n in ("yuv420p", "yuv422p10le", "p010le", "rgb48le")] == [8, 10, 10, 16]


def test_containers_by_their_endings() -> None:
    found = {name: container_for(name).format for name in ("a.MP4", "b.c/d.mkv", "x.m2ts", "y.tar.gif")}
    assert found == {"a.MP4": "mp4", "b.c/d.mkv": "matroska", "x.m2ts": "mpegts", "y.tar.gif": "gif"}
