"""Video made of indices into a palette: its pictures get samples of their own, in which a face can be changed."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from stream_guard.media import EncoderSettings, open_source, pixels, stand_in, transcode
from stream_guard.types import Frame
from tests.media.reading import read

SIZE = (48, 32)
Palette = npt.NDArray[np.uint8]


def palette(alpha: int = 255, seed: int = 1) -> Palette:
    """256 colours as alpha, red, green, blue; every fourth with this alpha."""
    colours = np.random.default_rng(seed).integers(0, 256, (256, 4)).astype(np.uint8)
    colours[:, 0] = 255
    colours[::4, 0] = alpha
    return colours


def indices(number: int) -> npt.NDArray[np.uint8]:
    return np.roll(np.arange(SIZE[0] * SIZE[1]), number).reshape(SIZE[1], SIZE[0]).astype(np.uint8)


def paletted(path: Path, codec: str, palettes: Sequence[Palette], degrees: int = 0) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "pal8"
        if degrees:
            stream.set_display_rotation(degrees)
        for number, colours in enumerate(palettes):
            picture = av.VideoFrame.from_ndarray((indices(number), colours), format="pal8")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def frames(path: Path) -> tuple[list[Frame], int]:
    with open_source(str(path)) as source:
        return [item for item in source.read() if isinstance(item, Frame)], source.report.size_changes


@pytest.mark.parametrize(("codec", "suffix"), [("png", ".mov"), ("zmbv", ".avi")])
def test_pictures_have_the_colours_that_their_indices_stand_for(codec: str, suffix: str, tmp_path: Path) -> None:
    colours = [palette(seed=number) for number in range(3)]
    seen, changes = frames(paletted(tmp_path / f"in{suffix}", codec, colours))
    assert ([f.picture.format.name for f in seen], changes) == (["rgb24"] * 3, 0)
    assert [f.time_seconds for f in seen] == [0, 0.04, 0.08]
    for number, frame in enumerate(seen):
        assert np.array_equal(frame.picture.to_ndarray(), colours[number][indices(number)][..., 1:])


def test_transparency_is_kept_where_the_palette_has_it(tmp_path: Path) -> None:
    source = paletted(tmp_path / "in.mov", "png", [palette(alpha=90)] * 2)
    seen, _ = frames(source)
    assert [f.picture.format.name for f in seen] == ["bgra"] * 2
    assert np.array_equal(seen[0].picture.to_ndarray()[..., 3], palette(alpha=90)[indices(0)][..., 0])
    transcode(str(source), str(tmp_path / "out.mkv"), EncoderSettings(codec="ffv1"))
    (picture,) = read(tmp_path / "out.mkv").pictures.values()
    assert np.array_equal(picture.to_ndarray(format="bgra"), seen[0].picture.to_ndarray())


@pytest.mark.parametrize(("first", "then", "format"), [(255, 0, "rgb24"), (0, 255, "bgra")])
def test_another_palette_is_no_change_of_format(first: int, then: int, format: str, tmp_path: Path) -> None:
    path = paletted(tmp_path / "in.mov", "png", [palette(first), palette(then)])
    seen, changes = frames(path)
    assert ([f.picture.format.name for f in seen], changes) == ([format] * 2, 0)


def test_the_picture_stays_turned(tmp_path: Path) -> None:
    with open_source(str(paletted(tmp_path / "in.mov", "png", [palette()], degrees=90))) as source:
        assert source.info.video.rotation == 90


@pytest.mark.parametrize("alpha", [255, 90])
def test_a_face_can_be_changed_and_replaced(alpha: int, tmp_path: Path) -> None:
    (frame,), _ = frames(paletted(tmp_path / "in.mov", "png", [palette(alpha)]))
    assert pixels.supports(frame.picture)
    stand_in.overwrite(frame.picture, stand_in.black(frame.picture))
    assert frame.picture.to_ndarray()[..., :3].max() == 0
