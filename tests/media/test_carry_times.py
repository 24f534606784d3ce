"""Times of what is copied: those that do not rise, those before zero, and those without an end."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import pytest

from stream_guard.media import SinkReport
from stream_guard.media.spans import UNTIL_NEXT_SECONDS
from stream_guard.media.tracks import CopyTrack
from tests.media.reading import read
from tests.support import media, troubles
from tests.support.carried import carried


def test_a_repeated_decoding_time_is_repaired_and_counted(tmp_path: Path) -> None:
    source, target = troubles.duplicate_dts(tmp_path), tmp_path / "out.mp4"
    report = carried(source, target)
    assert report.dts_repaired == 9, "each tenth of 88, and the first, which was moved up to zero"
    times = read(target).packets[1]
    assert len(times) == len(read(source).packets[1]) == report.packets_copied
    assert times == sorted(set(times))


def test_packets_shorter_than_a_tick_do_not_move_what_follows() -> None:
    """Those of TrueHD last 5/6 ms, and Matroska counts in ms: two of them share a time now and then."""
    stream = av.open(io.BytesIO(), "w", format="matroska").add_stream("aac", rate=48000)
    stream.time_base = Fraction(1, 1000)
    track = CopyTrack(stream, report := SinkReport(), from_zero=True)
    track.start()
    sounds = [av.Packet(b"sound") for _ in range(600)]
    for number, sound in enumerate(sounds):
        sound.pts = sound.dts = number * 5 // 6
        sound.duration, sound.time_base = 1, Fraction(1, 1000)
    written = [packet.pts for sound in sounds for packet in track.write(sound)]
    assert (written, report.dts_repaired) == ([number * 5 // 6 for number in range(600)], 0)


def test_a_picture_subtitle_that_stays_until_the_next_ends_no_run(tmp_path: Path) -> None:
    """FFmpeg gives it 2**32 - 1 ms, which the muxer of mp4 refuses."""

    def setup(out: av.container.OutputContainer, video: av.VideoStream) -> None:
        out.add_stream("dvdsub").codec_context.extradata = b"size: 160x120\n"

    def lines(out: av.container.OutputContainer) -> None:
        for start in (100, 700):
            packet = av.Packet(bytes.fromhex("001c000c01000000ff000c01000400000005000000060004000bff"))
            packet.pts = packet.dts = start
            packet.duration, packet.time_base = 2**32 - 1, Fraction(1, 1000)
            packet.stream = out.streams[1]
            out.mux(packet)

    source = media.write(tmp_path / "in.mkv", media.Clip(audio=(), setup=setup, mux_extra=lines))
    carried(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as out:
        shown = [(p.pts * p.time_base, p.duration * p.time_base) for p in out.demux(out.streams[1]) if p.size]
    assert shown == [(Fraction(1, 10), Fraction(6, 10)), (Fraction(7, 10), UNTIL_NEXT_SECONDS)]


def sound_shifted(folder: Path, ticks: int) -> Path:
    """A movie whose edit list hides the first `ticks` (of 1/44100 s) of its sound, beside the encoder's warm-up."""
    plain, path = media.plain(folder), folder / "early.mp4"
    with av.open(str(plain)) as source, av.open(str(path), "w") as out:
        copies = {s.index: out.add_stream_from_template(s, opaque=True) for s in source.streams}
        for packet in source.demux():
            if packet.size:
                early = ticks if packet.stream.type == "audio" else 0
                packet.pts, packet.dts = packet.pts - early, packet.dts - early
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_sound_that_reaches_beyond_zero_is_kept_where_no_time_lies_before_it(suffix: str, tmp_path: Path) -> None:
    source, target = sound_shifted(tmp_path, 512), tmp_path / f"out{suffix}"
    report = carried(source, target)
    before, after = read(source), read(target)
    assert (before.packets[1][1], after.packets[1][0]) == (Fraction(-512, 44100), 0)
    assert len(after.payload[1]) == len(before.payload[1]) - 1, "the warm-up lies before zero altogether"
    assert float(after.packets[1][1]) == pytest.approx(512 / 44100, abs=0.001), "what follows stays where it was"
    assert (report.packets_left_out, report.sound_left_out_seconds) == (1, 0)


def test_sound_that_an_edit_list_hides_is_no_loss(tmp_path: Path) -> None:
    report = carried(sound_shifted(tmp_path, 10 * 1024), tmp_path / "out.mkv")
    assert (report.packets_left_out, report.sound_left_out_seconds) == (11, 0)


def test_sound_before_zero_that_would_have_been_heard_is_counted(tmp_path: Path) -> None:
    report = SinkReport()
    track = CopyTrack(
        av.open(io.BytesIO(), "w", format="matroska").add_stream("aac", rate=44100), report, from_zero=True
    )
    track.start()
    for start in range(-5120, 0, 1024):
        sound = av.Packet(b"sound")
        sound.pts = sound.dts = start
        sound.duration, sound.time_base = 1024, Fraction(1, 44100)
        assert list(track.write(sound)) == []
    assert report.packets_left_out == 5
    assert report.sound_left_out_seconds == pytest.approx(5120 / 44100)


def test_the_warm_up_of_an_encoder_is_no_loss(tmp_path: Path) -> None:
    report = carried(media.plain(tmp_path), tmp_path / "out.mkv")
    assert (report.packets_left_out, report.sound_left_out_seconds) == (1, 0)


def test_the_first_packet_of_vorbis_stays_for_the_second_cannot_be_decoded_without() -> None:
    """In an Ogg file it lies before zero. It gives no sound of its own."""
    report = SinkReport()
    stream = av.open(io.BytesIO(), "w", format="matroska").add_stream("vorbis", rate=44100)
    track = CopyTrack(stream, report, from_zero=True)
    track.start()
    written = []
    for start, duration in ((-1152, 1024), (-128, 128), (0, 576)):
        sound = av.Packet(b"sound")
        sound.pts = sound.dts = start
        sound.duration, sound.time_base = duration, Fraction(1, 44100)
        written += track.write(sound)
    assert [(packet.pts, packet.dts) for packet in written] == [(0, 0), (0, 0)]
    assert (report.packets_left_out, report.dts_repaired) == (1, 0)


def test_a_line_that_begins_before_zero_is_shown_from_zero(tmp_path: Path) -> None:
    stream = av.open(io.BytesIO(), "w", format="matroska").add_stream("subrip")
    stream.time_base = Fraction(1, 1000)
    track = CopyTrack(stream, SinkReport(), from_zero=True)
    track.start()
    line = av.Packet(b"Hello")
    line.pts = line.dts = -300
    line.duration, line.time_base = 1000, Fraction(1, 1000)
    (written,) = track.write(line)
    assert (written.pts, written.duration) == (0, 700)
