"""Pictures made of indices into a palette, as PNG, ZMBV and old AVI hold them: no face can be changed in an index."""

from __future__ import annotations

import sys

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from .versions import reformat

PALETTED = "pal8"
OPAQUE, TRANSPARENT = "rgb24", "bgra"
_ALPHA = slice(3, None, 4) if sys.byteorder == "little" else slice(0, None, 4)
"""Where a palette has it: each entry is one number of 32 bits, alpha in its highest."""


class Unfolder:
    """Gives the pictures of one stream the colours that their indices stand for; all others pass as they are."""

    def __init__(self) -> None:
        self._format = ""
        self._scaler = VideoReformatter()

    def unfold(self, picture: av.VideoFrame) -> av.VideoFrame:
        """The picture in samples of its own, with the same time, tags and side data."""
        if picture.format.name != PALETTED:
            return picture
        # The first palette decides for the stream: its pictures must not change their format with every palette.
        self._format = self._format or (TRANSPARENT if _is_transparent(picture) else OPAQUE)
        return reformat(self._scaler, picture, picture.width, picture.height, self._format)


def _is_transparent(picture: av.VideoFrame) -> bool:
    palette = np.frombuffer(picture.planes[1], np.uint8)  # type: ignore[call-overload]
    return bool((palette[_ALPHA] < 255).any())
