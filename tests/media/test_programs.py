"""The programs of a transport stream, on tables written by hand: PyAV writes but one."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from stream_guard.media import EncoderSettings, transcode
from stream_guard.media.programs import merged_programs, programs_of
from tests.support import media

QUICK = EncoderSettings(preset="ultrafast", threads=1)


def packet(pid: int, section: bytes) -> bytes:
    return (bytes([0x47, 0x40 | pid >> 8, pid & 0xFF, 0x10, 0]) + section).ljust(188, b"\xff")


def section(kind: int, body: bytes) -> bytes:
    """A table with five bytes of head behind its length, and a check sum that nobody reads here."""
    return bytes([kind, 0xB0, 5 + len(body) + 4, 0, 1, 0xC1, 0, 0]) + body + b"\0\0\0\0"


def tables(programs: dict[int, list[int]]) -> bytes:
    """An association table, and the map of each program with its streams."""
    places = {number: 0x1000 + number for number in programs}
    pairs = b"".join(bytes([0, n, 0xE0 | p >> 8, p & 0xFF]) for n, p in places.items())
    found = packet(0, section(0, b"\0\0\xe0\x10" + pairs))
    for number, streams in programs.items():
        listed = b"".join(bytes([0x1B, 0xE0 | pid >> 8, pid & 0xFF, 0xF0, 0]) for pid in streams)
        found += packet(places[number], section(2, b"\xe1\x00\xf0\x00" + listed))
    return found


@pytest.mark.parametrize("stride", [188, 192, 204])
def test_programs_and_their_streams(stride: int) -> None:
    wanted = {1: [256, 257], 2: [258], 9: [300, 301, 302]}
    plain = tables(wanted) * 4
    before = 4 if stride == 192 else 0  # The time stands before the packet, a check sum behind it.
    pieces = [plain[i : i + 188] for i in range(0, len(plain), 188)]
    data = b"".join(bytes(before) + piece + bytes(stride - 188 - before) for piece in pieces)
    assert programs_of(data) == {number: set(streams) for number, streams in wanted.items()}


@pytest.mark.parametrize("data", [b"", b"\x47", b"no tables at all " * 100, bytes([0x47]) * 2000])
def test_what_has_no_tables_has_no_programs(data: bytes) -> None:
    assert programs_of(data) == {}


def test_programs_that_are_merged_are_named(tmp_path: Path) -> None:
    """The tables of a real stream, with those of a broadcast before them."""
    plain = media.plain(tmp_path, suffix=".ts")
    path = tmp_path / "several.ts"
    for programs, words in (({1: [256], 2: [257]}, "holds 2 programs"), ({1: [256, 257], 2: [999]}, "")):
        path.write_bytes(tables(programs) + plain.read_bytes())
        with av.open(str(plain)) as source:
            assert {stream.id for stream in source.streams} == {256, 257}
            said = merged_programs(source, str(path))
        assert words in said
        assert bool(said) == bool(words)


def test_one_program_is_no_loss(tmp_path: Path) -> None:
    assert transcode(str(media.plain(tmp_path, suffix=".ts")), str(tmp_path / "out.ts"), QUICK)[1].warnings == []
