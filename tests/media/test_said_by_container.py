"""What a container says of its video, and neither pictures nor PyAV repeat, is told where it is lost."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import pytest

from stream_guard.media import EncoderSettings, inner, transcode
from stream_guard.media.inner import beside_stream
from tests.support import media

QUICK = EncoderSettings(preset="ultrafast", threads=1)


def box(kind: bytes, *parts: bytes) -> bytes:
    return struct.pack(">I4s", 8 + sum(map(len, parts)), kind) + b"".join(parts)


def aperture(width: int, height: int, up: int) -> bytes:
    """A clean aperture whose centre lies `up` half pixels above that of the picture."""
    return box(b"clap", struct.pack(">8i", width, 1, height, 1, 0, 1, -up, 2))


def dolby_vision(profile: int, compatible: int) -> bytes:
    return box(b"dvcC", bytes([1, 0, profile << 1, 1 << 3 | 0b101, compatible << 4]), bytes(19))


def said(folder: Path, added: bytes) -> Path:
    """A movie of 160x120 with one more box in its video's sample entry."""
    path = media.plain(folder, frames=3)
    data = bytearray(path.read_bytes())
    # The index stands behind the pictures, so nothing else has to be moved.
    places, begin = [], 0
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        begin = data.index(kind, begin) + 4
        places.append(begin - 8)
    end = places[-1] + int.from_bytes(data[places[-1] : places[-1] + 4], "big")
    data[end:end] = added
    for place in places:
        size = int.from_bytes(data[place : place + 4], "big") + len(added)
        data[place : place + 4] = size.to_bytes(4, "big")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("added", "words"),
    [
        (b"", ""),
        (aperture(160, 120, 0), ""),
        (aperture(140, 100, 0), "(10 at the top, 10 at the bottom, 10 at the left, 10 at the right, in pixels)"),
        (aperture(160, 100, 20), "(20 at the bottom, in pixels)"),
        (dolby_vision(5, 0), "Dolby Vision of profile 5"),
        (dolby_vision(8, 4), ""),
        (box(b"amve", struct.pack(">IHH", 3140000, 15635, 16450)), "ambient viewing environment"),
        (box(b"vexu", box(b"eyes", box(b"stri", bytes(4), b"\3"))), "it becomes flat"),
    ],
)
def test_what_is_lost_is_named(added: bytes, words: str, tmp_path: Path) -> None:
    warnings = transcode(str(said(tmp_path, added)), str(tmp_path / "out.mp4"), QUICK)[1].warnings
    assert [words in told for told in warnings] == [True] * bool(words)


def test_a_stream_laid_out_in_another_way_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with av.open(str(said(tmp_path, dolby_vision(5, 0)))) as source:
        assert len(beside_stream(source.streams.video[0])) == 1
        monkeypatch.setattr(inner, "_pointer", lambda _: 0)
        assert beside_stream(source.streams.video[0]) == {}
