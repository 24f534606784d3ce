"""The ways from a protected picture to what an attacker's network is fed, by name.

`float` is the papers' own: no picture, no rounding, no encoder. All others start from the 8-bit 4:2:0 picture into
which the perturbation was written, as `stream-guard protect` does, and end in an 8-bit crop of the head.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from stream_guard.errors import UsageError
from stream_guard.media import pixels
from stream_guard.media.loopback import jpeg_loopback

from .delivered import tagged

Picture = npt.NDArray[np.uint8]
Edit = Callable[[Picture], Picture]

ENCODERS = {
    "h264": ("libx264", {"preset": "veryfast"}),
    "h265": ("libx265", {"preset": "veryfast", "x265-params": "log-level=none:pools=none:frame-threads=1"}),
    "vp9": ("libvpx-vp9", {"b": "0", "deadline": "realtime", "cpu-used": "6"}),
}
"""The FFmpeg encoder of each codec and its options; the crf is added."""


@dataclass(frozen=True)
class Channel:
    """One delivery: an encoder (None: none) at `crf`, then edits of the picture, then the attacker's crop.

    `crop` is the share of the head's side that the attacker takes.
    """

    name: str
    title: str
    codec: str | None = None
    crf: int = 0
    edit: Edit | None = None
    crop: float = 1.0

    @property
    def is_float(self) -> bool:
        return self.name == FLOAT

    def deliver(self, frames: Sequence[av.VideoFrame], measured: int) -> av.VideoFrame:
        """The measured frame of the clip as it arrives."""
        frame = frames[measured] if self.codec is None else encoded(frames, self.codec, self.crf)[measured]
        if self.edit is None:
            return frame
        picture = np.ascontiguousarray(self.edit(pixels.whole_rgb(frame)))
        return av.VideoFrame.from_ndarray(picture, format="rgb24")


def encoded(frames: Sequence[av.VideoFrame], codec: str, crf: int) -> list[av.VideoFrame]:
    """The frames after an encoder, decoded."""
    name, options = ENCODERS[codec]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream(name, rate=25)
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
        stream.options = {"crf": str(crf), **options}
        stream.codec_context.thread_count = 1
        for index, frame in enumerate(frames):
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    buffer.seek(0)
    with av.open(buffer) as container:
        return [tagged(frame) for frame in container.decode(video=0)]


def can_encode(codec: str) -> bool:
    """Whether this PyAV's FFmpeg has the encoder."""
    try:
        av.codec.Codec(ENCODERS[codec][0], "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def jpeg(quality: int) -> Edit:
    return lambda picture: jpeg_loopback(picture[None], quality)[0]


def scaled(share: float) -> Edit:
    """Down to a share of its sides, and back up for the attacker's crop to find the head where it was."""

    def edit(picture: Picture) -> Picture:
        whole = Image.fromarray(picture)
        size = (max(2, round(whole.width * share)), max(2, round(whole.height * share)))
        return np.asarray(whole.resize(size, Image.Resampling.BILINEAR).resize(whole.size, Image.Resampling.BILINEAR))

    return edit


def blur(sigma: float) -> Edit:
    """A Gaussian blur of `sigma` pixels of the delivered frame."""
    return lambda picture: np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(sigma)))


FLOAT = "float"
_ALL = (
    Channel(FLOAT, "float, no encoder"),
    Channel("8bit", "8 bits"),
    Channel("h264_crf23", "H.264 crf 23", "h264", 23),
    Channel("h264_crf30", "H.264 crf 30", "h264", 30),
    Channel("jpeg75", "JPEG 75", edit=jpeg(75)),
    Channel("h264_crf40", "H.264 crf 40", "h264", 40),
    Channel("h265_crf23", "H.265 crf 23", "h265", 23),
    Channel("h265_crf30", "H.265 crf 30", "h265", 30),
    Channel("h265_crf40", "H.265 crf 40", "h265", 40),
    Channel("vp9_crf33", "VP9 crf 33", "vp9", 33),
    Channel("jpeg40", "JPEG 40", edit=jpeg(40)),
    Channel("resize0.71", "resized to 0.71", edit=scaled(0.71)),
    Channel("resize0.5", "resized to 0.5", edit=scaled(0.5)),
    Channel("crop0.71", "crop of 0.71 of the side", crop=0.71),
    Channel("blur1", "blur, sigma 1 px", edit=blur(1)),
    Channel("blur2", "blur, sigma 2 px", edit=blur(2)),
    Channel("h264_crf30_resize0.5", "H.264 crf 30, then 0.5", "h264", 30, edit=scaled(0.5)),
    Channel("h264_crf30_jpeg40", "H.264 crf 30, then JPEG 40", "h264", 30, edit=jpeg(40)),
    Channel("h265_crf30_crop0.71", "H.265 crf 30, crop of 0.71", "h265", 30, crop=0.71),
    Channel("h264_crf23_blur2", "H.264 crf 23, then blur 2 px", "h264", 23, edit=blur(2)),
)
CHANNELS = {channel.name: channel for channel in _ALL}
STANDARD = ("float", "8bit", "h264_crf23", "h264_crf30", "jpeg75")
"""The columns of every table."""


def channels(names: Sequence[str]) -> list[Channel]:
    """The channels by name. Raises UsageError listing those there are."""
    for name in names:
        if name not in CHANNELS:
            raise UsageError(f"unknown channel {name!r}; choose from: {', '.join(CHANNELS)}")
    return [CHANNELS[name] for name in names]
