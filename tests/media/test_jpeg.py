"""Motion JPEG, which knows one range and one matrix, shows every source as it was."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from stream_guard.media.colour import FULL
from stream_guard.media.conform import BT470BG
from stream_guard.media.formats import choose_format
from tests.media.carrying import carried, pictures
from tests.support import troubles
from tests.support.pictures import raw_samples


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
