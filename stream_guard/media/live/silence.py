"""Silent packets of a codec, for gaps: readers of a stream with sound wait for sound."""

from __future__ import annotations

import av
from av.audio.codeccontext import AudioCodecContext
from av.error import FFmpegError

ENCODERS = {"aac": "aac", "mp3": "libmp3lame", "mp2": "mp2", "ac3": "ac3", "opus": "libopus"}
SETTLED = 6
"""So many packets in, an encoder has forgotten its start."""
PCM_SECONDS = 0.02
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_LOW_COMPLEXITY = 2


def silent_packet(codec: str, rate: int, layout: str, extradata: bytes) -> tuple[bytes, int] | None:
    """(a packet of silence that can be repeated, its length in samples); None where none can be made.

    It fits into a stream of this codec with this setup: of AAC only low complexity does, plain or with ADTS headers.
    """
    if codec == "aac" and extradata and _setup_of(extradata) != (_LOW_COMPLEXITY, rate):
        return None
    name = codec if codec.startswith("pcm_") else ENCODERS.get(codec)
    if name is None:
        return None
    try:
        made = _encoded(name, rate, layout)
    except (FFmpegError, ValueError):
        return None
    if made is None or codec != "aac" or extradata:
        return made
    header = _adts(rate, layout, len(made[0]))
    return None if header is None else (header + made[0], made[1])


def _encoded(name: str, rate: int, layout: str) -> tuple[bytes, int] | None:
    context = av.CodecContext.create(name, "w")
    if not isinstance(context, AudioCodecContext):
        return None
    context.sample_rate, context.layout = rate, layout
    if context.codec.audio_formats:
        context.format = context.codec.audio_formats[0]
    context.open()
    count = context.frame_size or round(rate * PCM_SECONDS)
    last = b""
    for number in range(SETTLED):
        for packet in context.encode(_zeros(context, count, number)):
            last = bytes(packet)
    return (last, count) if last else None


def _zeros(context: AudioCodecContext, count: int, number: int) -> av.AudioFrame:
    frame = av.AudioFrame(context.format.name, context.layout.name, count)
    for plane in frame.planes:
        # Unsigned bytes are silent in their middle.
        plane.update(bytes([128 if context.format.name.startswith("u8") else 0]) * plane.buffer_size)
    frame.sample_rate, frame.pts = context.sample_rate, number * count
    return frame


def _setup_of(extradata: bytes) -> tuple[int, int]:
    """(object type, sampling rate) of an AudioSpecificConfig, ISO/IEC 14496-3 1.6.2.1; rate 0 when spelled out."""
    bits = int.from_bytes(extradata[:2].ljust(2, b"\0"), "big")
    index = bits >> 7 & 15
    return bits >> 11, _AAC_RATES[index] if index < len(_AAC_RATES) else 0


def _adts(rate: int, layout: str, size: int) -> bytes | None:
    """The header of an ADTS frame, ISO/IEC 13818-7 6.2: low complexity, no checksum, one block."""
    channels = av.AudioLayout(layout).nb_channels
    if rate not in _AAC_RATES or not 1 <= channels <= 6:
        return None
    begin = [(0xFFF, 12), (0, 1), (0, 2), (1, 1), (_LOW_COMPLEXITY - 1, 2), (_AAC_RATES.index(rate), 4), (0, 1)]
    value = 0
    for field, width in [*begin, (channels, 3), (0, 4), (size + 7, 13), (0x7FF, 11), (0, 2)]:
        value = value << width | field
    return value.to_bytes(7, "big")
