"""What the two PyAV series differ in: 17.1, the last for Python 3.10, and 18. Nothing else asks for a version.

Both are built on FFmpeg 8.1; 17.1 only shows less of it. Features are looked for, versions never compared.
"""

from __future__ import annotations

import contextlib
import io
import re
from enum import IntFlag

import av
from av.error import FFmpegError
from av.stream import Stream
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

ENCODES_FROM_DEVICE = hasattr(av.VideoFrame, "sw_format")
"""Whether encoders take pictures that lie on a device; PyAV 18 learned both at once."""

# Two of swscale's flags (libswscale/swscale.h). PyAV 17 takes them as a number but has no names for them.
_SWS_FULL_CHR_H_INT = 1 << 13
_SWS_ACCURATE_RND = 1 << 18

EXACT_SCALING = int(Interpolation.BILINEAR) | _SWS_ACCURATE_RND | _SWS_FULL_CHR_H_INT
"""Bilinear. Without the two flags swscale averages chroma pairs for RGB and rounds down: up to 10 levels off, not 2."""

# PyAV 18 keeps from swscale the tags that it would refuse or misread, 17 does not.
_MINDS_TAGS = hasattr(Colorspace, "BT2020")
_UNSPECIFIED, _FULL, _BT2020 = 2, 2, 9

# PixelHeight, FlagInterlaced and FieldOrder, which the Matroska muxer writes one after the other.
_FIELDS = re.compile(rb"\xba(?:\x81.|\x82..)\x9a\x81(?:\x02|\x01\x9d\x81([\x01\x06\x09\x0e]))", re.DOTALL)
_ORDERS = {b"\x01": 2, b"\x06": 3, b"\x09": 4, b"\x0e": 5}


class PixFmtLoss(IntFlag):
    """What a change of pixel format loses: FFmpeg's FF_LOSS_*, a plain number in PyAV 17."""

    RESOLUTION = 1
    DEPTH = 2
    COLORSPACE = 4
    ALPHA = 8
    COLORQUANT = 16
    CHROMA = 32


def reformat(
    scaler: VideoReformatter,
    picture: av.VideoFrame,
    width: int,
    height: int,
    format: str,
    *,
    matrix: int | None = None,
    to_matrix: int | None = None,
    ranges: tuple[int, int] | None = None,
    how: int | None = None,
) -> av.VideoFrame:
    """The picture converted on this thread. It keeps its transfer and primaries, which are never converted.

    `matrix` (AVColorSpace, with whose numbers swscale's agree: 1, 4, 5, 7 or 9) is that of source and target; None
    takes the picture's own. `to_matrix` is the target's, where it is another one. `ranges` (AVColorRange) are those of
    source and target, `how` is swscale's flags.
    """
    if to_matrix == _BT2020 and not _MINDS_TAGS:
        picture, matrix, ranges = _made_rgb(picture, matrix, ranges), None, (_FULL, ranges[1] if ranges else 0)
        to_matrix = None
    source, target = ranges or (None, None)
    tags = picture.colorspace, picture.color_trc, picture.color_primaries
    if not _MINDS_TAGS:
        # swscale refuses reserved transfers and primaries, and a matrix of BT.2020 is passed on only as a tag.
        picture.color_trc = picture.color_primaries = _UNSPECIFIED
        picture.colorspace = picture.colorspace if matrix is None else matrix
    try:
        made = scaler.reformat(
            picture,
            width,
            height,
            format,
            src_colorspace=matrix,
            dst_colorspace=matrix if to_matrix is None else to_matrix,
            interpolation=how,
            src_color_range=source,
            dst_color_range=target,
            threads=1,
        )
    finally:
        if not _MINDS_TAGS:
            picture.colorspace, picture.color_trc, picture.color_primaries = tags
    if not _MINDS_TAGS:
        made.color_trc, made.color_primaries = tags[1:]
    return made


def _made_rgb(picture: av.VideoFrame, matrix: int | None, ranges: tuple[int, int] | None) -> av.VideoFrame:
    """As RGB that is tagged BT.2020, so that PyAV 17 hands that on: it has no word for it as a target."""
    size = picture.width, picture.height
    source, tags = ranges[0] if ranges else None, (picture.color_trc, picture.color_primaries)
    rgb = reformat(VideoReformatter(), picture, *size, "gbrp16le", matrix=matrix, ranges=(source or 0, _FULL))
    rgb.colorspace, (rgb.color_trc, rgb.color_primaries) = _BT2020, tags
    return rgb


def field_order(stream: VideoStream) -> int:
    """FFmpeg's AVFieldOrder of an input stream: 0 unknown, 1 progressive, 2 to 5 interlaced."""
    order = getattr(stream.codec_context, "field_order", None)
    return _field_order_as_written(stream) if order is None else int(order)


def never_read(stream: Stream) -> bool:
    """Whether the demuxer hands out nothing of it, as of a movie's chapter track; True where PyAV can't say."""
    discard = getattr(stream, "discard", None)
    return discard is None or discard.name == "all"


def set_field_order(context: av.VideoCodecContext, order: int) -> None:
    """Tell an encoder that is not open yet; an order in its options stays. The option works in every PyAV."""
    context.options.setdefault("field_order", str(order))


def encoder_option_names(encoder: str) -> tuple[frozenset[str], frozenset[str]] | None:
    """(FFmpeg's options for every encoder, this encoder's own), or None where PyAV cannot list them.

    Then what the encoder did not take is known only once it is open.
    """
    options = getattr(av.CodecContext.create(encoder, "w"), "supported_options", None)
    if options is None:
        return None
    return frozenset(o.name for o in options.generic), frozenset(o.name for o in options.private)


def _field_order_as_written(stream: VideoStream) -> int:
    """The order that FFmpeg itself writes for this stream into the header of a Matroska file, here in memory."""
    header = io.BytesIO()
    trial = av.open(header, "w", format="matroska")
    try:
        trial.add_stream_from_template(stream, opaque=True)
        trial.start_encoding()
    except (ValueError, FFmpegError):
        return 0  # Matroska does not hold the codec.
    finally:
        with contextlib.suppress(FFmpegError):
            trial.close()
    found = _FIELDS.search(header.getvalue())
    return _ORDERS.get(found[1], 1) if found else 0
