"""The shape of a picture's pixels, for containers that have to say it because the bitstream does not."""

from __future__ import annotations

from fractions import Fraction

from av.video.stream import VideoStream

from .inner import set_aspect

_SAY_IT_THEMSELVES = frozenset({"h264", "hevc", "mpeg4", "mpeg2video", "mjpeg", "gif"})
"""Codecs whose bitstream holds the exact shape. Matroska's would be rounded to whole pixels, and is believed first."""
_FROM_THE_STREAM = frozenset({"matroska", "webm"})
"""Muxers that ask the stream; PyAV gives the shape to the codec alone, which is where the others look."""
_NEVER = frozenset({"flv", "mpegts"})


def carry_shape(stream: VideoStream, format: str, aspect: Fraction | None) -> str:
    """Have the muxer write the shape where it takes it from the stream; words for a warning where it will be lost.

    Before the output is begun.
    """
    codec = stream.codec_context.codec.canonical_name
    if aspect is None or aspect == 1 or codec in _SAY_IT_THEMSELVES:
        return ""
    if format in _NEVER or (format in _FROM_THE_STREAM and not set_aspect(stream, aspect)):
        return (
            f"{codec} in {format} cannot say that a pixel is {aspect.numerator}:{aspect.denominator} in shape; the "
            "picture will be shown with square pixels: use --codec libx264"
        )
    return ""
