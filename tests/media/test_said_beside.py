"""What a picture says beside its samples reaches the output, or a warning says that it does not: the shape of a pixel,
the order of fields, the place of colour samples, captions, transparency, and the range that JPEG needs."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.codec.context import Flags

from stream_guard.errors import ConfigError, UnknownNameError
from stream_guard.media import EncoderSettings, FileSink, inner, open_source, transcode
from stream_guard.media import shape as shapes
from stream_guard.media.captions import has_captions
from stream_guard.media.colour import FULL
from stream_guard.media.conform import BT470BG
from stream_guard.media.formats import choose_format
from stream_guard.media.inner import NOTHING, Hidden, hidden, set_aspect
from stream_guard.media.settings import encoder_named, encoder_options
from stream_guard.types import Frame
from tests.media.feeding import fed
from tests.support import media, troubles
from tests.support.pictures import raw_samples
from tests.support.servers import wait_for

CAPTION = bytes.fromhex("fc942c") * 4
"""Four CEA-608 pairs, as the side data of kind A53 holds them."""


def pictures(path: Path) -> list[av.VideoFrame]:
    with open_source(str(path)) as source:
        return [item.picture for item in source.read() if hasattr(item, "picture")]


def settings(codec: str, **more: Any) -> EncoderSettings:
    options = {"preset": "11"} if codec == "libsvtav1" else {}
    return EncoderSettings(codec=codec, threads=1, **options, **more)


def carried(source: Path, target: Path, codec: str, **more: Any) -> list[str]:
    return transcode(str(source), str(target), settings(codec, **more))[1].warnings


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVT_LOG", "1")


class TestPixelShape:
    @pytest.mark.parametrize(
        ("codec", "suffix"),
        [
            ("libvpx-vp9", ".webm"),
            ("libvpx-vp9", ".mkv"),
            ("libvpx-vp9", ".mp4"),
            ("libsvtav1", ".webm"),
            ("libsvtav1", ".mkv"),
            ("ffv1", ".mkv"),
            ("prores_ks", ".mkv"),
            ("libx264", ".mkv"),
            ("mpeg4", ".mkv"),
            ("mjpeg", ".mkv"),
        ],
    )
    def test_is_carried(self, codec: str, suffix: str, tmp_path: Path) -> None:
        source, target = anamorphic(tmp_path, Fraction(4, 3)), tmp_path / f"out{suffix}"
        assert not any("shape" in words for words in carried(source, target, codec))
        with av.open(str(target)) as container:
            assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)

    def test_that_is_lost_is_told(self, tmp_path: Path) -> None:
        warnings = carried(anamorphic(tmp_path, Fraction(4, 3)), tmp_path / "out.flv", "libsvtav1")
        assert any("av1 in flv" in words and "4:3" in words for words in warnings)

    def test_is_told_where_the_stream_is_not_laid_out_as_known(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shapes, "set_aspect", lambda *_: False)
        warnings = carried(anamorphic(tmp_path, Fraction(4, 3)), tmp_path / "out.webm", "libvpx-vp9")
        assert any("vp9 in webm" in words for words in warnings)

    def test_is_given_to_a_stream_made_after_another(self, tmp_path: Path) -> None:
        """As live outputs make theirs."""
        with av.open(str(anamorphic(tmp_path, Fraction(1)))) as source, av.open(str(tmp_path / "out.mkv"), "w") as out:
            assert set_aspect(out.add_stream_from_template(source.streams.video[0], opaque=True), Fraction(4, 3))

    @pytest.mark.parametrize("suffix", [".mkv", ".flv"])
    def test_a_live_output_has_it_or_says_so_once(
        self, tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        record = tmp_path / f"out{suffix}"
        settings = EncoderSettings(codec="libvpx-vp9")
        with fed(anamorphic(tmp_path, Fraction(4, 3)), [], record=str(record), settings=settings, sound=False) as sink:
            wait_for(lambda: sink.report.frames > 8, "frames")
        with av.open(str(record)) as container:
            found = container.streams.video[0].sample_aspect_ratio
        told = [entry for entry in caplog.messages if "vp9 in flv cannot say" in entry]
        assert (found == Fraction(4, 3), len(told)) == ((True, 0) if suffix == ".mkv" else (False, 1))

    def test_too_large_for_a_rational_is_refused(self, tmp_path: Path) -> None:
        with av.open(str(tmp_path / "out.mkv"), "w") as out:
            stream = out.add_stream("ffv1", rate=25)
            stream.time_base = Fraction(1, 25)
            assert not set_aspect(stream, Fraction(1 << 31, 3))
            assert set_aspect(stream, Fraction(16, 11))
            assert stream.sample_aspect_ratio == Fraction(16, 11)


class TestFields:
    @pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
    @pytest.mark.parametrize(("order", "top_first"), [("tt", True), ("bb", False)])
    @pytest.mark.parametrize("codec", ["libx264", "mpeg4", "ffv1", "prores_ks"])
    def test_keep_their_order(self, codec: str, order: str, top_first: bool, suffix: str, tmp_path: Path) -> None:
        if suffix == ".mp4" and codec in ("ffv1", "prores_ks"):
            pytest.skip("no pair that FFmpeg writes")
        target = tmp_path / f"out{suffix}"
        assert carried(interlaced(tmp_path, order), target, codec) == []
        assert {hidden(p).top_field_first for p in pictures(target)} == {top_first}
        if codec == "libx264":
            with open_source(str(target)) as source:
                assert source.info.video.field_order == (2 if top_first else 3)

    def test_leave_room_for_the_users_own_parameters(self, tmp_path: Path) -> None:
        options = {"x264-params": "keyint=3:min-keyint=3"}
        carried(interlaced(tmp_path, "bb"), tmp_path / "out.mkv", "libx264", options=options)
        assert {hidden(p).top_field_first for p in pictures(tmp_path / "out.mkv")} == {False}
        assert [p.key_frame for p in pictures(tmp_path / "out.mkv")] == [True, False, False, True, False, False]

    def test_the_users_own_order_counts(self, tmp_path: Path) -> None:
        target = tmp_path / "out.ts"
        carried(interlaced(tmp_path, "bb"), target, "libx264", options={"x264-params": "tff=1"})
        with open_source(str(target)) as source:
            assert source.info.video.field_order == 2


class TestParameters:
    def test_of_the_library_are_joined(self) -> None:
        asked = EncoderSettings(options={"x265-params": "aq-mode=3", "bf": "0"})
        options = encoder_options(encoder_named("libx265"), asked)
        assert options["x265-params"] == "log-level=error:aq-mode=3"
        assert options["bf"] == "0"


class TestChroma:
    @pytest.mark.parametrize("location", [1, 2, 3])
    @pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9", "ffv1"])
    def test_samples_stay_where_they_are(self, codec: str, location: int, tmp_path: Path) -> None:
        source, target = sited(tmp_path, location), tmp_path / "out.mkv"
        assert hidden(pictures(source)[0]).chroma_location == location
        assert carried(source, target, codec) == []
        assert hidden(pictures(target)[0]).chroma_location == location

    def test_av1_knows_two_places(self, tmp_path: Path) -> None:
        assert carried(sited(tmp_path, 3), tmp_path / "out.mp4", "libsvtav1") == []
        assert hidden(pictures(tmp_path / "out.mp4")[0]).chroma_location == 3

    def test_the_users_own_place_counts(self, tmp_path: Path) -> None:
        carried(sited(tmp_path, 3), tmp_path / "out.mkv", "libx264", options={"x264-params": "chromaloc=1"})
        assert hidden(pictures(tmp_path / "out.mkv")[0]).chroma_location == 2


class TestCaptions:
    @pytest.mark.parametrize("codec", ["libx264", "libx265"])
    def test_are_carried(self, codec: str, tmp_path: Path) -> None:
        source, target = captioned(tmp_path), tmp_path / "out.mkv"
        assert carried(source, target, codec) == []
        assert captions(target) == captions(source) == [CAPTION] * 6

    @pytest.mark.parametrize(
        ("codec", "suffix"), [("libvpx-vp9", ".webm"), ("libsvtav1", ".mp4"), ("mpeg4", ".mp4"), ("ffv1", ".mkv")]
    )
    def test_that_are_lost_are_told_once(self, codec: str, suffix: str, tmp_path: Path) -> None:
        warnings = carried(captioned(tmp_path), tmp_path / f"out{suffix}", codec)
        assert [words for words in warnings if "captions" in words and codec in words] == warnings
        assert len(warnings) == 1

    def test_that_begin_later_are_told_too(self, tmp_path: Path) -> None:
        source = captioned(tmp_path, first=3)
        assert not has_captions(pictures(source)[0])
        assert any("captions" in words for words in carried(source, tmp_path / "out.webm", "libvpx-vp9"))


class TestTransparency:
    def test_of_vp9_is_read_and_kept(self, tmp_path: Path) -> None:
        source, target = transparent(tmp_path), tmp_path / "out.webm"
        assert carried(source, target, "libvpx-vp9", crf=4) == []
        was, now = pictures(source), pictures(target)
        assert [p.format.name for p in was + now] == ["yuva420p"] * 12
        assert [p.time for p in now] == [p.time for p in was]
        for a, b in zip(was, now, strict=True):
            assert abs(alpha(a) - alpha(b)).mean() < 4
        assert alpha(now[0])[:, :60].mean() > 200 > 50 > alpha(now[0])[:, -60:].mean()

    def test_that_x265_only_seems_to_take_is_told(self, tmp_path: Path) -> None:
        (words,) = carried(transparent(tmp_path), tmp_path / "out.mp4", "libx265")
        assert "loses transparency" in words

    def test_has_the_times_of_the_usual_decoder(self, tmp_path: Path) -> None:
        source = transparent(tmp_path)
        with av.open(str(source)) as container:
            plain = [(f.pts, f.duration) for f in container.decode(video=0)]
        assert [(p.pts, p.duration) for p in pictures(source)] == plain

    @pytest.mark.parametrize(("codec", "suffix"), [("libx264", ".mkv"), ("libvpx-vp9", ".mp4")])
    def test_that_is_lost_is_told(self, codec: str, suffix: str, tmp_path: Path) -> None:
        warnings = carried(transparent(tmp_path), tmp_path / f"out{suffix}", codec)
        assert ["transparency" in words for words in warnings] == [True]

    @pytest.mark.parametrize(("codec", "suffix"), [("prores_ks", ".mov"), ("ffv1", ".mkv"), ("libx264", ".mp4")])
    def test_that_begins_later_is_kept_or_told(self, codec: str, suffix: str, tmp_path: Path) -> None:
        """As that of a transition, whose first pictures cover all."""
        source, target = wiped(tmp_path), tmp_path / f"out{suffix}"
        told = [words for words in carried(source, target, codec) if "transparen" in words]
        seen = [alpha(p).min() > 250 for p in pictures(target)]
        assert [alpha(p).min() > 250 for p in pictures(source)] == [True, True, False, False]
        if codec == "libx264":
            (words,) = told
            assert "from 0.080 s on" in words
            assert all(seen)
        else:
            assert (told, seen) == ([], [True, True, False, False])

    def test_that_may_yet_begin_costs_no_colours(self) -> None:
        """As a recorded screen or a GIF, which are opaque in formats that need not be."""
        assert choose_format("libvpx-vp9", "bgra", 64, 64, opaque=True, container="webm") == ("gbrp", "")
        chosen, words = choose_format("libx264", "bgra", 64, 64, opaque=True)
        assert (chosen, "transparency" in words) == ("yuv444p", False)
        assert "transparency" in choose_format("libx264", "bgra", 64, 64)[1]

    def test_of_finer_colour_is_no_choice_for_vp9(self) -> None:
        assert choose_format("libvpx-vp9", "yuva444p", 64, 64, container="webm")[0] in ("yuva420p", "yuv444p")
        with pytest.raises(UnknownNameError):
            choose_format("libvpx-vp9", "yuva420p", 64, 64, "yuva420p", container="mp4")

    def test_decoding_can_begin_later(self, tmp_path: Path) -> None:
        path = transparent(tmp_path)
        every = [p.pts for p in pictures(path)]
        with open_source(str(path)) as source:
            assert source.begin_at(0, 5)
            assert [item.pts for item in source.read() if hasattr(item, "picture")] == every[5:]


class TestJpeg:
    @pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuvj420p"])
    @pytest.mark.parametrize("suffix", [".mkv", ".mov"])
    def test_takes_every_source(self, pix_fmt: str, suffix: str, tmp_path: Path) -> None:
        source, target = troubles.pixels(tmp_path, pix_fmt, frames=3), tmp_path / f"out{suffix}"
        warnings = carried(source, target, "mjpeg", bit_rate=30_000_000)
        assert all("bit depth" in words for words in warnings)
        a, b = pictures(source)[1], pictures(target)[1]
        assert (b.format.name[:4], b.color_range) == ("yuvj", FULL)
        assert abs(full_luma(a) - full_luma(b)).mean() < 3

    @pytest.mark.parametrize("wanted", [None, "yuv420p"])
    def test_has_the_colours_of_a_source_with_another_matrix(self, wanted: str | None, tmp_path: Path) -> None:
        source, target = troubles.tagged(tmp_path, troubles.BT709), tmp_path / "out.mkv"
        assert carried(source, target, "mjpeg", pix_fmt=wanted, bit_rate=30_000_000) == []
        a, b = pictures(source)[1], pictures(target)[1]
        assert (b.colorspace, b.color_range) == (BT470BG, FULL)
        assert abs(rgb(a) - rgb(b)).mean() < 4

    def test_a_jpeg_source_is_not_converted(self) -> None:
        assert choose_format("mjpeg", "yuvj422p", 64, 64) == ("yuvj422p", "")
        assert choose_format("mjpeg", "yuv422p", 64, 64) == ("yuvj422p", "")


class TestNumbers:
    @pytest.mark.parametrize(
        "asked",
        [
            {"gop": 99999999999},
            {"gop": 1 << 31},
            {"bit_rate": 1 << 63},
            {"bit_rate": 99999999999999999999},
            {"threads": 99999999999},
            {"crf": float("nan")},
            {"crf": float("inf")},
            {"crf": float("-inf")},
        ],
    )
    def test_out_of_every_range_are_refused(self, asked: dict[str, Any]) -> None:
        with pytest.raises(ConfigError):
            EncoderSettings(**asked)

    def test_of_every_day_are_taken(self) -> None:
        EncoderSettings(gop=100_000, bit_rate=1_000_000_000, threads=64)


def orders_after(folder: Path, later: int) -> tuple[list[bool | None], list[str]]:
    """What the pictures say whose fields begin with the top one, where the last 10 of 60 have `later` for flags.

    With the warnings.
    """
    with (
        open_source(str(interlaced(folder, "tt", frames=60))) as source,
        FileSink(str(folder / "out.mkv"), source, EncoderSettings(preset="veryfast", threads=1)) as sink,
    ):
        for item in source.read():
            if isinstance(item, Frame):
                raw = inner._AVFrame.from_address(inner._pointer(item.picture))
                raw.flags = raw.flags & ~0x18 | (later if item.index >= 50 else 0x18)
                sink.write(item)
    return [hidden(picture).top_field_first for picture in pictures(folder / "out.mkv")], sink.report.warnings


def test_whole_frames_among_fields_do_not_turn_the_order_of_those_before(tmp_path: Path) -> None:
    assert orders_after(tmp_path, later=0) == ([True] * 60, [])


def test_an_order_of_fields_that_changes_is_said(tmp_path: Path) -> None:
    orders, warnings = orders_after(tmp_path, later=0x08)
    assert orders[-5:] == [False] * 5
    assert len(warnings) == 1
    assert "the order of the fields changes at 2.000 s" in warnings[0]


def test_a_picture_laid_out_in_another_way_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = av.VideoFrame(64, 48, "yuv420p")
    assert hidden(picture) == Hidden(None, 0)
    picture.color_range, picture.pts = FULL, 7
    assert hidden(picture) == NOTHING
    monkeypatch.setattr("stream_guard.media.inner._pointer", lambda _: 0)
    assert hidden(picture) is NOTHING


def anamorphic(folder: Path, aspect: Fraction) -> Path:
    """160 pixels to 4:3 are no whole number of square ones; 120 are."""

    def setup(out: Any, video: av.VideoStream) -> None:
        video.codec_context.sample_aspect_ratio = aspect

    return media.write(folder / "in.mp4", media.Clip(size=(120, 120), frames=4, audio=(), setup=setup))


def interlaced(folder: Path, order: str, frames: int = 6) -> Path:
    """H.264 whose stream and whose pictures both say the order; PyAV can't mark pictures, so it is done beside it."""
    path = folder / "in.mkv"
    with av.open(str(path), "w") as out:
        parameters = {"x264-params": f"{order[0]}ff=1", "field_order": order}
        stream = out.add_stream("libx264", rate=25, options=media.X264 | parameters)
        context = stream.codec_context
        context.width, context.height = 160, 120
        context.flags |= Flags.interlaced_dct | Flags.interlaced_me
        for index in range(frames):
            frame = media.picture(index, (160, 120), "yuv420p")
            inner._AVFrame.from_address(inner._pointer(frame)).flags |= 1 << 3 | (1 << 4 if order == "tt" else 0)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def sited(folder: Path, location: int) -> Path:
    options = {"x264-params": f"chromaloc={location - 1}"}
    return media.write(folder / "in.mkv", media.Clip(frames=3, audio=(), options=options))


def captioned(folder: Path, first: int = 0) -> Path:
    """H.264 with captions in SEI messages put before each picture, as an encoder of broadcasts does it."""
    plain = media.write(
        folder / "plain.h264", media.Clip(frames=6, audio=(), options={"bf": "0", "x264-params": "repeat-headers=1"})
    )
    path = folder / "captioned.h264"
    path.write_bytes(b"".join(_with_captions(plain.read_bytes(), first)))
    return path


def _with_captions(data: bytes, first: int) -> Iterator[bytes]:
    payload = b"\xb5\x00\x31GA94\x03" + bytes([0x40 | len(CAPTION) // 3, 0xFF]) + CAPTION + b"\xff"
    sei = b"\x00\x00\x00\x01\x06\x04" + bytes([len(payload)]) + payload + b"\x80"
    count = 0
    for unit in data.replace(b"\x00\x00\x00\x01", b"\x00\x00\x01").split(b"\x00\x00\x01")[1:]:
        if unit[0] & 31 in (1, 5):
            if count >= first:
                yield sei
            count += 1
        yield b"\x00\x00\x00\x01" + unit


def captions(path: Path) -> list[bytes]:
    return [bytes(memoryview(item)) for p in pictures(path) for item in iter(p.side_data) if item.type.name == "A53_CC"]


def transparent(folder: Path) -> Path:
    """VP9 in WebM, opaque at the left and clear at the right."""
    path = folder / "in.webm"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libvpx-vp9", rate=25, options={"deadline": "realtime", "cpu-used": "8", "crf": "10"})
        context = stream.codec_context
        context.width, context.height, context.pix_fmt, context.thread_count = 160, 120, "yuva420p", 1
        stream.metadata["alpha_mode"] = "1"
        for index in range(6):
            rgba = np.full((120, 160, 4), 40 * index, np.uint8)
            rgba[:, :80, 3], rgba[:, 80:, 3] = 255, 0
            frame = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format="yuva420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def wiped(folder: Path) -> Path:
    """Four pictures as QuickTime's Animation, the last two clear at the left."""
    path = folder / "in.mov"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("qtrle", rate=25)
        stream.codec_context.width, stream.codec_context.height, stream.codec_context.pix_fmt = 64, 48, "argb"
        for index in range(4):
            samples = np.full((48, 64, 4), 255, np.uint8)
            samples[:, : 32 * (index > 1), 0] = 0
            frame = av.VideoFrame.from_ndarray(samples, format="argb")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def alpha(picture: av.VideoFrame) -> np.ndarray:
    return picture.reformat(format="rgba").to_ndarray()[..., 3].astype(int)


def rgb(picture: av.VideoFrame) -> np.ndarray:
    """As a player shows it: by the picture's own tags."""
    matrix = picture.colorspace if picture.colorspace != 2 else BT470BG
    full = picture.color_range == FULL or picture.format.name.startswith("yuvj")
    shown = picture.reformat(
        format="rgb24", src_colorspace=matrix, src_color_range=FULL if full else 1, dst_color_range=FULL
    )
    return shown.to_ndarray().astype(int)


def full_luma(picture: av.VideoFrame) -> np.ndarray:
    """In the full range, of 8 bits."""
    luma = raw_samples(picture)["Y"].astype(float) / (4 if picture.format.name.endswith("10le") else 1)
    full = picture.color_range == FULL or picture.format.name.startswith("yuvj")
    return luma if full else ((luma - 16) * 255 / 219).clip(0, 255)
