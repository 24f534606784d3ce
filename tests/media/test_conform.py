"""A source that changes its colours' meaning or its fields in mid-stream: one stream can say only one of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange

from stream_guard.media import EncoderSettings, LiveSink, open_live, open_source, transcode
from stream_guard.types import Frame
from tests.support import media, troubles
from tests.support.tagged import BLUE, HEIGHT, RED, WIDTH, clip, luma

FINE = EncoderSettings(preset="ultrafast", options={"qp": "4"}, threads=1)


def colour_at(picture: av.VideoFrame, x: int, row: int, matrix: int, full: bool) -> list[int]:
    """R, G and B of a pixel of yuv(j)420p, by H.273."""
    planes = [np.frombuffer(p, np.uint8).reshape(-1, p.line_size) for p in picture.planes]
    (kr, kb), ranges = luma(matrix), (255, 0, 255) if full else (219, 16, 224)
    y = (int(planes[0][row, x]) - ranges[1]) / ranges[0]
    cb, cr = ((int(p[row // 2, x // 2]) - 128) / ranges[2] for p in planes[1:])
    r, b = y + (2 - 2 * kr) * cr, y + (2 - 2 * kb) * cb
    return [round(255 * c) for c in (r, (y - kr * r - kb * b) / (1 - kr - kb), b)]


def shown(path: Path) -> list[tuple[list[int], ...]]:
    """The two colours of each picture, as a player that believes the first picture's tags would show them."""
    with av.open(str(path)) as container:
        pictures = list(container.decode(video=0))
    meaning = int(pictures[0].colorspace), pictures[0].color_range == ColorRange.JPEG
    return [tuple(colour_at(p, WIDTH // 2, row, *meaning) for row in (20, HEIGHT - 20)) for p in pictures]


CHANGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"full": True}),
    ({"full": True}, {}),
    ({"matrix": 1}, {"matrix": 6}),
    ({"matrix": 9}, {"matrix": 1}),
    ({"matrix": 1}, {"matrix": 9}),
    ({"matrix": 9, "full": True}, {"matrix": 6}),
    ({"matrix": 1}, {"matrix": 5, "full": True, "size": (80, 60)}),
]


@pytest.mark.parametrize(("first", "second"), CHANGES)
@pytest.mark.parametrize("codec", ["libx264", "mjpeg"])
def test_colours_stay_what_they_were_and_it_is_said_once(
    codec: str, first: dict[str, Any], second: dict[str, Any], tmp_path: Path
) -> None:
    data = clip(tmp_path / "a.ts", **first) + 2 * clip(tmp_path / "b.ts", **second)
    (tmp_path / "both.ts").write_bytes(data)
    settings = FINE if codec == "libx264" else EncoderSettings(codec, bit_rate=20_000_000)
    warnings = transcode(str(tmp_path / "both.ts"), str(tmp_path / "out.mkv"), settings)[1].warnings
    found = shown(tmp_path / "out.mkv")
    assert len(found) == 24
    assert np.abs(np.array(found, int) - np.array([RED, BLUE])).max() <= 6
    (said,) = warnings
    assert "range or matrix of the colours changes" in said
    assert said.endswith("those pictures are converted to the first")


def test_equal_names_of_one_matrix_and_missing_tags_are_no_change(tmp_path: Path) -> None:
    data = clip(tmp_path / "a.ts", matrix=6, curve=6) + clip(tmp_path / "b.ts", matrix=5) + clip(tmp_path / "c.ts", 2)
    (tmp_path / "all.ts").write_bytes(data)
    assert transcode(str(tmp_path / "all.ts"), str(tmp_path / "out.mp4"), FINE)[1].warnings == []


def test_high_definition_and_an_untagged_small_part_differ_as_players_guess(tmp_path: Path) -> None:
    data = clip(tmp_path / "a.ts", 2, size=(96, 720)) + clip(tmp_path / "b.ts", 2, size=(96, 360))
    (tmp_path / "both.ts").write_bytes(data)
    (said,) = transcode(str(tmp_path / "both.ts"), str(tmp_path / "out.mp4"), FINE)[1].warnings
    assert "limited range, matrix 1 of H.273 before, limited range, matrix 5 of H.273 there" in said


def test_a_change_to_hdr_is_said_with_its_time(tmp_path: Path) -> None:
    (tmp_path / "both.ts").write_bytes(clip(tmp_path / "a.ts") + 2 * clip(tmp_path / "b.ts", curve=16))
    (said,) = transcode(str(tmp_path / "both.ts"), str(tmp_path / "out.mp4"), FINE)[1].warnings
    assert "changes from SDR to PQ" in said
    with open_source(str(tmp_path / "both.ts")) as source:
        ninth = [item for item in source.read() if isinstance(item, Frame)][8]
    assert f"at {ninth.time_seconds:.3f} s" in said


def test_a_matrix_that_cannot_be_converted_is_said(tmp_path: Path) -> None:
    (tmp_path / "both.ts").write_bytes(clip(tmp_path / "a.ts") + _retagged(clip(tmp_path / "b.ts"), tmp_path, 8))
    (said,) = transcode(str(tmp_path / "both.ts"), str(tmp_path / "out.mp4"), FINE)[1].warnings
    assert re.search(r"matrix 8 of H.273 there\); those pictures will look wrong: cut the input", said)


def test_a_matrix_that_swscale_does_not_know_keeps_its_samples_and_tag(tmp_path: Path) -> None:
    (tmp_path / "in.ts").write_bytes(_retagged(clip(tmp_path / "b.ts"), tmp_path, 8))
    settings = EncoderSettings("ffv1", pix_fmt="yuv422p")
    assert transcode(str(tmp_path / "in.ts"), str(tmp_path / "out.mkv"), settings)[1].warnings == []
    pictures = []
    for name in ("in.ts", "out.mkv"):
        with av.open(str(tmp_path / name)) as container:
            pictures.append(next(container.decode(video=0)))
    assert [int(picture.colorspace) for picture in pictures] == [8, 8]
    for plane in range(3):
        first = [np.frombuffer(p.planes[plane], np.uint8)[: WIDTH // 2].astype(int) for p in pictures]
        assert np.abs(first[0] - first[1]).max() <= 1


def _retagged(data: bytes, folder: Path, matrix: int) -> bytes:
    path, made = folder / "before.ts", folder / "retagged.ts"
    path.write_bytes(data)
    with av.open(str(path)) as source, av.open(str(made), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"qp": "4"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.colorspace = matrix
        for picture in source.decode(video=0):
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return made.read_bytes()


def test_fields_that_begin_in_mid_stream_are_said_once(tmp_path: Path) -> None:
    progressive = media.write(tmp_path / "p.ts", media.Clip(frames=12, audio=()))
    interlaced = troubles.interlaced(tmp_path, suffix=".ts")
    (tmp_path / "both.ts").write_bytes(progressive.read_bytes() + interlaced.read_bytes())
    (said,) = transcode(str(tmp_path / "both.ts"), str(tmp_path / "out.mp4"), FINE)[1].warnings
    assert "was not at its start: it is stored as whole frames" in said
    (tmp_path / "both.ts").write_bytes(interlaced.read_bytes() + progressive.read_bytes())
    assert transcode(str(tmp_path / "both.ts"), str(tmp_path / "out2.mp4"), FINE)[1].warnings == []


def test_a_live_stream_says_it_when_it_comes(tmp_path: Path) -> None:
    path, said = media.plain(tmp_path, frames=6), list[str]()
    with open_live(str(path), allow_files=True) as source:
        frames = [item for item in source.read() if isinstance(item, Frame)]
        record, keep = str(tmp_path / "r.mkv"), {"warning": said}
        sink = LiveSink(source, [], record=record, on_event=lambda kind, words, **_: keep.get(kind, []).append(words))
    with sink:
        sink.write(frames[0])
        assert said == []
        for frame in frames[1:]:
            frame.picture.color_range = 2
            sink.write(frame)
    assert len(said) == len(sink.report.warnings) == 1
    assert "full range" in said[0]


@pytest.mark.parametrize(("codec", "suffix"), [("mpeg4", ".mp4"), ("prores_ks", ".mov")])
@pytest.mark.parametrize(("like", "pix_fmt"), [("mjpeg", "yuvj420p"), ("ffv1", "gray")])
def test_full_range_stays_as_bright_where_an_encoder_cannot_say_it(
    like: str, pix_fmt: str, codec: str, suffix: str, tmp_path: Path
) -> None:
    source, target = troubles.pixels(tmp_path, pix_fmt, codec=like, suffix=".mkv", frames=2), tmp_path / f"out{suffix}"
    transcode(str(source), str(target), EncoderSettings(codec, crf=1 if codec == "mpeg4" else None, threads=1))
    lumas = []
    for path in (source, target):
        with av.open(str(path)) as container:
            picture = next(container.decode(video=0))
        full = 2 in (picture.color_range, 1 + (picture.format.name in ("gray", "yuvj420p")))
        plane = np.frombuffer(picture.planes[0], "u2" if "10" in picture.format.name else "u1").reshape(HEIGHT, -1)
        luma = plane[:, :WIDTH] / (4 if "10" in picture.format.name else 1)
        lumas.append(luma / 255 if full else (luma - 16) / 219)
    assert np.abs(lumas[0] - lumas[1]).mean() < 0.012
