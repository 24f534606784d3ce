"""Whether a muxer takes an option, found by writing the beginning of a file that nobody keeps."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping

import av
from av.error import FFmpegError

SIZE = 64
FAILURES = (FFmpegError, ValueError, OverflowError, OSError)


def refused(format: str, options: Mapping[str, str]) -> tuple[str, str] | None:
    """The first option whose value this muxer does not take; None where it takes all, or writes no video at all.

    FFmpeg looks at values when a file begins, and then says `Invalid argument` of the file, not which one it was.
    """
    if not options or not _begins(format, {}):
        return None
    return next(((name, value) for name, value in options.items() if not _begins(format, {name: value})), None)


def _begins(format: str, options: Mapping[str, str]) -> bool:
    # With `io_open` a muxer that opens files by itself, as HLS does, writes none; where it renames one there is none.
    place = f"{os.devnull}/trial.m3u8" if format == "hls" else io.BytesIO()
    try:
        out = av.open(place, "w", format=format, container_options=dict(options), io_open=lambda *_: io.BytesIO())
        stream = out.add_stream(out.default_video_codec, rate=25)
        if isinstance(stream, av.VideoStream):
            stream.width = stream.height = SIZE
        out.start_encoding()
    except FAILURES:
        return False
    with contextlib.suppress(*FAILURES):
        out.close()
    return True
