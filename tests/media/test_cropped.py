"""Streams that hide columns and lines at their edges: those stay hidden, to the pixel, and nothing else is lost."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from stream_guard.media import EncoderSettings, open_source, pixels, stand_in, transcode
from stream_guard.media.layouts import component_samples, find_layout
from stream_guard.types import Box, Frame
from tests.media.reading import read
from tests.support import media
from tests.support.pictures import raw_samples

LEFT, TOP, RIGHT, BOTTOM = 10, 6, 20, 8
SIZE = (160, 120)
SHOWN = (SIZE[0] - LEFT - RIGHT, SIZE[1] - TOP - BOTTOM)
FORMATS = ("yuv420p", "yuv420p10le", "yuv444p")


def cropped(folder: Path, pix_fmt: str) -> Path:
    """Lossless H.264 that shows the middle of `media.picture`."""
    options = {"x264-params": f"qp=0:crop-rect={LEFT},{TOP},{RIGHT},{BOTTOM}"}
    return media.write(folder / "in.mp4", media.Clip(frames=5, size=SIZE, pix_fmt=pix_fmt, audio=(), options=options))


def frames(path: Path) -> list[av.VideoFrame]:
    with open_source(str(path)) as source:
        assert (source.info.video.width, source.info.video.height) == SHOWN
        return [item.picture for item in source.read() if isinstance(item, Frame)]


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_what_is_hidden_stays_hidden(pix_fmt: str, tmp_path: Path) -> None:
    layout = find_layout(pix_fmt)
    assert layout is not None
    for number, picture in enumerate(frames(cropped(tmp_path, pix_fmt))):
        whole = media.picture(number, SIZE, pix_fmt)
        for part in layout.components:
            x, y = LEFT >> part.sub_x, TOP >> part.sub_y
            width, height = SHOWN[0] >> part.sub_x, SHOWN[1] >> part.sub_y
            expected = component_samples(whole, part)[y : y + height, x : x + width]
            assert np.array_equal(component_samples(picture, part), expected), part.role


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_faces_are_read_and_changed_as_in_any_picture(pix_fmt: str, tmp_path: Path) -> None:
    box = Box(31, 22, 95, 88)
    delta = np.random.default_rng(5).normal(0, 0.03, (3, 16, 16)).astype(np.float32)
    for picture in frames(cropped(tmp_path, pix_fmt)):
        plain = stand_in.copied(picture)
        assert np.array_equal(pixels.read_rgb(picture, box, 64), pixels.read_rgb(plain, box, 64))
        assert np.array_equal(pixels.small_luma(picture, 64, 48), pixels.small_luma(plain, 64, 48))
        assert pixels.add_perturbation(picture, box, delta)
        assert pixels.add_perturbation(plain, box, delta)
        same = {role: np.array_equal(a, raw_samples(plain)[role]) for role, a in raw_samples(picture).items()}
        assert same == dict.fromkeys(same, True)


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_replacing_a_picture_writes_nothing_beyond_it(pix_fmt: str, tmp_path: Path) -> None:
    picture = frames(cropped(tmp_path, pix_fmt))[-1]
    before = [np.frombuffer(plane, np.uint8).copy() for plane in picture.planes]
    stand_in.overwrite(picture, stand_in.black(picture))
    assert picture.to_ndarray(format="rgb24").max() <= 1
    for plane, old in zip(picture.planes, before, strict=True):
        line = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)
        if line.size == old.size:  # else it was made writable first, and is another one
            beyond = plane.width * (2 if "10" in pix_fmt else 1)
            assert np.array_equal(line[:, beyond:], old.reshape(line.shape)[:, beyond:])


@pytest.mark.parametrize("codec", ["ffv1", "libx264"])
def test_the_output_shows_as_much(codec: str, tmp_path: Path) -> None:
    source = cropped(tmp_path, "yuv420p")
    transcode(str(source), str(tmp_path / "out.mkv"), EncoderSettings(codec=codec, threads=1))
    (picture,) = read(tmp_path / "out.mkv").pictures.values()
    assert (picture.width, picture.height) == SHOWN
    if codec == "ffv1":
        assert np.array_equal(picture.to_ndarray(), frames(source)[0].to_ndarray())
