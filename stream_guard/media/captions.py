"""Captions that lie in the pictures themselves (CEA-608/708, side data of kind A53), as in American broadcasts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import av
from av.sidedata.sidedata import SideData

CARRIED_BY = frozenset({"libx264", "libx264rgb", "libx265", "h264_nvenc", "hevc_nvenc", "av1_nvenc"})
"""Encoders that write a picture's captions into the bitstream (FFmpeg's option a53cc)."""


def has_captions(picture: av.VideoFrame) -> bool:
    # The stubs call the container a mapping of names; it is a sequence of side data.
    return any(_is_caption(item) for item in cast("Iterator[SideData]", picture.side_data))


def _is_caption(item: SideData) -> bool:
    try:
        return item.type.name == "A53_CC"
    except ValueError:
        return False  # A kind that PyAV does not know.
