"""A cover is mostly a picture of the video: where faces are protected, they are in it too, or it stays away."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from av.stream import Disposition

from stream_guard.config import Override, load_pipeline
from stream_guard.errors import StageError
from stream_guard.media import CopiedPacket, EncoderSettings, SinkReport, open_source, transcode
from stream_guard.media.carry import Carrier
from stream_guard.media.containers import container_for
from stream_guard.media.sink import FileSink
from stream_guard.media.stills import Guard, guarded
from stream_guard.outcome import RunReport
from stream_guard.protect import protect_file
from stream_guard.types import Box, Face, Frame
from tests.media.reading import read
from tests.support import media, scenes, troubles

QUICK = EncoderSettings(preset="ultrafast", threads=1)
FACE = Face(1, Box(10, 10, 60, 60), 0.9)


def protected(source: Path, target: Path, *overrides: Override) -> RunReport:
    return protect_file(source, target, load_pipeline("protect", list(overrides)), encoder=QUICK)


def cover(path: Path) -> tuple[Any, bytes] | None:
    """(picture, payload) of the cover in the file."""
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size and packet.stream.disposition & Disposition.attached_pic:
                (picture,) = packet.decode()
                return picture.to_ndarray(format="rgb24").astype(int), bytes(packet)
    return None


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_cover_without_a_face_is_copied(suffix: str, tmp_path: Path) -> None:
    source = troubles.cover_art(tmp_path, sleeve=scenes.sleeve(tmp_path / "sleeve.jpg", face=False))
    assert protected(source, tmp_path / f"out{suffix}").warnings == ()
    assert read(tmp_path / f"out{suffix}").payload[2] == read(source).payload[2]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_a_cover_with_a_face_is_protected(kind: str, suffix: str, tmp_path: Path) -> None:
    source = troubles.cover_art(tmp_path, sleeve=scenes.sleeve(tmp_path / f"sleeve{kind}", face=True))
    report = protected(source, tmp_path / f"out{suffix}")
    codec = {".jpg": "mjpeg", ".png": "png"}[kind]
    words = f"video stream #2 ({codec}) is a cover, and it shows a face: it is protected and encoded anew"
    assert report.warnings == (words,)
    assert (report.frames_out, report.faces) == (30, 0), "a cover is no picture of the video"
    before, after = cover(source), cover(tmp_path / f"out{suffix}")
    assert before is not None
    assert after is not None
    difference = abs(before[0] - after[0])
    assert difference[100:200, 115:195].mean() > 2
    assert difference[:20].mean() < 0.5


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_cover_whose_face_can_not_be_protected_is_left_out(suffix: str, tmp_path: Path) -> None:
    source = troubles.cover_art(tmp_path, sleeve=scenes.sleeve(tmp_path / "sleeve.jpg", face=True))
    huge = Override("disrupt.min_face", 4096, "--set disrupt.min_face=4096")
    (words,) = protected(source, tmp_path / f"out{suffix}", huge).warnings
    assert words.endswith("it is a cover, and it shows a face that could not be protected (too_small)")
    assert "is left out of the" in words
    assert cover(tmp_path / f"out{suffix}") is None


def payload(folder: Path, name: str, *, face: bool = True) -> bytes:
    return scenes.sleeve(folder / name, face=face).read_bytes()


def finds(*faces: Face, known: bool = True) -> Guard:
    return lambda frame: Frame(frame.picture, 0, Fraction(1), 0, faces=faces, faces_known=known)


def fails(frame: Frame) -> Frame:
    raise StageError("disrupt", 0.0, RuntimeError("no more"))


@pytest.mark.parametrize(
    ("name", "codec", "guard", "words"),
    [
        ("a.bmp", "bmp", finds(FACE.protected()), "it shows a face, and it can't be encoded anew as it was"),
        ("a.jpg", "mjpeg", finds(known=False), "nobody looked for faces in it"),
        ("a.jpg", "mjpeg", fails, "it can't be protected: "),
        ("a.jpg", "gif", finds(), "can't be decoded here, so nobody knows"),
        ("a.jpg", "png", finds(), "can't be decoded here, so nobody knows"),
    ],
)
def test_what_nobody_can_answer_for_is_left_out(
    name: str, codec: str, guard: Guard, words: str, tmp_path: Path
) -> None:
    still = guarded(codec, payload(tmp_path, name), 2, guard)
    assert still.payload is None
    assert words in still.words


def test_a_cover_that_is_not_there_or_cut_off_is_left_out(tmp_path: Path) -> None:
    assert guarded("mjpeg", None, 2, finds()).payload is None
    assert guarded("png", payload(tmp_path, "a.png")[:5000], 2, finds()).payload is None


def test_a_bmp_without_a_face_is_copied(tmp_path: Path) -> None:
    data = payload(tmp_path, "a.bmp", face=False)
    assert guarded("bmp", data, 2, finds()).payload == data


def test_what_a_demuxer_says_later_of_a_cover_is_not_written(tmp_path: Path) -> None:
    """Only the picture that was looked at."""
    source = troubles.cover_art(tmp_path)
    with (
        open_source(str(source)) as opened,
        FileSink(str(tmp_path / "out.mp4"), opened, QUICK, guard=finds()) as sink,
    ):
        for item in opened.read():
            if isinstance(item, Frame):
                sink.write(item)
            elif item.stream == 2:
                packet = av.Packet(payload(tmp_path, "other.jpg"))
                packet.pts, packet.time_base = item.packet.pts, item.packet.time_base
                sink.write_packet(CopiedPacket(packet, 2))
                sink.write_packet(item)
            else:
                sink.write_packet(item)
    assert read(tmp_path / "out.mp4").payload[2] == read(source).payload[2]


def test_a_picture_among_the_attachments_is_left_out(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(media.plain(tmp_path))) as plain, av.open(str(source), "w") as out:
        copies = {s.index: out.add_stream_from_template(s, opaque=True) for s in plain.streams}
        out.add_attachment("face.webp", "image/webp", b"RIFF")
        out.add_attachment("face.jpg", "application/octet-stream", b"\xff\xd8")
        out.add_attachment("notes.txt", "text/plain", b"notes")
        for packet in plain.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
    assert transcode(str(source), str(tmp_path / "plain.mkv"), QUICK)[1].warnings == []
    first, second = protected(source, tmp_path / "out.mkv").warnings
    assert "attachment stream #2" in first
    assert "attachment stream #3" in second
    assert "it is a picture, and nobody knows whether it shows a face" in first
    with av.open(str(tmp_path / "out.mkv")) as made:
        assert [s.name for s in made.streams if s.type == "attachment"] == ["notes.txt"]


def test_timed_thumbnails_are_left_out(tmp_path: Path) -> None:
    report = SinkReport()
    with (
        open_source(str(troubles.cover_art(tmp_path))) as source,
        av.open(str(tmp_path / "out.mp4"), "w") as out,
    ):
        stream = source.container.streams[2]
        stream.disposition = Disposition.attached_pic | Disposition.timed_thumbnails
        assert Carrier(out, container_for("out.mp4"), source, report, finds()).carry(stream) is None
    assert "only the video itself is protected" in report.warnings[0]
