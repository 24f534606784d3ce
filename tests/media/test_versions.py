"""Whatever PyAV is installed shows the same: run with 17.1 and with 18."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.codec.context import Flags
from av.video.reformatter import VideoReformatter

from stream_guard.media import versions

from ..support.media import Clip, write
from ..support.pictures import noise, raw_samples


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("codec", "suffix"), [("mpeg4", ".mkv"), ("ffv1", ".mkv"), ("prores_ks", ".mov")])
def test_the_field_order_is_read_by_either_way(codec: str, suffix: str, order: int, tmp_path: Path) -> None:
    def setup(out: object, video: av.VideoStream) -> None:
        if order > 1:
            video.codec_context.flags |= Flags.interlaced_dct
        versions.set_field_order(video.codec_context, order)

    depth = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
    path = write(tmp_path / f"clip{suffix}", Clip(codec=codec, pix_fmt=depth, frames=3, audio=(), setup=setup))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert versions.field_order(stream) == versions._field_order_as_written(stream) == order


@pytest.mark.parametrize(("transfer", "primaries"), [(0, 0), (3, 3), (1, 1), (16, 9)])
def test_conversion_minds_no_transfer_and_no_primaries(transfer: int, primaries: int) -> None:
    """Reserved ones are common in broken files; swscale itself refuses them."""
    picture = noise("yuv420p", 64, 48)
    expected = _rgb(picture, matrix=1)
    picture.color_trc, picture.color_primaries, picture.colorspace = transfer, primaries, 5
    made = versions.reformat(VideoReformatter(), picture, 64, 48, "rgb24", matrix=1, ranges=(1, 2))
    assert raw_samples(made)["R"].tobytes() == expected.tobytes()
    for tagged in (picture, made):
        assert (tagged.color_trc, tagged.color_primaries) == (transfer, primaries)
    assert picture.colorspace == 5


def test_every_matrix_is_its_own() -> None:
    picture = noise("yuv420p", 64, 48)
    seen = {_rgb(picture, matrix=matrix).tobytes() for matrix in (1, 5, 7, 9)}
    assert len(seen) == 4


def _rgb(picture: av.VideoFrame, matrix: int) -> np.ndarray:
    made = versions.reformat(VideoReformatter(), picture, 64, 48, "rgb24", matrix=matrix, ranges=(1, 2))
    return raw_samples(made)["R"]
