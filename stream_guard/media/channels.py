"""The channels and the rate of sound: what stands in for them where a container or an encoder can't take them.

Players take channels that nobody named for the usual ones (two are left and right); encoders and some muxers refuse
them, and FLV's muxer even ends the process. So they get their names before any of these is asked.
"""

from __future__ import annotations

from typing import cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.error import FFmpegError
from av.stream import Stream

from .inner import UNNAMED, USUAL, channel_order

OPUS_RATE = 48000
FOLDED = "stereo"
"""What more channels become where the encoder does not take them."""
ONLY_ANNOUNCED = "it is announced, but no sound of it was found where the input begins"
OWN_ORDER = "its channels are in an order that nothing encodes"
_MOVIES = frozenset({"mp4", "mov", "ipod", "3gp"})
_FLV_NAMES = frozenset({"aac", "mp3", "opus", "flac", "ac3", "eac3"})
"""Sound that FLV's muxer has a name for whatever its channels are; of other sound it takes one channel or two."""
_FLV_SETUP = frozenset({"opus", "flac"})


def is_heard(stream: AudioStream) -> bool:
    """False for sound that is only announced: nothing of it was found, so neither rate nor channels are known."""
    return bool(stream.rate) and _order(stream)[1] > 0


def unusable(stream: AudioStream) -> str:
    """Why nothing can be encoded of this sound; empty where it can."""
    if not is_heard(stream):
        return ONLY_ANNOUNCED
    return "" if layout_of(stream) else OWN_ORDER


def layout_of(stream: AudioStream) -> str:
    """The layout by name, or the usual one for that many channels where nobody named them.

    Empty where there is none, and for channels in an order of the stream's own, which PyAV must not be asked for.
    """
    order, count = _order(stream)
    if order == USUAL:
        return str(stream.layout.name)
    try:
        return str(av.AudioLayout(f"{count}c").name) if order == UNNAMED else ""
    except ValueError:
        return ""


def add_copy(out: av.container.OutputContainer, stream: Stream) -> Stream:
    """`stream` as a new stream of `out`, to be copied; channels that nobody named get their usual names."""
    added = out.add_stream_from_template(stream, opaque=True)
    if isinstance(stream, AudioStream) and is_unnamed(stream) and (layout := layout_of(stream)):
        cast(AudioStream, added).codec_context.layout = layout
    return added


def is_unnamed(stream: AudioStream) -> bool:
    return _order(stream)[0] == UNNAMED


def may_be_asked(format: str, stream: AudioStream) -> bool:
    """False where the format's muxer would not refuse this sound but fail much later, or end the whole process."""
    if format in _MOVIES:
        return not is_unnamed(stream) or bool(layout_of(stream))  # Named at the end, when all is written.
    if format != "flv":
        return True
    codec = stream.codec_context.codec.canonical_name
    if codec in _FLV_NAMES:
        return codec not in _FLV_SETUP or bool(stream.codec_context.extradata)
    return not is_unnamed(stream) and layout_of(stream) in ("mono", "stereo")


def encodable(stream: AudioStream, encoder: str) -> tuple[int, str] | None:
    """(rate, layout) for the encoder: the stream's own where it takes them, else what is nearest.

    None for channels that no decoder here can hand on.
    """
    own, rate = layout_of(stream), OPUS_RATE if encoder == "libopus" else _nearest_rate(encoder, stream.rate)
    if not own:
        return None
    kept = encoder == "aac" or av.AudioLayout(own).nb_channels <= 2
    layouts = (own, FOLDED) if kept else (FOLDED,)
    return next(((rate, layout) for layout in layouts if _opens(encoder, rate, layout)), None)


def _nearest_rate(encoder: str, rate: int) -> int:
    """The higher of two that are as near: it loses nothing."""
    known = av.Codec(encoder, "w").audio_rates
    return min(known, key=lambda one: (abs(one - rate), -one)) if known else rate


def _opens(encoder: str, rate: int, layout: str) -> bool:
    context = av.CodecContext.create(encoder, "w")
    if not isinstance(context, AudioCodecContext):
        return False
    context.sample_rate, context.layout = rate, layout
    if context.codec.audio_formats:
        context.format = context.codec.audio_formats[0]
    try:
        context.open()
    except (FFmpegError, ValueError):
        return False
    return True


def _order(stream: AudioStream) -> tuple[int, int]:
    """(order, how many channels); asked of PyAV itself only where its memory is not laid out as known."""
    known = channel_order(stream)
    if known is not None:
        return known
    named = any(channel.name != "NONE" for channel in stream.layout.channels)
    return (USUAL if named else UNNAMED), stream.layout.nb_channels
