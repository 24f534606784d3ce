"""Choose the streams to protect, check them and describe them, before a frame is read."""

from __future__ import annotations

from fractions import Fraction

import av
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from ..errors import SourceError, UsageError
from .hwaccel import sample_format
from .info import Colour, StreamInfo, VideoInfo
from .versions import field_order

MAX_SIDE = 16384
MAX_PIXELS = 1 << 27
MAX_RATE = 1000
# Pictures that belong to a track rather than being one: no video to protect, but `stills.py` looks at them.
STILL = Disposition.attached_pic | Disposition.timed_thumbnails


def fraction(value: Fraction | None) -> Fraction | None:
    """PyAV's rational as an exact Fraction; None for zero, infinite and undefined ones."""
    if value is None or not value.denominator or not value.numerator:
        return None
    return Fraction(value.numerator, value.denominator)


def choose_videos(container: av.container.InputContainer, path: str, all_video: bool) -> list[VideoStream]:
    """The streams to protect: the first default one, or all real ones with `all_video`. Raises for none or several."""
    real = [s for s in container.streams.video if not s.disposition & STILL]
    if not real:
        kinds = sorted({str(s.type) for s in container.streams}) or ["nothing"]
        raise SourceError(
            f"the input {path!r} holds no video (only {', '.join(kinds)}); there is no face to look for in it"
        )
    if all_video:
        return real
    if len(real) > 1:
        listed = ", ".join(
            f"#{s.index} {s.codec_context.width}x{s.codec_context.height}" for s in real if s.codec_context
        )
        raise UsageError(
            f"the input {path!r} holds {len(real)} video streams ({listed}), and all but one would be passed over; "
            "give a file with the one you want (`protect --all-video` protects all of them)"
        )
    return real


def check_video(stream: VideoStream, path: str) -> None:
    """Raise SourceError for what no decoder or encoder can work with: no decoder, absurd size or frame rate."""
    context = stream.codec_context
    if context is None:
        raise SourceError(f"video stream #{stream.index} of {path!r} has a codec that cannot be decoded here")
    width, height = context.width, context.height
    if width <= 0 or height <= 0:
        if is_animated_webp(path):
            raise SourceError(
                f"the input {path!r} is an animated WebP, which the FFmpeg inside PyAV cannot decode; turn it into a "
                ".gif or .mp4 first"
            )
        raise SourceError(
            f"video stream #{stream.index} of {path!r} has no usable size ({width}x{height}); the file is damaged"
        )
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise SourceError(
            f"video stream #{stream.index} of {path!r} claims {width}x{height}; at most {MAX_SIDE} a side and "
            f"{MAX_PIXELS} pixels are allowed: scale it down first"
        )
    check_rate(stream, path)


def is_animated_webp(path: str) -> bool:
    """Whether the file says so in its first chunk."""
    try:
        with open(path, "rb") as file:
            head = file.read(34)
    except OSError:
        return False
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and head[30:] == b"ANIM"


def check_rate(stream: VideoStream, path: str) -> None:
    rate = fraction(stream.average_rate)
    # One or two frames make an average of nothing: a still picture in a 90 kHz container is no 90000 frames a second.
    # Of raw DV, FFmpeg gives the clock's ticks for an average, and the rate only as its guess.
    if rate and rate > MAX_RATE and stream.frames not in (1, 2) and usual_rate(stream) is None:
        raise SourceError(
            f"video stream #{stream.index} of {path!r} claims {float(rate):g} frames a second; at most {MAX_RATE} are "
            "allowed: the header is damaged, write the file anew with the right rate"
        )


def describe(stream: VideoStream, picture: av.VideoFrame, moved: float = 0.0) -> VideoInfo:
    """What the container says of the stream, `moved` up by seconds, and what its first decoded picture shows."""
    context, order = stream.codec_context, field_order(stream)
    base = fraction(stream.time_base) or Fraction(1, 90000)
    seconds = None if stream.duration is None else float(stream.duration * base)
    rate = usual_rate(stream)
    return VideoInfo(
        stream=stream.index,
        codec=context.codec.canonical_name,
        width=picture.width,
        height=picture.height,
        pix_fmt=sample_format(picture),
        time_base=base,
        average_rate=rate,
        start_seconds=float((stream.start_time or 0) * base) + moved,
        duration_seconds=seconds,
        frames=stream.frames or (round(seconds * rate) if seconds and rate else None),
        rotation=picture.rotation,
        sample_aspect_ratio=fraction(stream.sample_aspect_ratio),
        colour=_colour(context, picture),
        interlaced=picture.interlaced_frame or order in (2, 3, 4, 5),
        field_order=order,
        bit_rate=context.bit_rate,
    )


def usual_rate(stream: VideoStream) -> Fraction | None:
    """The average rate, or FFmpeg's guess; none where both are absurd, as of one frame in a container of fine ticks."""
    for value in (stream.average_rate, stream.guessed_rate):
        rate = fraction(value)
        if rate and 0 < rate <= MAX_RATE:
            return rate
    return None


def _colour(context: av.VideoCodecContext, picture: av.VideoFrame) -> Colour:
    """The picture's own tags, and the container's where the picture has none."""
    return Colour(
        range=int(picture.color_range) or int(context.color_range),
        matrix=_tagged(picture.colorspace, context.colorspace),
        primaries=_tagged(picture.color_primaries, context.color_primaries),
        transfer=_tagged(picture.color_trc, context.color_trc),
    )


def _tagged(first: int, second: int) -> int:
    return int(second if int(first) == 2 else first)


def describe_stream(stream: Stream, role: str) -> StreamInfo:
    context = stream.codec_context
    codec = context.codec.canonical_name if context is not None else (getattr(stream, "name", None) or "unknown")
    return StreamInfo(index=stream.index, kind=stream.type, codec=codec, role=role)
