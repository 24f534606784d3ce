"""Pixels, colour, shape and turn of the picture are what they were, as far as the codec can say it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stream_guard.media import EncoderSettings, VideoInfo, open_source, transcode
from stream_guard.media.hdr import StaticHdr, static_hdr
from stream_guard.media.side_data import display_matrix
from tests.support import media, troubles
from tests.support.pictures import raw_samples

QUICK = EncoderSettings(preset="ultrafast", threads=1)
LOSSLESS = EncoderSettings(preset="ultrafast", options={"qp": "0"}, threads=1)


def info(path: Path) -> VideoInfo:
    with open_source(str(path)) as source:
        return source.info.video


def content(picture: av.VideoFrame) -> bytes:
    """Every colour sample. PyAV 17 turns fewer formats into arrays."""
    return b"".join(samples.tobytes() for samples in raw_samples(picture).values())


def planes(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [content(frame) for frame in container.decode(video=0)]


def both(source: Path, target: Path, settings: EncoderSettings = QUICK) -> tuple[VideoInfo, VideoInfo, list[str]]:
    warnings = transcode(str(source), str(target), settings)[1].warnings
    return info(source), info(target), warnings


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "nv12", "yuvj420p"])
def test_depth_and_chroma_stay_and_lossless_is_exact(pix_fmt: str, tmp_path: Path) -> None:
    source, target = troubles.pixels(tmp_path, pix_fmt), tmp_path / "out.mp4"
    was, now, warnings = both(source, target, LOSSLESS)
    assert (now.pix_fmt, now.width, now.height) == (was.pix_fmt, was.width, was.height)
    assert warnings == []
    assert planes(target) == planes(source)


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix"),
    [("libx265", "yuv420p10le", ".mp4"), ("prores_ks", "yuv422p10le", ".mov"), ("mpeg4", "yuv420p", ".mp4")],
)
def test_other_codecs_come_out_exactly(codec: str, pix_fmt: str, suffix: str, tmp_path: Path) -> None:
    options = {"x265-params": "log-level=error"} if codec == "libx265" else {}
    source = troubles.pixels(tmp_path, pix_fmt, codec=codec, suffix=suffix, frames=4, options=options)
    both(source, tmp_path / f"out{suffix}", LOSSLESS)
    assert planes(tmp_path / f"out{suffix}") == planes(source)


def test_av1_is_read_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVT_LOG", "1")
    source = troubles.pixels(tmp_path, "yuv420p10le", frames=4)
    _, now, warnings = both(source, tmp_path / "out.webm", EncoderSettings(preset="11", threads=1))
    assert (now.codec, now.pix_fmt, warnings) == ("av1", "yuv420p10le", []), "VP9 here would lose two bits"
    _, again, _ = both(tmp_path / "out.webm", tmp_path / "out.mkv")
    assert (again.codec, again.pix_fmt) == ("h264", "yuv420p10le")


def test_an_odd_size_is_kept(tmp_path: Path) -> None:
    source = troubles.odd_sized(tmp_path)
    _, webm, quiet = both(source, tmp_path / "out.webm", EncoderSettings(threads=1))
    assert (webm.width, webm.height, webm.pix_fmt, quiet) == (161, 121, "yuv420p", [])
    _, mp4, warnings = both(source, tmp_path / "out.mp4")
    assert (mp4.width, mp4.height, mp4.pix_fmt) == (161, 121, "yuv444p")
    assert "odd size" in warnings[0]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_rotation_is_carried(degrees: int, suffix: str, tmp_path: Path) -> None:
    source, target = troubles.rotated(tmp_path, degrees), tmp_path / f"out{suffix}"
    was, now, warnings = both(source, target)
    assert abs(was.rotation) == abs(degrees)
    assert (now.rotation, warnings) == (was.rotation, [])
    with open_source(str(source)) as a, open_source(str(target)) as b:
        assert display_matrix(b.first_picture(0)) == display_matrix(a.first_picture(0))


def test_a_mirrored_picture_stays_mirrored(tmp_path: Path) -> None:
    setup = lambda out, video: video.set_display_rotation(0, hflip=True)  # noqa: E731
    source = media.write(tmp_path / "in.mp4", media.Clip(frames=4, audio=(), setup=setup))
    both(source, tmp_path / "out.mp4")
    with open_source(str(tmp_path / "out.mp4")) as out:
        matrix = display_matrix(out.first_picture(0))
    assert matrix is not None
    assert (matrix[0], matrix[4]) == (-65536, 65536)


def test_rotation_that_cannot_be_said_is_a_warning(tmp_path: Path) -> None:
    _, _, warnings = both(troubles.rotated(tmp_path), tmp_path / "out.ts")
    assert "turned by 90 degrees" in warnings[0]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".flv"])
@pytest.mark.parametrize(
    ("colour", "full"), [(troubles.BT709, False), (troubles.BT601, True), (troubles.BT2020, False)]
)
def test_colour_tags_are_carried(colour: int, full: bool, suffix: str, tmp_path: Path) -> None:
    depth = "yuv420p10le" if colour == troubles.BT2020 else "yuv420p"
    was, now, _ = both(troubles.tagged(tmp_path, colour, full=full, pix_fmt=depth), tmp_path / f"out{suffix}")
    assert was.colour.matrix == was.colour.primaries == colour
    assert (now.colour, now.pix_fmt) == (was.colour, was.pix_fmt)


def test_full_range_stays_full_where_the_encoder_knows_no_such_format(tmp_path: Path) -> None:
    source = troubles.tagged(tmp_path, troubles.BT709, full=True)
    _, now, warnings = both(source, tmp_path / "out.webm", EncoderSettings(crf=4, threads=1))
    assert (now.colour.range, now.pix_fmt, warnings) == (2, "yuv420p", [])
    a, b = (np.frombuffer(planes(p)[3], np.int64) for p in (source, tmp_path / "out.webm"))
    assert abs(a - b).mean() < 3, "the values are the same, not squeezed into the limited range"


def test_hdr_metadata_is_carried(tmp_path: Path) -> None:
    source, target = troubles.hdr(tmp_path), tmp_path / "out.mp4"
    was, now, warnings = both(source, target)
    assert (now.colour, warnings) == (was.colour, [])
    with open_source(str(source)) as a, open_source(str(target)) as b:
        before, after = static_hdr(a.first_picture(0)), static_hdr(b.first_picture(0))
    assert before == after
    assert before.light == (1000, 400)
    assert before.luminance == pytest.approx((0.0001, 1000))


@pytest.mark.parametrize(
    ("half", "words"),
    [
        (StaticHdr(luminance=(0.005, 1000)), "luminance alone"),
        (StaticHdr(primaries=((0.7, 0.3),) * 4, light=(1000, 400)), "primaries alone"),
    ],
)
def test_half_of_a_mastering_display_is_told(
    half: StaticHdr, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_guard.media.encoder.static_hdr", lambda picture: half)
    _, _, warnings = both(media.plain(tmp_path, frames=3), tmp_path / "out.mkv")
    assert [words in told for told in warnings] == [True]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_pixel_shape_and_field_order_are_carried(suffix: str, tmp_path: Path) -> None:
    was, now, _ = both(troubles.anamorphic(tmp_path), tmp_path / f"wide{suffix}")
    assert now.sample_aspect_ratio == was.sample_aspect_ratio == Fraction(16, 11)
    was, now, warnings = both(troubles.interlaced(tmp_path), tmp_path / f"fields{suffix}")
    assert (now.interlaced, now.field_order) == (was.interlaced, was.field_order) == (True, 2)
    assert warnings == []


@pytest.mark.parametrize(
    ("pix_fmt", "height", "kept"),
    [("yuv420p", 48, True), ("yuv420p", 50, False), ("yuv422p", 50, True), ("yuv422p", 49, False)],
)
def test_fields_of_a_height_that_the_encoder_cannot_halve_are_told(
    pix_fmt: str, height: int, kept: bool, tmp_path: Path
) -> None:
    """As 486 lines of NTSC: libx264 does not open for them at all when it is asked for fields."""
    clip = media.Clip(
        frames=4, size=(64, height), codec="ffv1", pix_fmt=pix_fmt, audio=(), options={"field_order": "bb"}
    )
    was, now, warnings = both(media.write(tmp_path / "in.mkv", clip), tmp_path / "out.mov", LOSSLESS)
    assert (was.interlaced, now.interlaced) == (True, kept)
    assert planes(tmp_path / "in.mkv") == planes(tmp_path / "out.mov")
    assert ["stores it as whole frames" in words for words in warnings] == [True] * (not kept)


@pytest.mark.parametrize("pix_fmt", ["gray", "gray10le"])
@pytest.mark.parametrize(
    ("codec", "suffix"), [("libx264", ".mp4"), ("libx265", ".mp4"), ("libvpx-vp9", ".webm"), ("libsvtav1", ".webm")]
)
def test_gray_stays_as_bright_as_it_is(pix_fmt: str, codec: str, suffix: str, tmp_path: Path) -> None:
    """Untagged it is of full range, as FFmpeg takes it; decoders of H.264 give it with colour, then limited."""
    source = media.write(tmp_path / "in.mkv", media.Clip(frames=2, codec="ffv1", pix_fmt=pix_fmt, audio=()))
    was, now, warnings = both(source, tmp_path / f"out{suffix}", EncoderSettings(codec=codec, crf=1, threads=1))
    assert (was.colour.range, now.colour.range) == (0, 2)
    assert "colour" not in " ".join(warnings)
    shown = []
    for path in (source, tmp_path / f"out{suffix}"):
        with av.open(str(path)) as container:
            shown.append(next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int))
    assert np.abs(shown[0] - shown[1]).mean() < 2
    assert now.pix_fmt.startswith(("gray", "yuv"))


def test_a_gif_plays_as_often_as_before(tmp_path: Path) -> None:
    clip = media.Clip(codec="gif", pix_fmt="rgb8", audio=(), frames=4, rate=Fraction(10))
    for loop, mark in (("-1", None), ("0", b"\x00\x00"), ("3", b"\x03\x00")):
        source = media.write(tmp_path / f"in{loop}.gif", clip, container={"loop": loop})
        transcode(str(source), str(tmp_path / "out.gif"), overwrite=True)
        data = (tmp_path / "out.gif").read_bytes()
        place = data.find(b"NETSCAPE2.0\x03\x01")
        assert (None if place < 0 else data[place + 13 : place + 15]) == mark


def test_decoded_pictures_may_be_changed_without_harm_to_later_ones(tmp_path: Path) -> None:
    """Stages write into pictures that the decoder may still predict from."""
    path = troubles.b_frames(tmp_path)
    clean = planes(path)
    with open_source(str(path), threads=1) as source:
        for index, item in enumerate(i for i in source.read() if hasattr(i, "picture")):
            assert content(item.picture) == clean[index]
            item.picture.make_writable()
            plane = np.frombuffer(item.picture.planes[0], np.uint8)
            plane[:] = 0
