"""Where a transport stream's clock starts anew, and where packets are only out of order."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from stream_guard.media import EncoderSettings, transcode
from stream_guard.media.info import SourceReport
from stream_guard.media.live.decoding import LiveTimeline
from stream_guard.media.timeline import Timeline
from tests.media.reading import read
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


def test_one_packet_out_of_order_is_no_jump() -> None:
    packets = flow(0, 800)
    packets[20] = Packet(VIDEO, 200)
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


def test_stragglers_of_the_old_clock_stay_on_it() -> None:
    """A demuxer hands out the last packets of one stream behind the first ones of the other."""
    old, late = flow(0, 320), flow(320, 400, SOUND)
    new = flow(80, 160, VIDEO)
    found, jumps = placed(*old, *flow(320, 400, VIDEO), *new, *late, *flow(80, 160, SOUND), *flow(160, 400))
    assert jumps == 1
    assert of(VIDEO, found) == of(SOUND, found) == list(range(0, 720, 40))


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
