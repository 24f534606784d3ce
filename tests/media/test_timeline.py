"""Where a transport stream's clock starts anew, and where packets are only out of order."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from stream_guard.media import EncoderSettings, open_source, transcode
from stream_guard.media.info import SourceReport
from stream_guard.media.live.decoding import LiveTimeline
from stream_guard.media.timeline import CLOCK_SECONDS, Timeline
from tests.media.reading import Read, read
from tests.support import media

QUICK = EncoderSettings(preset="ultrafast", threads=1)
VIDEO, SOUND, TEXT = 0, 1, 2


@dataclass
class Stream:
    type: str


@dataclass
class Packet:
    """What a timeline looks at. Times in milliseconds; `was` is the time that the packet came with."""

    stream_index: int
    dts: int | None
    duration: int = 40
    pts: int | None = None
    time_base: Fraction = Fraction(1, 1000)
    stream: Stream = field(init=False)
    was: int | None = field(init=False)

    def __post_init__(self) -> None:
        self.stream = Stream(("video", "audio", "subtitle")[self.stream_index])
        self.was = self.dts if self.dts is not None else self.pts
        self.pts = self.dts if self.pts is None else self.pts


def placed(*packets: Packet) -> tuple[list[tuple[int, int]], int]:
    """Stream and time of each packet as it leaves, and how many jumps there were."""
    report = SourceReport()
    out = Timeline("mpegts", report, look_ahead=True).arrange(packets)  # type: ignore[arg-type]
    return [(p.stream_index, p.pts or 0) for p in out], report.jumps


def flow(start: int, end: int, *streams: int) -> list[Packet]:
    """Packets of all streams, one each 40 ms."""
    return [Packet(s, t) for t in range(start, end, 40) for s in (streams or (VIDEO, SOUND))]


def of(stream: int, found: list[tuple[int, int]]) -> list[int]:
    return [time for number, time in found if number == stream]


@pytest.mark.parametrize("back", [120, 280, 960, 1200, 100000])
def test_a_clock_that_starts_anew_is_joined_however_small_the_step(back: int) -> None:
    start = 100000
    found, jumps = placed(*flow(start, start + 400), *flow(start + 400 - back, start + 800 - back))
    assert jumps == 1
    assert of(VIDEO, found) == of(SOUND, found) == list(range(start, start + 800, 40))


def test_packets_leave_in_their_order() -> None:
    packets = [*flow(0, 400), *flow(120, 520)]
    report = SourceReport()
    assert list(Timeline("mpegts", report, look_ahead=True).arrange(packets)) == packets  # type: ignore[arg-type]


@pytest.mark.parametrize("streams", [(VIDEO, SOUND), (VIDEO,)])
@pytest.mark.parametrize("place", [10, -1])
def test_one_packet_out_of_order_is_no_jump(streams: tuple[int, ...], place: int) -> None:
    packets = flow(0, 800, *streams)
    packets[place] = Packet(packets[place].stream_index, 200)
    found, jumps = placed(*packets)
    assert jumps == 0
    assert found == [(p.stream_index, p.was) for p in packets]


def test_a_stream_that_steps_back_alone_stays_beside_the_others() -> None:
    alone = [Packet(SOUND, t - 120 if 400 <= t < 520 else t) for t in range(0, 20000, 40)]
    packets = [p for both in zip(flow(0, 20000, VIDEO), alone, strict=True) for p in both]
    found, jumps = placed(*packets)
    assert jumps == 0
    assert found == [(p.stream_index, p.was) for p in packets]


def test_a_video_without_sound_is_joined_too() -> None:
    found, jumps = placed(*flow(0, 400, VIDEO), *flow(200, 600, VIDEO))
    assert (jumps, of(VIDEO, found)) == (1, list(range(0, 800, 40)))


def test_a_clock_that_starts_anew_is_joined_where_the_sound_has_ended() -> None:
    found, jumps = placed(*flow(0, 400), *flow(200, 600, VIDEO))
    assert (jumps, of(VIDEO, found)) == (1, list(range(0, 800, 40)))


@pytest.mark.parametrize("joined", [0, 1])
def test_stragglers_of_the_old_clock_stay_on_it(joined: int) -> None:
    """A demuxer hands out the last packets of one stream behind the first ones of the other."""
    before = flow(90000, 90400) * joined
    old, late = flow(0, 320), flow(320, 400, SOUND)
    new = flow(80, 160, VIDEO)
    last = [*flow(320, 400, VIDEO), *new, *late, *flow(80, 160, SOUND), *flow(160, 400)]
    found, jumps = placed(*before, *old, *last)
    assert jumps == 1 + joined
    start = 90000 * joined
    assert of(VIDEO, found) == of(SOUND, found) == list(range(start, start + 720 + 400 * joined, 40))


def test_a_line_of_text_of_the_old_clock_stays_on_it() -> None:
    late, soon = Packet(TEXT, 59900), Packet(TEXT, 400)
    found, jumps = placed(*flow(1000, 60000), *flow(0, 400), late, soon, *flow(400, 800))
    assert (jumps, of(TEXT, found)) == (1, [59900, 60400])


def test_sound_that_is_longer_than_the_picture_overlaps_but_does_not_move_away_from_it() -> None:
    first, second = flow(0, 400), flow(0, 400)
    found, jumps = placed(*first, *flow(400, 600, SOUND), *second, *flow(400, 600, SOUND))
    assert jumps == 1
    assert of(VIDEO, found) == list(range(0, 800, 40))
    assert of(SOUND, found)[15:] == list(range(400, 1000, 40))


def test_times_of_reordered_pictures_alone_are_no_jump() -> None:
    """Without decoding times, B-frames step back again and again."""
    times = [0, 320, 160, 80, 40, 120, 240, 200, 280, 640, 480, 400, 360, 440, 560, 520, 600]
    found, jumps = placed(*[Packet(VIDEO, None, pts=t) for t in times])
    assert (jumps, of(VIDEO, found)) == (0, times)


def test_subtitles_follow_the_clock_after_a_long_pause() -> None:
    packets = [
        Packet(TEXT, 1000),
        *flow(1000, 60000),
        *flow(0, 4000),
        Packet(TEXT, 4000, duration=2000),
        *flow(4000, 8000),
    ]
    found, jumps = placed(*packets)
    assert jumps == 1
    assert of(TEXT, found) == [1000, 64000]


def test_a_live_clock_holds_nothing_back() -> None:
    """A stream must not wait for what follows; a small step there is repaired picture by picture."""
    report = SourceReport()
    timeline = LiveTimeline(report)
    held = [len(list(timeline.arrange([packet]))) for packet in (*flow(0, 400), *flow(200, 600))]  # type: ignore[list-item]
    assert (set(held), report.jumps) == ({1}, 0)


@pytest.mark.parametrize("bf", ["0", "2"])
def test_short_transport_streams_become_one(bf: str, tmp_path: Path) -> None:
    clip = media.Clip(frames=10, options={"bf": bf, "b_strategy": "0"})
    once = media.write(tmp_path / "once.ts", clip)
    (tmp_path / "twice.ts").write_bytes(once.read_bytes() * 2)
    report, _ = transcode(str(tmp_path / "twice.ts"), str(tmp_path / "out.mp4"), QUICK)
    assert (report.jumps, report.frames, report.pts_repaired) == (1, 20, 0)
    after = read(tmp_path / "out.mp4")
    steps = sorted(b - a for a, b in pairwise(after.video))
    assert steps[:-1] == [Fraction(1, 25)] * 18
    assert steps[-1] < Fraction(1, 10), "at the joint the sound may be the longer one"
    assert float(after.packets[1][-1]) == pytest.approx(float(after.video[-1]), abs=0.1)


SUFFIXES = [".mp4", ".mov", ".mkv", ".flv", ".ts"]


def starting_over(folder: Path, **more: Any) -> Path:
    """A transport stream of two seconds whose clock starts over in its middle."""
    clip = media.Clip(frames=50, options={"bf": "2"}, **more)
    return media.write(folder / "starting_over.ts", clip, container={"output_ts_offset": "95442.7"})


def shape(found: Read) -> tuple[list[Fraction], list[Fraction]]:
    """All times from the first picture on: what must not change, wherever the clock begins."""
    return [t - found.video[0] for t in found.video], [t - found.video[0] for t in found.packets[1]]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_lost_where_the_clock_soon_starts_over(suffix: str, tmp_path: Path) -> None:
    source, target = starting_over(tmp_path), tmp_path / f"out{suffix}"
    before = read(source)
    assert before.video[0] < 0 < before.video[-1]
    made, report = transcode(str(source), str(target), QUICK)
    after = read(target)
    assert (made.frames, made.jumps, report.frames, len(after.video)) == (50, 0, 50, 50)
    assert (report.packets_left_out, report.sound_left_out_seconds) == (0, 0)
    assert len(after.packets[1]) == len(before.packets[1])
    tick = Fraction(1, 1000) if suffix in (".mkv", ".flv") else Fraction(1, 44100)
    for was, now in zip(shape(before), shape(after), strict=True):
        assert max(abs(a - b) for a, b in zip(was, now, strict=True)) <= tick


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_where_the_clock_soon_starts_over_the_output_begins_at_zero(suffix: str, tmp_path: Path) -> None:
    source, target = starting_over(tmp_path), tmp_path / f"out{suffix}"
    before = read(source)
    warnings, after = transcode(str(source), str(target), QUICK)[1].warnings, read(target)
    if suffix == ".ts":
        assert (warnings, after.video, after.packets) == ([], before.video, before.packets), "on the input's own clock"
        return
    begun = min(before.video[0], before.packets[1][0])
    assert warnings == [
        f"the input's clock starts over {float(-begun):.3f} s after its first packet: all times are moved together so "
        "that the output begins at zero; an output in .ts keeps them as they are"
    ]
    assert min(after.video[0], after.packets[1][0]) == 0


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
def test_a_picture_alone_is_moved_too(suffix: str, tmp_path: Path) -> None:
    source, target = starting_over(tmp_path, audio=()), tmp_path / f"out{suffix}"
    with open_source(str(source)) as opened:
        assert 0.5 < opened.moved_seconds < 1.5
        assert opened.info.video.start_seconds == pytest.approx(0, abs=1e-6)
    transcode(str(source), str(target), QUICK)
    assert len(read(target).video) == 50


def test_every_stream_is_moved_by_the_same_time() -> None:
    report, early = SourceReport(), Fraction(17, 10)
    packets = [Packet(TEXT, -1500, duration=900), *flow(-1700, 2000), Packet(TEXT, 1900)]
    timeline = Timeline("mpegts", report, look_ahead=True, before_zero=early)
    moved = list(timeline.arrange(packets))  # type: ignore[arg-type]
    assert {(p.dts or 0) - (p.was or 0) for p in moved} == {1700}
    assert (report.jumps, timeline.moved) == (0, early)


def test_a_clock_that_was_moved_still_joins_what_starts_anew() -> None:
    report = SourceReport()
    packets = [*flow(-1000, 1000), *flow(-1000, 1000)]
    joined = Timeline("mpegts", report, look_ahead=True, before_zero=Fraction(1)).arrange(packets)  # type: ignore[arg-type]
    assert [p.dts for p in joined if p.stream_index == VIDEO] == list(range(0, 4000, 40))
    assert report.jumps == 1


@pytest.mark.parametrize("format", ["mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"])
def test_times_before_zero_elsewhere_are_meant(format: str) -> None:
    """Edit lists and the warm-up of encoders."""
    timeline = Timeline(format, SourceReport(), look_ahead=True, before_zero=Fraction(1))
    assert [p.dts for p in timeline.arrange(flow(-1000, 0, SOUND))] == list(range(-1000, 0, 40))  # type: ignore[arg-type]
    assert timeline.moved == 0


def test_the_clock_is_that_of_33_bits() -> None:
    assert float(CLOCK_SECONDS) == pytest.approx(26.5 * 3600, rel=0.001)
