"""Writes a clip of drawn pictures with a tone: H.264 and AAC in the container that the name asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace

AUDIO_RATE = 48_000
TONE_HZ = 180.0
BT709 = 1


def write_clip(
    path: Path,
    pictures: Iterable[npt.NDArray[np.uint8]],
    *,
    width: int,
    height: int,
    rate: int,
    loudness: Callable[[float], float],
) -> int:
    """Encodes `pictures` (height, width, 3) at a constant `rate` and returns how many there were.

    `loudness`, 0 to 1 at a time in seconds, shapes a low tone in a mono track. Width and height must be even. An
    existing file is replaced.
    """
    count = 0
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate, options={"crf": "16", "preset": "veryfast"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        context = video.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = int(ColorRange.MPEG)
        audio = container.add_stream("aac", rate=AUDIO_RATE)
        audio.codec_context.layout = "mono"
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, threads=1
            )
            frame.pts = count
            container.mux(video.encode(frame))
            container.mux(audio.encode(_tone(count, rate, loudness)))
            count += 1
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return count


def _tone(index: int, rate: int, loudness: Callable[[float], float]) -> av.AudioFrame:
    """The sound of one picture's time."""
    first, last = (AUDIO_RATE * i // rate for i in (index, index + 1))
    times = np.arange(first, last) / AUDIO_RATE
    levels = np.interp(times, [index / rate, (index + 1) / rate], [loudness(i / rate) for i in (index, index + 1)])
    tone = 0.2 * levels * (np.sin(2 * np.pi * TONE_HZ * times) + 0.4 * np.sin(6 * np.pi * TONE_HZ * times))
    frame = av.AudioFrame.from_ndarray(tone.astype(np.float32)[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts = AUDIO_RATE, first
    return frame
