"""Media made on the spot, one function a trouble. Every clip is small, deterministic and written with PyAV alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

X264 = {"preset": "ultrafast", "crf": "23", "threads": "1"}

SAME_BITS = {"preset": "superfast"}
"""An encoder with B pictures that gives the same bits each time. x264's mbtree, which presets from veryfast on use,
does not where its AVX-512 code runs on AMD's Zen 5: 200 plain encodes of twelve pictures gave five different streams,
with `mbtree=0` or `asm=avx2` one."""


@dataclass(frozen=True)
class Clip:
    """A recipe; `write` turns it into a file. `pts` count in `time_base`; None means a constant `rate` from 0."""

    size: tuple[int, int] = (160, 120)
    frames: int = 30
    rate: Fraction = Fraction(25)
    time_base: Fraction | None = None
    pts: Sequence[int] | None = None
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=dict)
    audio: Sequence[str] = ("aac",)
    audio_seconds: float | None = None
    setup: Any = None
    """Called with (container, video stream) before the first packet: metadata, tags, further streams."""
    mux_extra: Any = None
    """Called with (container) right after the header's streams exist, before the first picture is encoded."""

    def clock(self) -> tuple[Fraction, Sequence[int]]:
        """The encoder's time base and the timestamps of the pictures in it."""
        base = self.time_base or 1 / Fraction(self.rate)
        if self.pts is not None:
            return base, self.pts
        step = 1 / Fraction(self.rate) / base
        return base, [round(i * step) for i in range(self.frames)]


def picture(index: int, size: tuple[int, int], pix_fmt: str = "yuv420p") -> av.VideoFrame:
    """A moving, textured picture: a gradient, a drifting stripe and a block, so that encoders have something to do."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    red = (x * 255 // max(width - 1, 1) + 3 * index) % 256
    green = (y * 255 // max(height - 1, 1)) % 256
    blue = ((x + y + 5 * index) // 8 % 2) * 160 + 40
    rgb = np.stack([red, green, blue], axis=-1).astype(np.uint8)
    left = (4 * index) % max(width - 16, 1)
    rgb[height // 3 : height // 3 + 12, left : left + 16] = (250, 220, 30)
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    return frame if pix_fmt == "rgb24" else frame.reformat(format=pix_fmt)


def pictures(clip: Clip) -> Iterator[av.VideoFrame]:
    base, stamps = clip.clock()
    for index, pts in enumerate(stamps):
        frame = picture(index, clip.size, clip.pix_fmt)
        frame.pts, frame.time_base = pts, base
        yield frame


def tone(seconds: float, rate: int = 44100, hertz: float = 330.0) -> Iterator[av.AudioFrame]:
    """A sine in blocks of 1024 samples, stereo, float planar."""
    total = int(seconds * rate)
    for start in range(0, total, 1024):
        count = min(1024, total - start)
        t = (np.arange(count) + start) / rate
        wave = (0.2 * np.sin(2 * np.pi * hertz * t)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        yield frame


def write(path: Path, clip: Clip, *, format: str | None = None, container: Mapping[str, str] | None = None) -> Path:
    """Encode `clip` into `path`; `container` are options of the muxer."""
    with av.open(str(path), "w", format=format, container_options=dict(container or {})) as out:
        video = _video_stream(out, clip)
        sounds = [(_audio_stream(out, name), 330.0 * (i + 1)) for i, name in enumerate(clip.audio)]
        if clip.setup:
            clip.setup(out, video)
        out.start_encoding()
        if clip.mux_extra:
            clip.mux_extra(out)
        _interleave(out, clip, video, sounds)
    return path


def _video_stream(out: av.container.OutputContainer, clip: Clip) -> av.VideoStream:
    base, _ = clip.clock()
    options = dict(X264 if clip.codec == "libx264" else {}) | dict(clip.options)
    stream = out.add_stream(clip.codec, rate=clip.rate, options=options, time_base=base)
    stream.codec_context.width, stream.codec_context.height = clip.size
    stream.codec_context.pix_fmt = clip.pix_fmt
    stream.codec_context.thread_count = 1
    stream.codec_context.flags |= av.codec.context.Flags.frame_duration
    return stream


def _audio_stream(out: av.container.OutputContainer, codec: str) -> av.AudioStream:
    rate = 48000 if "opus" in codec else 44100
    return out.add_stream(codec, rate=rate, layout="stereo")


def _interleave(
    out: av.container.OutputContainer,
    clip: Clip,
    video: av.VideoStream,
    sounds: Iterable[tuple[av.AudioStream, float]],
) -> None:
    _, stamps = clip.clock()
    base, _ = clip.clock()
    step = round(1 / Fraction(clip.rate) / base) or 1
    seconds = clip.audio_seconds
    if seconds is None:
        seconds = float((stamps[-1] - stamps[0] + step) * base) if stamps else 0.0
    for frame, following in zip(pictures(clip), [*stamps[1:], stamps[-1] + step], strict=True):
        frame.duration = max(following - (frame.pts or 0), 1)
        out.mux(video.encode(frame))
    out.mux(video.encode(None))
    for stream, hertz in sounds:
        resampler = av.AudioResampler(stream.format, "stereo", stream.rate)
        for block in tone(seconds, stream.rate, hertz):
            for frame in resampler.resample(block):
                out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


# --- one function a trouble -----------------------------------------------------------------------------------------


def plain(folder: Path, *, frames: int = 30, size: tuple[int, int] = (160, 120), suffix: str = ".mp4") -> Path:
    """H.264 4:2:0 at 25 fps with one AAC track: no trouble at all."""
    return write(folder / f"plain{suffix}", Clip(size=size, frames=frames, options={"bf": "2"}))


VFR_PTS = (0, 512, 1024, 1100, 2048, 4096, 4200, 4711, 9000, 9512, 10024, 15000, 15512, 16001, 20480)


def vfr(
    folder: Path, *, suffix: str = ".mp4", pts: Sequence[int] = VFR_PTS, base: Fraction = Fraction(1, 12800)
) -> Path:
    """Frames at uneven times, with B-frames and one AAC track."""
    return write(folder / f"vfr{suffix}", Clip(pts=tuple(pts), time_base=base, options={"bf": "2"}))
