"""Pictures that bring along what PyAV has no name for, as photographs joined into a video bring their EXIF."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import pytest

from stream_guard.media import open_source, transcode
from stream_guard.media.orientation import orientation_of
from stream_guard.media.side_data import display_matrix, kinds
from stream_guard.types import UPRIGHT, Orientation
from tests.support import media

ORIENTATION = 0x0112
"""EXIF's tag; its values are 1 upright, 2 mirrored, 3 upside down, 6 and 8 turned, 5 and 7 turned and mirrored."""


def photographs(folder: Path, orientation: int) -> Path:
    """JPEG pictures, each with EXIF, as `ffmpeg -i %d.jpg -c copy` joins them."""
    plain = media.write(folder / "plain.mov", media.Clip(frames=3, codec="mjpeg", pix_fmt="yuvj420p", audio=()))
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, ORIENTATION, 3, 1, orientation, 0)
    exif = b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff
    path = folder / f"exif-{orientation}.mov"
    with av.open(str(plain)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                made = av.Packet(bytes(packet)[:2] + exif + bytes(packet)[2:])
                made.pts, made.dts, made.time_base, made.stream = packet.pts, packet.dts, packet.time_base, stream
                made.duration, made.is_keyframe = packet.duration, True
                out.mux(made)
    return path


def first(path: Path) -> av.VideoFrame:
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1, UPRIGHT), (2, Orientation(0, True)), (3, Orientation(2)), (6, Orientation(3)), (5, Orientation(3, True))],
)
def test_what_stands_beside_the_unknown_is_read(value: int, shown: Orientation, tmp_path: Path) -> None:
    picture = first(photographs(tmp_path, value))
    assert any(kind.startswith("UNKNOWN_") for kind in kinds(picture))
    assert "DISPLAYMATRIX" in kinds(picture)
    assert orientation_of(picture) == shown


@pytest.mark.parametrize("suffix", [".webm", ".mov"])
def test_how_the_picture_is_shown_stays(suffix: str, tmp_path: Path) -> None:
    source, target = photographs(tmp_path, 5), tmp_path / f"out{suffix}"
    assert transcode(str(source), str(target))[1].warnings == []
    with open_source(str(target)) as out:
        assert orientation_of(out.first_picture(0)) == Orientation(3, True)
        assert display_matrix(out.first_picture(0)) == display_matrix(first(source))


@pytest.mark.parametrize(("value", "words"), [(1, ""), (2, "mirrored"), (6, "turned by -90 degrees")])
def test_what_cannot_be_said_is_told_as_it_is(value: int, words: str, tmp_path: Path) -> None:
    told = transcode(str(photographs(tmp_path, value)), str(tmp_path / "out.ts"))[1].warnings
    assert words in " ".join(told)
    assert len(told) == bool(words)
