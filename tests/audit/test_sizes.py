"""Renditions of a delivery ladder: the original is resampled to them, and what is another picture is refused."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from stream_guard.audit.run import audit
from stream_guard.audit.words import warnings
from stream_guard.errors import UsageError
from stream_guard.media import open_source, pixels
from stream_guard.types import Frame, head_region
from tests.support import media
from tests.support.audited import FACE, LOSSLESS, NoFace, StillFace, perturbed, run

HALF = (80, 60)


def rendition(source: Path, path: Path, size: tuple[int, int]) -> Path:
    """The pictures at another size, by Pillow's filter: not by the product's own."""
    with open_source(str(source)) as opened, av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for item in opened.read():
            if isinstance(item, Frame):
                small = Image.fromarray(pixels.whole_rgb(item.picture)).resize(size, Image.Resampling.BICUBIC)
                picture = av.VideoFrame.from_ndarray(np.asarray(small), format="rgb24")
                picture.pts, picture.time_base = item.index, Fraction(1, 25)
                out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sizes")


@pytest.fixture(scope="module")
def original(folder: Path) -> Path:
    return media.plain(folder, frames=6)


@pytest.fixture(scope="module")
def delivered(original: Path, folder: Path) -> Path:
    return rendition(perturbed(original, folder / "protected.mkv", LOSSLESS), folder / "delivered.mp4", HALF)


def test_the_figures_of_a_known_change_in_a_rendition(original: Path, delivered: Path, folder: Path) -> None:
    plain = rendition(original, folder / "plain-half.mp4", HALF)
    result = audit(original, delivered, [], reference=plain, faces=StillFace())
    summary = result.summary
    assert (summary["frames"], summary["faces"], summary["unpaired"]["original"]) == (6, 6, 0)
    assert summary["head_width_px"]["max"] == head_region(FACE).width / 2
    # Twelve levels are still twelve at half the size; a head that is looked for elsewhere would hold less of them.
    assert summary["face"]["net_psnr_db"] == pytest.approx(20 * np.log10(255 / 12), abs=1.0)
    assert summary["frame"]["reference_psnr_db"] > 25  # Pillow's bicubic is another one, and the pictures are all edges
    (said,) = warnings(result)
    assert f"{original} is 160x120 and was resampled (bicubic) to the size of the protected video, 80x60" in said


def test_a_smaller_original_is_brought_to_a_larger_delivery(original: Path, folder: Path) -> None:
    small = rendition(original, folder / "small.mp4", HALF)
    summary = audit(small, original, [], faces=NoFace()).summary
    assert summary["frames"] == 6
    assert summary["frame"]["psnr_db"] > 15


def test_videos_of_one_size_are_compared_as_they_are(original: Path) -> None:
    assert audit(original, original, [], faces=NoFace()).summary["warnings"] == []


def test_another_shape_is_another_picture(original: Path, folder: Path) -> None:
    cropped = rendition(original, folder / "cropped.mp4", (80, 80))
    with pytest.raises(UsageError, match=r"is 160x120 and .* is 80x80, which is another shape.*not cropped"):
        audit(original, cropped, [], faces=NoFace())


def test_the_shape_is_that_of_the_picture_as_it_is_shown(folder: Path) -> None:
    def wide_pixels(container: object, stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    anamorphic = media.write(folder / "anamorphic.mp4", media.Clip(size=(120, 120), frames=3, setup=wide_pixels))
    square = rendition(anamorphic, folder / "square.mp4", (160, 120))
    assert audit(anamorphic, square, [], faces=NoFace()).summary["frames"] == 3
    with pytest.raises(UsageError, match="another shape"):
        audit(anamorphic, rendition(anamorphic, folder / "narrow.mp4", HALF[::-1]), [], faces=NoFace())


def test_renditions_are_rounded_to_whole_blocks(original: Path, folder: Path) -> None:
    rounded = rendition(original, folder / "rounded.mp4", (106, 80))  # 106.7
    assert audit(original, rounded, [], faces=NoFace()).summary["frames"] == 6


def test_a_reference_has_the_size_of_the_delivery(original: Path, delivered: Path) -> None:
    with pytest.raises(UsageError, match=r"is 80x60 and .* is 160x120: a reference is encoded as the protected video"):
        audit(original, delivered, [], reference=original, faces=NoFace())


def test_a_reference_of_another_size_is_not_made(original: Path, delivered: Path) -> None:
    code, _, err = run(original, delivered, "--make-reference")
    assert (code, "--make-reference encodes at the original's size" in err) == (2, True), err
