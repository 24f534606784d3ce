"""Pictures at another size: the boxes go along, and nothing but the size changes."""

from __future__ import annotations

from fractions import Fraction

import av
import pytest

from stream_guard.errors import MediaError
from stream_guard.media.rescaling import Rescaler
from stream_guard.types import Box, Face, Frame
from tests.support import media


def frame(pix_fmt: str) -> Frame:
    picture = media.picture(0, (160, 120), pix_fmt)
    picture.colorspace, picture.color_range = 1, 2
    return Frame(picture, 7, Fraction(1, 25), 3, faces=(Face(1, Box(40, 30, 80, 90), 0.9),), faces_known=True)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "nv12", "gray", "rgb24"])
def test_only_the_size_changes(pix_fmt: str) -> None:
    before = frame(pix_fmt)
    after = Rescaler(80, 90)(before)
    assert (after.width, after.height, after.picture.format.name) == (80, 90, pix_fmt)
    assert (after.pts, after.time_base, after.index, after.faces_known) == (7, Fraction(1, 25), 3, True)
    assert after.faces[0].box == Box(20, 22.5, 40, 67.5)
    assert (after.picture.colorspace, after.picture.color_range) == (1, 2)
    assert (before.width, before.height) == (160, 120)


def test_a_format_that_cannot_be_scaled_is_named() -> None:
    with pytest.raises(MediaError, match=r"format pal8 cannot be brought to 80x60"):
        Rescaler(80, 60)(Frame(av.VideoFrame(160, 120, "pal8"), 0, Fraction(1, 25), 0))
