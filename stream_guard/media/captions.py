"""Captions that lie in the pictures themselves (CEA-608/708, side data of kind A53), as in American broadcasts."""

from __future__ import annotations

import av

from .side_data import kinds

CARRIED_BY = frozenset({"libx264", "libx264rgb", "libx265", "h264_nvenc", "hevc_nvenc", "av1_nvenc"})
"""Encoders that write a picture's captions into the bitstream (FFmpeg's option a53cc)."""


def has_captions(picture: av.VideoFrame) -> bool:
    return "A53_CC" in kinds(picture)
