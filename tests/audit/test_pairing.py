"""Frames are paired by their exact times, whatever clock their container keeps."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_guard.audit.pairing import Pairing, tolerance


@dataclass(frozen=True)
class Tick:
    pts: int
    time_base: Fraction


def ticks(times: list[Fraction], base: Fraction) -> list[Tick]:
    """The times on a container's own clock, rounded as FFmpeg rounds."""
    return [Tick(round(time / base), base) for time in times]


MP4, MKV, TS = Fraction(1, 12800), Fraction(1, 1000), Fraction(1, 90000)


def pair(
    *versions: list[Tick], interval: Fraction | None = Fraction(1, 25)
) -> tuple[list[tuple[Tick, ...]], Pairing[Tick]]:
    bases = [version[0].time_base for version in versions]
    pairing = Pairing(versions[0], versions[1:], tolerance(bases, interval))
    return list(pairing), pairing


def test_the_same_times_pair_in_order() -> None:
    times = [Fraction(i, 25) for i in range(5)]
    pairs, pairing = pair(ticks(times, MP4), ticks(times, MP4))
    assert [a.pts for a, b in pairs] == [b.pts for a, b in pairs] == [0, 512, 1024, 1536, 2048]
    assert pairing.unpaired == [0, 0]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40), st.sampled_from([MP4, MKV, TS]))
def test_variable_rate_survives_the_rounding_of_another_clock(steps: list[int], base: Fraction) -> None:
    times = [Fraction(0)]
    for step in steps:
        times.append(times[-1] + Fraction(step * 5, 1001))  # 5 ms and more apart, on no clock's tick
    pairs, pairing = pair(ticks(times, TS), ticks(times, base), interval=Fraction(5, 1001))
    assert len(pairs) == len(times)
    assert pairing.unpaired == [0, 0]


@pytest.mark.parametrize("shift", [-1, 1])
def test_half_a_tick_is_near_enough_on_either_side(shift: int) -> None:
    half = [Tick(45 + 3600 * i, TS) for i in range(4)]  # half a millisecond past one
    rounded = [Tick(40 * i + (shift > 0), MKV) for i in range(4)]
    pairs, pairing = pair(half, rounded, interval=None)
    assert len(pairs) == 4
    assert pairing.unpaired == [0, 0]


def test_a_muxer_that_cuts_instead_of_rounding_still_pairs() -> None:
    times = [Fraction(i * 1001, 30000) for i in range(30)]
    cut = [Tick(int(time / MKV), MKV) for time in times]
    pairs, _ = pair(ticks(times, TS), cut, interval=Fraction(1001, 30000))
    assert len(pairs) == 30


def test_missing_frames_are_counted_on_their_own_side() -> None:
    times = [Fraction(i, 25) for i in range(6)]
    original, protected = ticks(times[:5], MP4), ticks([times[0], *times[2:]], MKV)
    pairs, pairing = pair(original, protected)
    assert [a.pts * a.time_base for a, _ in pairs] == [times[0], *times[2:5]]
    assert pairing.unpaired == [1, 1]  # the original's second frame; the protected one's last


def test_three_versions_need_all_three() -> None:
    times = [Fraction(i, 25) for i in range(4)]
    pairs, pairing = pair(ticks(times, MP4), ticks(times, MP4), ticks(times[2:], MP4))
    assert len(pairs) == 2
    assert pairing.unpaired == [2, 2, 0]


def test_nothing_pairs_where_the_clock_was_moved() -> None:
    times = [Fraction(i, 25) for i in range(4)]
    moved = [time + Fraction(1, 50) for time in times]
    pairs, pairing = pair(ticks(times, MP4), ticks(moved, MP4))
    assert pairs == []
    assert pairing.unpaired == [4, 4]
    assert pairing.first_times == [0, Fraction(1, 50)]


def test_the_tolerance_never_reaches_the_next_frame() -> None:
    coarse = Fraction(1, 25)
    assert tolerance([coarse, MP4], Fraction(1, 25)) <= coarse / 2
    assert tolerance([MKV, TS], Fraction(1, 25)) == MKV
    assert tolerance([MKV], None) == MKV / 2
