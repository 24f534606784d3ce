"""What the muxer of mp4 and mov is told, so that start times, tags and the place of the index stay."""

from __future__ import annotations

import struct
from fractions import Fraction
from math import lcm

from .source import Source

# Tags that mp4 and mov write in their own fields; any other needs a field of its own.
_TAGS = (
    "title artist album_artist composer album date comment genre copyright grouping lyrics description synopsis show "
    "episode_id network keywords creation_time track disc timecode location encoder compilation hd_video media_type "
    "gapless_playback sort_name sort_artist sort_album sort_composer sort_album_artist sort_show episode_sort "
    "season_number rating account_type purchase_date"
)
KNOWN_TAGS = frozenset(_TAGS.split())
MAX_TIMESCALE = 0x7FFFFFFF


def movie_options(source: Source, tags: dict[str, str]) -> dict[str, str]:
    """The muxer's options for one source; `tags` are the file's own."""
    flags = []
    if any(key.lower() not in KNOWN_TAGS for key in tags):
        flags.append("use_metadata_tags")
    if "mov" in source.info.format and index_comes_first(source.path):
        flags.append("faststart")
    options = {"movflags": "+".join(flags)} if flags else {}
    # A late start is written in ticks of the movie's clock: 1/1000 s unless it is made as fine as the streams'.
    scale = 1
    for stream in source.container.streams:
        if stream.start_time and stream.time_base:
            base = Fraction(stream.time_base.numerator, stream.time_base.denominator)
            scale = lcm(scale, base.denominator)
    if scale > 1:
        video = source.info.video.time_base.denominator
        options["movie_timescale"] = str(scale if scale <= MAX_TIMESCALE else min(video, MAX_TIMESCALE))
    return options


def index_comes_first(path: str) -> bool:
    """Whether an mp4 or mov file can be played while it is loaded, because its index precedes its data."""
    with open(path, "rb") as file:
        while len(head := file.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            if kind in (b"moov", b"mdat"):
                return bool(kind == b"moov")
            read = 8
            if size == 1:
                size, read = struct.unpack(">Q", file.read(8).rjust(8, b"\0"))[0], 16
            if size < read:
                return False
            file.seek(size - read, 1)
    return False
