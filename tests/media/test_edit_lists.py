"""Movies whose edit lists hide a part: what nobody hears or reads in the input is not in the output either."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest

from stream_guard.media import EncoderSettings, transcode
from tests.media.reading import read
from tests.support import media, troubles

QUICK = EncoderSettings(threads=1)
NESTED = (b"moov", b"trak", b"edts")
SECOND = 1000
"""In ticks of a movie's clock, in which an edit's length counts; its start counts in those of its track."""


def boxes(
    data: bytes, start: int, end: int, above: tuple[int, ...] = ()
) -> Iterator[tuple[bytes, int, int, list[int]]]:
    """Kind, place and size of each box on the way to the edit lists, with the places of those that it lies in."""
    while start < end:
        size, kind = struct.unpack_from(">I4s", data, start)
        yield kind, start, size, [*above]
        if kind in NESTED:
            yield from boxes(data, start + 8, start + size, (*above, start))
        start += size


def edited(path: Path, *lists: list[tuple[int, int]]) -> Path:
    """The movie, its index at its end, with these edit lists for its first tracks: (length, start) of each part."""
    data = bytearray(path.read_bytes())
    found = [box for box in boxes(bytes(data), 0, len(data)) if box[0] == b"elst"]
    for (_, place, size, above), edits in reversed([*zip(found, lists, strict=False)]):
        made = b"".join(struct.pack(">IiI", length, start, 1 << 16) for length, start in edits)
        data[place : place + size] = struct.pack(">I4sII", 16 + len(made), b"elst", 0, len(edits)) + made
        for outer in above:
            old = struct.unpack_from(">I", data, outer)[0]
            struct.pack_into(">I", data, outer, old + 16 + len(made) - size)
    target = path.with_name("edited.mp4")
    target.write_bytes(data)
    return target


def samples(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(frame.samples for frame in container.decode(audio=0))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts"])
def test_what_was_cut_out_of_the_middle_is_not_heard_again(suffix: str, tmp_path: Path) -> None:
    """From two seconds, the second from 0.6 s to 1.2 s and a bit is cut out."""
    clip = media.write(tmp_path / "in.mp4", media.Clip(frames=50, options={"bf": "0"}))
    pictures = [(600, 0), (600, 12800 + 2560)]
    sound = [(600, 1024), (600, 1024 + 44100 + 8820)]
    source, target = edited(clip, pictures, sound), tmp_path / f"out{suffix}"
    report = transcode(str(source), str(target), QUICK)[1]
    assert (report.dts_repaired, report.frames) == (0, 30)
    assert samples(target) == samples(source) < 44100 * 1.25
    steps = {round(float(b - a), 2) for a, b in zip(*(read(target).packets[1][i:] for i in (0, 1)), strict=False)}
    assert steps <= {0.02}, "nothing is squeezed in between"


LINES = [(100, 100, "hidden"), (350, 300, "half"), (800, 100, "shown")]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_a_line_that_an_edit_list_hides_moves_nothing(suffix: str, tmp_path: Path) -> None:
    """Half a second is hidden, and begins with a line."""
    clip = troubles.rich(tmp_path, suffix=".mp4", subtitle="mov_text", lines=LINES)
    pictures, sound, text = [(500, 6400)], [(500, 1024 + 22050)], [(500, 500)]
    source, target = edited(clip, pictures, sound, text), tmp_path / f"out{suffix}"
    transcode(str(source), str(target), QUICK)
    assert read(target).video == [round(t * 1000) * Fraction(1, 1000) for t in read(source).video]
    with av.open(str(target)) as container:
        lines = [(p.pts * p.time_base, bytes(p)) for p in container.demux(subtitles=0) if p.size > 2]
    assert min(start for start, _ in lines) >= 0
    assert not any(b"hidden" in words for _, words in lines)


def test_hidden_sound_before_the_first_that_is_heard_stays_hidden(tmp_path: Path) -> None:
    """An edit list may begin at any packet: those before it are written, and hidden anew."""
    clip = media.write(tmp_path / "in.mp4", media.Clip(frames=50, options={"bf": "0"}))
    source = edited(clip, [(1500, 6400)], [(1500, 1024 + 22050)])
    transcode(str(source), str(tmp_path / "out.mp4"), QUICK)
    assert read(tmp_path / "out.mp4").payload[1] == read(source).payload[1]
    assert samples(tmp_path / "out.mp4") == samples(source)


@pytest.mark.parametrize("part", [(1000, 0), (1000, 10 * 512)], ids=["its end", "its start and end"])
def test_a_late_start_of_what_is_cut_is_neither_missing_nor_added_at_the_end(
    part: tuple[int, int], tmp_path: Path
) -> None:
    """FFmpeg counts the pause before the first picture into the duration, or counts what is hidden."""
    clip = media.write(tmp_path / "in.mp4", media.Clip(frames=50, options={"bf": "0"}, audio=()))
    source = edited(clip, [(600, -1), part])
    report = transcode(str(source), str(tmp_path / "out.mkv"), QUICK)[0]
    assert (report.frames, report.truncated) == (25, False)
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.duration == pytest.approx(1.6e6, abs=1000)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_hidden_sound_is_not_heard_in_the_pause_before_a_late_start(suffix: str, tmp_path: Path) -> None:
    """All but the packet that warms up the decoder: the pause is longer than what is hidden."""
    clip = media.write(tmp_path / "in.mp4", media.Clip(frames=50, options={"bf": "0"}))
    source = edited(clip, [(600, -1), (1000, 6400)], [(600, -1), (1000, 1024 + 10 * 1024)])
    assert read(source).packets[1][0] < Fraction(4, 10)
    transcode(str(source), str(tmp_path / f"out{suffix}"), QUICK)
    first = read(tmp_path / f"out{suffix}").packets[1][0]
    assert float(first) == pytest.approx(0.6 - 1024 / 44100, abs=0.001)
