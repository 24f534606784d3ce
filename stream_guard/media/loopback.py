"""Encodes and decodes pictures in memory: what a viewer would get, without a file. For training and measuring."""

from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

Pictures = npt.NDArray[np.uint8]


def h264_frames(frames: Iterable[av.VideoFrame], crf: int, **options: str) -> tuple[list[av.VideoFrame], int]:
    """(the frames after libx264 at `crf`, in their own pixel format; the size of the stream in bytes)."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="nut") as container:
        stream = None
        for index, frame in enumerate(frames):
            if stream is None:
                stream = container.add_stream("libx264", rate=25)
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
                stream.options = {"crf": str(crf), "preset": "veryfast", **options}
                stream.codec_context.thread_count = 1
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode(None))
    size = buffer.tell()
    buffer.seek(0)
    with av.open(buffer) as container:
        return list(container.decode(video=0)), size


def h264_loopback(pictures: Pictures, crf: int) -> Pictures:
    """(N, H, W, 3) RGB through libx264 in 4:2:0, each as the second frame of its own pair.

    A picture in a video is mostly predicted from the one before. So each is preceded by itself moved by one pixel, in
    a group of two, and the predicted frame is what comes back.
    """
    height, width = pictures.shape[1:3]
    pairs = (to_yuv420(p) for picture in pictures for p in (np.roll(picture, 1, axis=1), picture))
    decoded, _ = h264_frames(pairs, crf, **{"x264-params": "keyint=2:min-keyint=2:bframes=0"})
    pictures = np.stack([f.to_ndarray(format="rgb24") for f in decoded[1::2]]).astype(np.uint8, copy=False)
    return pictures[:, :height, :width]


def jpeg_loopback(pictures: Pictures, quality: int) -> Pictures:
    """(N, H, W, 3) RGB through JPEG at `quality` (1 to 95), 4:2:0."""
    out = []
    for picture in pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
        out.append(np.asarray(Image.open(buffer)))
    return np.stack(out)


def to_yuv420(picture: npt.NDArray[np.uint8]) -> av.VideoFrame:
    """An RGB picture (H, W, 3) as 4:2:0, limited range; odd sides are made even by repeating the last row or column."""
    height, width, _ = picture.shape
    if width % 2 or height % 2:
        picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(
        format="yuv420p", threads=1
    )
