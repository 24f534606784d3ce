"""What PyAV hides of FFmpeg's pictures and streams, read and written in their memory. Every access is checked first.

A picture's field order and the place of its chroma samples can't be asked for in PyAV; the pixel shape that Matroska
writes belongs to the stream, and PyAV sets only the codec's; what a container says of a video and its pictures do not
repeat, such as which part is shown, PyAV does not show; the order of channels must not be asked for in PyAV where it is
the stream's own: PyAV frees the list of them twice, which ends the process. All structures are public and laid out the
same in FFmpeg 8, which PyAV 17 and 18 bring. Each is believed only where it shows what PyAV says of the same object;
elsewhere nothing is read or written, and callers do without.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import av
from av.audio.stream import AudioStream
from av.stream import Stream
from av.video.stream import VideoStream

_KEY, _INTERLACED, _TOP_FIELD_FIRST = 1 << 1, 1 << 3, 1 << 4  # AV_FRAME_FLAG_*
_NO_TIME = -(1 << 63)  # AV_NOPTS_VALUE
_LARGEST = (1 << 31) - 1
_VIDEO, _AUDIO = 0, 1  # AVMEDIA_TYPE_*
_MOST_BESIDE = 64
"""More kinds of side data than there are."""

UNNAMED, USUAL, OWN, AMBISONIC = range(4)
"""FFmpeg's AVChannelOrder: nobody says which channel is which; the order of the names; one of the stream's own."""


class _Rational(ctypes.Structure):
    _fields_ = (("num", ctypes.c_int), ("den", ctypes.c_int))


class _AVFrame(ctypes.Structure):
    """The head of AVFrame (libavutil 60)."""

    _fields_ = (
        ("data", ctypes.c_void_p * 8),
        ("linesize", ctypes.c_int * 8),
        ("extended_data", ctypes.c_void_p),
        ("width", ctypes.c_int),
        ("height", ctypes.c_int),
        ("nb_samples", ctypes.c_int),
        ("format", ctypes.c_int),
        ("pict_type", ctypes.c_int),
        ("sample_aspect_ratio", _Rational),
        ("pts", ctypes.c_int64),
        ("pkt_dts", ctypes.c_int64),
        ("time_base", _Rational),
        ("quality", ctypes.c_int),
        ("opaque", ctypes.c_void_p),
        ("repeat_pict", ctypes.c_int),
        ("sample_rate", ctypes.c_int),
        ("buf", ctypes.c_void_p * 8),
        ("extended_buf", ctypes.c_void_p),
        ("nb_extended_buf", ctypes.c_int),
        ("side_data", ctypes.c_void_p),
        ("nb_side_data", ctypes.c_int),
        ("flags", ctypes.c_int),
        ("color_range", ctypes.c_int),
        ("color_primaries", ctypes.c_int),
        ("color_trc", ctypes.c_int),
        ("colorspace", ctypes.c_int),
        ("chroma_location", ctypes.c_int),
    )


class _AVStream(ctypes.Structure):
    """The head of AVStream (libavformat 62)."""

    _fields_ = (
        ("av_class", ctypes.c_void_p),
        ("index", ctypes.c_int),
        ("id", ctypes.c_int),
        ("codecpar", ctypes.c_void_p),
        ("priv_data", ctypes.c_void_p),
        ("time_base", _Rational),
        ("start_time", ctypes.c_int64),
        ("duration", ctypes.c_int64),
        ("nb_frames", ctypes.c_int64),
        ("disposition", ctypes.c_int),
        ("discard", ctypes.c_int),
        ("sample_aspect_ratio", _Rational),
        ("metadata", ctypes.c_void_p),
        ("avg_frame_rate", _Rational),
    )


class _AVChannelLayout(ctypes.Structure):
    """AVChannelLayout (libavutil 60)."""

    _fields_ = (
        ("order", ctypes.c_int),
        ("nb_channels", ctypes.c_int),
        ("mask_or_map", ctypes.c_uint64),
        ("opaque", ctypes.c_void_p),
    )


class _AVPacketSideData(ctypes.Structure):
    """AVPacketSideData (libavcodec 62)."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("type", ctypes.c_int))


class _AVCodecParameters(ctypes.Structure):
    """The head of AVCodecParameters (libavcodec 62)."""

    _fields_ = (
        ("codec_type", ctypes.c_int),
        ("codec_id", ctypes.c_int),
        ("codec_tag", ctypes.c_uint32),
        ("extradata", ctypes.c_void_p),
        ("extradata_size", ctypes.c_int),
        ("coded_side_data", ctypes.c_void_p),
        ("nb_coded_side_data", ctypes.c_int),
        ("format", ctypes.c_int),
        ("bit_rate", ctypes.c_int64),
        ("bits_per_coded_sample", ctypes.c_int),
        ("bits_per_raw_sample", ctypes.c_int),
        ("profile_to_height", ctypes.c_int * 4),
        ("sample_aspect_ratio", _Rational),
        ("framerate", _Rational),
        ("field_order_to_video_delay", ctypes.c_int * 7),
        ("ch_layout", _AVChannelLayout),
        ("sample_rate", ctypes.c_int),
    )


@dataclass(frozen=True, slots=True)
class Hidden:
    """What a picture says of itself beyond what PyAV shows."""

    top_field_first: bool | None
    """None for a picture that is not interlaced."""
    chroma_location: int
    """FFmpeg's AVChromaLocation: 0 unknown, 1 left, 2 centre, 3 top left, 4 top, 5 bottom left, 6 bottom."""
    aspect: Fraction | None = None
    """The shape of a pixel; None where it is not said."""


NOTHING = Hidden(None, 0)


def hidden(picture: av.VideoFrame) -> Hidden:
    """What is hidden of a picture; NOTHING where its memory is not laid out as expected."""
    address = _pointer(picture)
    if not address:
        return NOTHING
    raw = _AVFrame.from_address(address)
    if not _is(raw, picture) or not 0 <= raw.chroma_location <= 6:
        return NOTHING
    top = bool(raw.flags & _TOP_FIELD_FIRST) if raw.flags & _INTERLACED else None
    return Hidden(top, raw.chroma_location, _fraction(raw.sample_aspect_ratio))


def set_top_first(picture: av.VideoFrame, top_first: bool) -> None:
    """Say which field of a picture comes first; nothing where its memory is not laid out as expected."""
    address = _pointer(picture)
    if not address:
        return
    raw = _AVFrame.from_address(address)
    if _is(raw, picture):
        raw.flags = raw.flags | _TOP_FIELD_FIRST if top_first else raw.flags & ~_TOP_FIELD_FIRST


def set_aspect(stream: VideoStream, aspect: Fraction) -> bool:
    """Give an output stream that is not begun its pixel shape; False, with nothing changed, where that can't be done.

    FFmpeg itself is asked afterwards what the stream says.
    """
    address = _pointer(stream)
    if not address or max(aspect.numerator, aspect.denominator) > _LARGEST:
        return False
    raw = _AVStream.from_address(address)
    if not _belongs(raw, stream):
        return False
    raw.sample_aspect_ratio.num, raw.sample_aspect_ratio.den = aspect.numerator, aspect.denominator
    return stream.sample_aspect_ratio == aspect


def beside_stream(stream: Stream) -> dict[int, bytes]:
    """What an input's container says of a video beside its tags, by FFmpeg's AVPacketSideDataType.

    Empty where the memory is not laid out as expected.
    """
    video = _parameters(stream)
    said = _VIDEO, len(stream.codec_context.extradata or b"")
    if video is None or (video.codec_type, video.extradata_size) != said:
        return {}
    if not video.coded_side_data or not 0 < video.nb_coded_side_data <= _MOST_BESIDE:
        return {}
    found = (_AVPacketSideData * video.nb_coded_side_data).from_address(video.coded_side_data)
    return {item.type: ctypes.string_at(item.data, item.size) for item in found if item.data}


def channel_order(stream: AudioStream) -> tuple[int, int] | None:
    """(order, how many) of an input's channels; None where the memory is not laid out as expected."""
    sound = _parameters(stream)
    if sound is None:
        return None
    said = (sound.codec_type, sound.sample_rate, sound.extradata_size)
    if said != (_AUDIO, stream.rate, len(stream.codec_context.extradata or b"")):
        return None
    layout = sound.ch_layout
    return (layout.order, layout.nb_channels) if UNNAMED <= layout.order <= AMBISONIC else None


@lru_cache(maxsize=1)
def _known() -> bool:
    """Whether these are the builds whose layout this file knows: others may have no pointer where we would look."""
    versions = av.library_versions
    return (
        sys.implementation.name == "cpython"
        and av.__version__.partition(".")[0] in ("17", "18")
        and (versions["libavutil"][0], versions["libavformat"][0]) == (60, 62)
    )


def _pointer(wrapper: object) -> int:
    """FFmpeg's structure behind one of PyAV's objects: the first field after Python's head and Cython's table."""
    if not _known():
        return 0
    place = id(wrapper) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p)
    address = ctypes.c_void_p.from_address(place).value or 0
    return 0 if address % ctypes.alignment(ctypes.c_void_p) else address


def _parameters(stream: Stream) -> _AVCodecParameters | None:
    address = _pointer(stream)
    if not address:
        return None
    raw = _AVStream.from_address(address)
    if not _is_stream(raw, stream) or not raw.codecpar or raw.codecpar % ctypes.alignment(ctypes.c_void_p):
        return None
    return _AVCodecParameters.from_address(raw.codecpar)


def _is(raw: _AVFrame, picture: av.VideoFrame) -> bool:
    seen = (
        raw.width,
        raw.height,
        None if raw.pts == _NO_TIME else raw.pts,
        raw.color_range,
        raw.color_primaries,
        raw.color_trc,
        raw.colorspace,
        bool(raw.flags & _INTERLACED),
        bool(raw.flags & _KEY),
    )
    return seen == (
        picture.width,
        picture.height,
        picture.pts,
        picture.color_range,
        picture.color_primaries,
        picture.color_trc,
        picture.colorspace,
        picture.interlaced_frame,
        picture.key_frame,
    )


def _belongs(raw: _AVStream, stream: VideoStream) -> bool:
    return (
        _is_stream(raw, stream)
        and (raw.sample_aspect_ratio.num, raw.sample_aspect_ratio.den) == (0, 1)
        and _fraction(raw.avg_frame_rate) == stream.average_rate
    )


def _is_stream(raw: _AVStream, stream: Stream) -> bool:
    seen = (raw.index, raw.id, raw.disposition, _fraction(raw.time_base))
    return seen == (stream.index, stream.id, int(stream.disposition), stream.time_base)


def _fraction(value: _Rational) -> Fraction | None:
    """As PyAV shows it."""
    return Fraction(value.num, value.den) if value.num and value.den else None
