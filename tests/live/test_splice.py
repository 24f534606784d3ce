"""Where a live stream's items go on the output's timeline, and what fills its gaps."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest

from stream_guard.live import slate
from stream_guard.live.gap import PAUSE_SECONDS, Filler, rate_of
from stream_guard.live.spec import OnGap
from stream_guard.live.splice import LEAD_SECONDS, Splice
from stream_guard.media import stand_in
from stream_guard.types import Frame

from ..support.fakes import frame, mean_level, picture
from .conftest import Clock

STEP = Fraction(1, 25)


def send(splice: Splice, clock: Clock, start: float, count: int, stream: int = 0) -> list[Fraction]:
    """Items in real time; where they were placed."""
    placed = []
    for number in range(count):
        stamp = Fraction(start) + number * STEP
        offset = splice.place(stream, stamp, STEP)
        assert offset is not None
        placed.append(stamp + offset)
        clock.now += float(STEP)
    return placed


# --- splice -----------------------------------------------------------------------------------------------------------


def test_a_connection_begins_at_the_start_of_the_timeline(clock: Clock) -> None:
    assert send(Splice(clock), clock, 5000.0, 3) == [LEAD_SECONDS + i * STEP for i in range(3)]


def test_the_wall_clock_says_how_long_a_gap_was(clock: Clock) -> None:
    splice = Splice(clock)
    before = send(splice, clock, 5000.0, 100)
    clock.now += 30
    splice.connect()
    after = send(splice, clock, 7.0, 10)
    assert float(after[0] - before[-1]) == pytest.approx(30 + float(LEAD_SECONDS), abs=0.1)


def test_sound_and_picture_keep_their_distance_over_a_reconnect(clock: Clock) -> None:
    splice = Splice(clock)
    for start in (100.0, 3.0):
        splice.connect()
        shown = splice.place(0, Fraction(start), STEP)
        heard = splice.place(1, Fraction(start) + Fraction(1, 30), STEP)
        assert shown == heard


def test_sound_that_is_sent_after_its_pictures_keeps_its_place_beside_them(clock: Clock) -> None:
    """Transport streams of broadcasters send a picture up to two seconds before the sound of the same moment."""
    splice, offsets = Splice(clock), set()
    for number in range(100):
        offsets.add(splice.place(0, 1000 + number * STEP, STEP))
        if number >= 50:
            offsets.add(splice.place(1, 1000 + (number - 50) * STEP, STEP))
        clock.now += float(STEP)
    assert splice.jumps == 0
    assert offsets == {LEAD_SECONDS - 1000}


@pytest.mark.parametrize("jump", [-500.0, -3.0, 20.0, 100000.0])
def test_a_jump_of_the_clock_is_joined(clock: Clock, jump: float) -> None:
    splice = Splice(clock)
    before = send(splice, clock, 1000.0, 50)
    after = send(splice, clock, 1002.0 + jump, 50)
    assert splice.jumps == 1
    assert 0 < after[0] - before[-1] < 1
    assert after[-1] - after[0] == 49 * STEP


def test_a_pause_that_the_wall_clock_saw_is_no_jump(clock: Clock) -> None:
    splice = Splice(clock)
    before = send(splice, clock, 1000.0, 5)
    clock.now += 60
    after = send(splice, clock, 1060.2, 5)
    assert splice.jumps == 0
    assert float(after[0] - before[-1]) == pytest.approx(60.04, abs=0.001)


def test_a_straggler_of_the_old_clock_is_placed_by_it(clock: Clock) -> None:
    splice = Splice(clock)
    send(splice, clock, 1000.0, 50)
    splice.place(1, Fraction(1002), STEP)
    splice.place(0, Fraction(5), STEP)  # jumped
    late = splice.place(1, Fraction(1002) + STEP, STEP)
    assert late is None or Fraction(1002) + STEP + late < 10
    assert splice.jumps == 1


def test_what_lies_before_the_timeline_is_left_out(clock: Clock) -> None:
    splice = Splice(clock)
    splice.place(0, Fraction(100), STEP)
    assert splice.place(1, Fraction(99.5), STEP) is None


@pytest.mark.parametrize("speed", [Fraction(10005, 10000), Fraction(9995, 10000)])
def test_a_clock_that_runs_at_another_speed_is_followed(clock: Clock, speed: Fraction) -> None:
    splice, end = Splice(clock), Fraction(0)
    for number in range(5000):
        clock.now += float(STEP)
        stamp = number * STEP * speed
        end = stamp + (splice.place(0, stamp, STEP) or 0) + STEP
    assert abs(splice.ahead_seconds(end)) < 0.01, "unfollowed it would be 0.1 s apart"


def test_sound_that_comes_back_after_a_long_silence_is_no_jump(clock: Clock) -> None:
    splice = Splice(clock)
    send(splice, clock, 1000.0, 10)
    began = splice.place(1, Fraction(1000), STEP)
    send(splice, clock, 1000.4, 500)
    assert splice.place(1, Fraction(1020), STEP) == began
    send(splice, clock, 1020.4, 10)
    assert splice.jumps == 0


def test_nothing_new_begins_within_what_came_ahead_of_the_wall_clock(clock: Clock) -> None:
    splice = Splice(clock)
    for number in range(200):  # eight seconds at once, and sound that lies behind
        splice.place(0, number * STEP, STEP)
    splice.place(1, 180 * STEP, STEP)
    end = LEAD_SECONDS + 8
    assert splice.now() == end
    splice.connect()
    offset = splice.place(0, Fraction(0), STEP)
    assert offset is not None
    assert offset > end


def test_what_was_reached_is_not_taken_back(clock: Clock) -> None:
    splice = Splice(clock)
    splice.place(0, Fraction(0), STEP)
    splice.place(0, STEP, Fraction(8))  # ahead of the wall clock
    splice.reach(Fraction(1))
    assert splice.now() == LEAD_SECONDS + STEP + 8


def test_a_connection_knows_nothing_of_the_clocks_before_it(clock: Clock) -> None:
    """Sound of a moment before its first picture is left out, although by a clock long gone it would lie behind it."""
    splice = Splice(clock)
    old = splice.place(0, Fraction(1000), STEP)
    splice.place(0, Fraction(5), STEP)  # jumped: now there are two clocks
    assert old is not None
    splice.connect()
    stamp = splice.now() + LEAD_SECONDS - old + Fraction(2, 5)
    assert splice.place(0, stamp, STEP) == old - Fraction(2, 5)
    assert splice.place(1, stamp - Fraction(3, 10), STEP) is None


# --- gap --------------------------------------------------------------------------------------------------------------


def test_a_gap_is_filled_in_real_time_and_what_was_missed_is_left_out(clock: Clock) -> None:
    splice = Splice(clock)
    send(splice, clock, 0.0, 10)
    last = frame(10, level=90, duration=1)
    filler = Filler(OnGap.FREEZE, splice, clock)
    assert filler.wait_seconds() is None
    filler.begin(last)
    times = []
    for late in (0.0, 0.0, 0.5, 0.0):
        clock.now += (filler.wait_seconds() or 0.0) + late
        shown = filler.picture()
        assert mean_level(shown) == mean_level(last)
        assert splice.now() >= (shown.pts + shown.duration) * STEP
        assert shown.duration == 1
        times.append(shown.pts)
    steps = [b - a for a, b in itertools.pairwise(times)]
    assert steps[0] == 1
    assert steps[2] >= 12
    splice.connect()
    after = splice.place(0, Fraction(0), STEP)
    assert after is not None
    assert after > times[-1] * STEP
    filler.end()
    assert filler.wait_seconds() is None


def test_a_gap_that_is_seen_late_begins_where_the_wall_clock_is(clock: Clock) -> None:
    """A source that is silent is away only once it was silent for some time."""
    splice = Splice(clock)
    send(splice, clock, 0.0, 10)
    clock.now += 5
    filler = Filler(OnGap.SLATE, splice, clock)
    filler.begin(frame(14, duration=1))
    assert filler.picture().pts * STEP == pytest.approx(float(LEAD_SECONDS) + 10 / 25 + 5, abs=0.05)


def test_what_viewers_have_in_store_is_used_up_first(clock: Clock) -> None:
    splice = Splice(clock)
    for number in range(200):  # eight seconds at once
        splice.place(0, number * STEP, STEP)
    filler = Filler(OnGap.SLATE, splice, clock)
    filler.begin(frame(205, duration=1))
    assert filler.wait_seconds() == pytest.approx(PAUSE_SECONDS)


def test_the_pictures_of_a_gap_rise_from_the_last_one_on(clock: Clock) -> None:
    """Also where they are due between two ticks, and where the source does not say how long a picture lasts."""
    splice = Splice(clock)
    filler = Filler(OnGap.FREEZE, splice, clock)
    splice.reach(Fraction(21, 50))
    filler.begin(frame(9, duration=1))
    assert [filler.picture().pts for _ in range(4)] == [10, 11, 12, 13]
    splice.reach(Fraction(20, 25))
    filler.begin(frame(20, duration=0))
    assert filler.picture().pts == 21


def test_the_slate_has_the_size_of_what_it_stands_in_for(clock: Clock) -> None:
    filler = Filler(OnGap.SLATE, Splice(clock), clock)
    for width, height in ((64, 48), (32, 64)):
        filler.begin(Frame(picture(10, width, height), 1, STEP, 1))
        shown = filler.picture().picture
        assert (shown.width, shown.height) == (width, height)


def test_close_fills_nothing(clock: Clock) -> None:
    filler = Filler(OnGap.CLOSE, Splice(clock), clock)
    filler.begin(frame(1))
    assert filler.wait_seconds() is None
    with pytest.raises(ValueError, match="no gap"):
        filler.picture()


@pytest.mark.parametrize("size", [(64, 48), (320, 240), (1280, 720), (90, 160)])
def test_the_slate_is_dark_with_something_on_it(size: tuple[int, int]) -> None:
    drawn = slate.draw(*size)
    assert drawn.shape == (size[1], size[0], 3)
    assert drawn.mean() < 70
    assert (drawn > 150).any()


def test_a_slate_in_ten_bits_and_odd_size() -> None:
    like = picture(10, 66, 50, "yuv420p10le")
    made = stand_in.painted(like, slate.draw(66, 50))
    assert stand_in.layout(made) == stand_in.layout(like)


@pytest.mark.parametrize(("milliseconds", "rate"), [(0, 25), (40, 25), (40000, 1), (1, 60)])
def test_the_rate_of_a_gap_is_within_reason(milliseconds: int, rate: int) -> None:
    assert rate_of(frame(0, time_base=Fraction(1, 1000), duration=milliseconds)) == rate
