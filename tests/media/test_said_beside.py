"""What a picture says beside its samples reaches the output, or a warning says that it does not: the shape of a pixel,
the place of colour samples, and captions."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from stream_guard.media import EncoderSettings
from stream_guard.media import shape as shapes
from stream_guard.media.captions import has_captions
from stream_guard.media.colour import FULL
from stream_guard.media.inner import NOTHING, Hidden, hidden, set_aspect
from tests.media.carrying import carried, pictures
from tests.media.feeding import fed
from tests.support import media
from tests.support.servers import wait_for

CAPTION = bytes.fromhex("fc942c") * 4
"""Four CEA-608 pairs, as the side data of kind A53 holds them."""


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
