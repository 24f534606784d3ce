"""The newest picture before and after protection, for people who look: kept cheaply, encoded only when asked."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from ..errors import NoPictureError
from ..media import pixels, stand_in
from ..types import Frame

if TYPE_CHECKING:
    import av

EVERY_SECONDS = 1.0
AMPLIFIED = 16
QUALITY = 85
Kind = Literal["original", "protected", "difference"]


class Snapshots:
    """Keeps one pair of pictures, not older than a second or so. Any thread may ask."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._taken = -EVERY_SECONDS
        self._candidate: tuple[int, av.VideoFrame] | None = None
        self._pair: tuple[av.VideoFrame, av.VideoFrame] | None = None

    def before(self, frame: Frame) -> None:
        """A frame on its way to the stages, which may write into it: once a second it is copied."""
        now = self._clock()
        if now - self._taken < EVERY_SECONDS:
            return
        self._taken = now
        copy = stand_in.copied(frame.picture)
        with self._lock:
            self._candidate = frame.index, copy

    def after(self, frame: Frame) -> None:
        """A frame that has left: its picture is not written to any more."""
        with self._lock:
            if self._candidate is not None and self._candidate[0] == frame.index:
                self._pair = self._candidate[1], frame.picture
                self._candidate = None

    def jpeg(self, kind: Kind) -> bytes:
        """Raises NoPictureError before the first picture. `difference` is amplified, grey is no difference."""
        with self._lock:
            pair = self._pair
        if pair is None:
            raise NoPictureError("the stream has shown no picture yet; ask again once it is running")
        original, protected = pair
        if kind == "difference":
            return _encoded(_difference(pixels.whole_rgb(original), pixels.whole_rgb(protected)))
        return _encoded(pixels.whole_rgb(original if kind == "original" else protected))


def _difference(before: pixels.RGB, after: pixels.RGB) -> pixels.RGB:
    apart = (after.astype(np.int16) - before.astype(np.int16)) * AMPLIFIED + 128
    return apart.clip(0, 255).astype(np.uint8)


def _encoded(rgb: pixels.RGB) -> bytes:
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
