"""Encodes and decodes pictures in memory: what a viewer would get, without a file. For training and measuring."""

from __future__ import annotations

import io

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

Pictures = npt.NDArray[np.uint8]


def h264_loopback(pictures: Pictures, crf: int, preset: str = "veryfast") -> Pictures:
    """(N, H, W, 3) RGB through libx264 in 4:2:0, each as the second frame of its own pair.

    A picture in a video is mostly predicted from the one before. So each is preceded by itself moved by one pixel, in a group of
    two, and the predicted frame is what comes back.
    """
    n, height, width, _ = pictures.shape
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="nut") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        stream.options = {
            "crf": str(crf),
            "preset": preset,
            "keyint": "2",
            "x264-params": "keyint=2:min-keyint=2:bframes=0",
        }
        stream.codec_context.thread_count = 1
        for picture in pictures:
            for shifted in (np.roll(picture, 1, axis=1), picture):
                container.mux(stream.encode(_frame(shifted)))
        container.mux(stream.encode(None))
    buffer.seek(0)
    with av.open(buffer) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    return np.stack(frames[1::2])[:, :height, :width]


def jpeg_loopback(pictures: Pictures, quality: int) -> Pictures:
    """(N, H, W, 3) RGB through JPEG at `quality` (1 to 95), 4:2:0."""
    out = []
    for picture in pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
        out.append(np.asarray(Image.open(buffer)))
    return np.stack(out)


def _frame(picture: npt.NDArray[np.uint8]) -> av.VideoFrame:
    height, width, _ = picture.shape
    if width % 2 or height % 2:
        picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(
        format="yuv420p", threads=1
    )
