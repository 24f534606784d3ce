"""One form of a live stream's sound by itself: where each packet goes, what overlaps, and how silence fills a gap."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import pytest
from av.audio.stream import AudioStream

from stream_guard.media.live.contract import AudioInfo
from stream_guard.media.live.sound import JUMP_SECONDS, AacTap, Tap, aac_stream
from stream_guard.media.live.units import Unit

RATE = 48000
SAMPLES = 480
"""Of one packet: a hundredth of a second."""
PCM = AudioInfo(1, "pcm_s16le", RATE, "mono", Fraction(1, RATE))
SILENT = (bytes(2 * SAMPLES), SAMPLES)


@pytest.fixture
def stream() -> Iterator[AudioStream]:
    """The AAC stream that units are for; it goes nowhere."""
    with av.open(io.BytesIO(), "w", format="matroska") as out:
        yield aac_stream(out, PCM)


def packet(at: int, samples: int = SAMPLES, base: Fraction = Fraction(1, RATE)) -> av.Packet:
    """Sound from `at` on, in ticks of `base`."""
    made = av.Packet(bytes(2 * samples))
    made.pts = made.dts = at
    made.duration, made.time_base = round(samples / RATE / base), base
    return made


def spans(units: Iterable[Unit]) -> list[tuple[float, float]]:
    """From where to where in samples."""
    return [(float(unit.pts * unit.time_base * RATE), float(unit.end * RATE)) for unit in units]


def test_packets_go_where_they_say(stream: AudioStream) -> None:
    tap = Tap(stream, SILENT, RATE)
    units = [unit for at in (0, 480, 5000) for unit in tap.write(packet(at))]
    assert spans(units) == [(0, 480), (480, 960), (5000, 5480)]
    assert {unit.stream for unit in units} == {stream.index}
    assert not any(unit.key or unit.video for unit in units)


@pytest.mark.parametrize(("at", "shown"), [(480 - 240, [(480, 960)]), (480 - 241, []), (480 - 1, [(480, 960)])])
def test_an_overlap_of_up_to_half_a_packet_is_rounding(
    stream: AudioStream, at: int, shown: list[tuple[float, float]]
) -> None:
    tap = Tap(stream, SILENT, RATE)
    assert spans(tap.write(packet(0))) == [(0, 480)]
    assert spans(tap.write(packet(at))) == shown
    assert tap.left_out == 1 - len(shown)


def test_what_is_moved_is_moved_up_to_the_next_tick(stream: AudioStream) -> None:
    """A third of a second is no whole number of milliseconds: 0.334 is the first that lies behind."""
    tap = Tap(stream, SILENT, RATE)
    assert spans(tap.write(packet(0, 16000))) == [(0, 16000)]
    (moved,) = tap.write(packet(333, base=Fraction(1, 1000)))
    assert (moved.pts, moved.dts) == (334, 334)


def test_a_packet_without_a_time_is_left_out(stream: AudioStream) -> None:
    tap, aac = Tap(stream, SILENT, RATE), AacTap(stream, PCM)
    lost = packet(0)
    lost.pts = lost.dts = None
    for each in (tap, aac):
        assert list(each.write(lost)) == []
        assert each.left_out == 1


def test_one_without_a_length_still_takes_a_tick(stream: AudioStream) -> None:
    tap = Tap(stream, SILENT, RATE)
    short = packet(100)
    short.duration = 0
    assert [(unit.pts, tap.end) for unit in tap.write(short)] == [(100, Fraction(101, RATE))]


def test_silence_goes_on_until_a_packet_begins_at_the_end(stream: AudioStream) -> None:
    """A muxer would hold the picture of that time back for as long as none does."""
    tap = Tap(stream, SILENT, RATE)
    first, until, later = (Fraction(samples, RATE) for samples in (960, 2000, 2400))
    assert spans(tap.silence(first, until)) == [(at, at + 480) for at in (960, 1440, 1920, 2400)]
    assert list(tap.silence(first, until)) == []
    assert spans(tap.silence(first, later)) == []
    assert spans(tap.silence(first, later + Fraction(1, RATE))) == [(2880, 3360)]


def test_silence_begins_where_the_sound_ends_and_is_not_sounded_over(stream: AudioStream) -> None:
    tap = Tap(stream, SILENT, RATE)
    list(tap.write(packet(0)))
    assert spans(tap.silence(Fraction(9), Fraction(960, RATE))) == [(480, 960), (960, 1440)]
    assert spans(tap.write(packet(960))) == []
    assert spans(tap.write(packet(1440))) == [(1440, 1920)]


def test_without_a_silent_packet_there_is_no_silence(stream: AudioStream) -> None:
    assert list(Tap(stream, None, RATE).silence(Fraction(0), Fraction(1))) == []


def fed(tap: AacTap, ats: Iterable[int], samples: int = SAMPLES) -> list[tuple[float, float]]:
    return spans(unit for at in ats for unit in tap.write(packet(at, samples)))


def test_sound_encoded_anew_is_joined_sample_by_sample(stream: AudioStream) -> None:
    """Times that jitter by less than a jump move nothing."""
    near = round(JUMP_SECONDS * RATE)
    ats = [RATE + number * SAMPLES + (near if number % 2 else 0) for number in range(32)]
    encoded = fed(AacTap(stream, PCM), ats)
    assert [begin for begin, _ in encoded[1:]] == [end for _, end in encoded[:-1]]
    assert encoded[-1][1] > RATE + 12 * 1024


@pytest.mark.parametrize(("off", "jumps"), [(0, False), (1, True)])
def test_sound_that_jumps_goes_on_where_it_says(stream: AudioStream, off: int, jumps: bool) -> None:
    """What does not fill a packet of AAC is left behind: 17 packets of 480 samples are 7 of 1024, and 992 over."""
    tap = AacTap(stream, PCM)
    fed(tap, range(RATE, RATE + 17 * SAMPLES, SAMPLES))
    jump = RATE + 17 * SAMPLES + round(JUMP_SECONDS * RATE) + off
    after = [begin for begin, _ in fed(tap, range(jump, jump + 17 * SAMPLES, SAMPLES))]
    assert ((jump in after), (RATE + 7 * 1024 in after)) == (jumps, not jumps)


def test_the_sound_given_is_left_as_it_is(stream: AudioStream) -> None:
    """The other form goes on with the packet itself."""
    given = packet(RATE)
    list(AacTap(stream, PCM).write(given))
    assert (given.pts, given.dts, given.time_base, bytes(given)) == (RATE, RATE, Fraction(1, RATE), bytes(2 * SAMPLES))


@pytest.mark.parametrize(
    ("rate", "layout", "made"),
    [
        (48000, "stereo", (48000, "stereo")),
        (8000, "mono", (8000, "mono")),
        (44100, "5.1", (44100, "5.1")),
        (96000, "quad", (48000, "stereo")),
        (7350, "7.1", (48000, "stereo")),
    ],
)
def test_aac_is_made_at_the_rate_and_layout_that_it_knows(rate: int, layout: str, made: tuple[int, str]) -> None:
    with av.open(io.BytesIO(), "w", format="matroska") as out:
        stream = aac_stream(out, AudioInfo(1, "pcm_s16le", rate, layout, Fraction(1, rate)))
        assert (stream.rate, stream.layout.name) == made
