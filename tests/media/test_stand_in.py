"""Pictures whose content is replaced: black in every format, and nothing else touched."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.filter import Graph
from av.video.reformatter import ColorRange

from stream_guard.media import stand_in

from ..support import media
from ..support.pictures import raw_samples

FORMATS = (
    "yuv420p",
    "yuvj420p",
    "yuv422p",
    "yuv444p",
    "nv12",
    "yuv420p10le",
    "p010le",
    "gbrp",
    "rgb24",
    "bgra",
    "gray",
)


def random(format: str, width: int = 34, height: int = 22) -> av.VideoFrame:
    noise = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    return av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=format)


@pytest.mark.parametrize("format", FORMATS)
def test_black_is_black_in_every_format(format: str) -> None:
    picture = random(format)
    stand_in.overwrite(picture, stand_in.black(picture))
    assert picture.format.name == format
    assert picture.to_ndarray(format="rgb24").max() <= 1


def test_black_is_black_every_time() -> None:
    """swscale on several threads is not quite sure of it at 10 bits."""
    picture = random("yuv420p10le")
    for _ in range(200):
        samples = raw_samples(stand_in.black(picture))
        assert {role: set(np.unique(a)) for role, a in samples.items()} == {"Y": {64}, "Cb": {512}, "Cr": {512}}


@pytest.mark.parametrize(("colour_range", "level"), [(ColorRange.MPEG, 16), (ColorRange.JPEG, 0)])
def test_black_keeps_the_range(colour_range: ColorRange, level: int) -> None:
    picture = random("yuv420p")
    picture.color_range = colour_range
    stand_in.overwrite(picture, stand_in.black(picture))
    luma = np.frombuffer(picture.planes[0], np.uint8)
    assert set(luma[:34].tolist()) == {level}


def test_alpha_stays_opaque() -> None:
    picture = random("bgra")
    stand_in.overwrite(picture, stand_in.black(picture))
    assert picture.to_ndarray()[..., 3].min() == 255


def upside_down(picture: av.VideoFrame) -> av.VideoFrame:
    """The picture flipped without moving a sample: its lines lie in memory from the last to the first."""
    graph = Graph()
    source = graph.add_buffer(width=picture.width, height=picture.height, format=picture.format, time_base=Fraction(1))
    graph.link_nodes(source, graph.add("vflip"), graph.add("buffersink")).configure()
    picture.pts = 0
    graph.vpush(picture)
    return graph.vpull()


@pytest.mark.parametrize("format", ["yuv420p", "bgr24", "rgb565le"])
def test_lines_that_lie_upside_down_in_memory_are_replaced_too(format: str) -> None:
    picture = upside_down(random(format))
    assert picture.planes[0].line_size < 0
    made = stand_in.painted(picture, random("rgb24").to_ndarray())
    stand_in.overwrite(picture, made)
    assert np.array_equal(picture.to_ndarray(format="rgb24"), made.to_ndarray(format="rgb24"))
    stand_in.overwrite(picture, stand_in.black(picture))
    assert picture.to_ndarray(format="rgb24").max() <= 1


def test_the_decoders_own_pictures_are_left_alone(tmp_path: Path) -> None:
    path = str(media.plain(tmp_path))
    with av.open(path) as container:
        expected = [f.to_ndarray() for f in container.decode(video=0)]
    with av.open(path) as container:
        seen = []
        for frame in container.decode(video=0):
            seen.append(frame.to_ndarray())
            pts = frame.pts
            stand_in.overwrite(frame, stand_in.black(frame))
            assert frame.pts == pts
    assert all(np.array_equal(a, b) for a, b in zip(seen, expected, strict=True))


def test_a_format_that_cannot_be_written_says_so() -> None:
    picture = av.VideoFrame(16, 16, "pal8")
    with pytest.raises(ValueError, match="no picture can be made in the format pal8"):
        stand_in.black(picture)
