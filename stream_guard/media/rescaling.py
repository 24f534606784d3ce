"""Pictures at another size, as a platform's delivery ladder makes them of one upload."""

from __future__ import annotations

from dataclasses import replace

from av.error import FFmpegError
from av.video.reformatter import Interpolation, VideoReformatter

from ..errors import MediaError
from ..types import Box, Frame
from .versions import EXACT_SCALING, reformat

_SMOOTH = EXACT_SCALING & ~int(Interpolation.BILINEAR) | int(Interpolation.BICUBIC)
"""Bicubic, which ffmpeg takes where nothing else is asked for."""


class Rescaler:
    """Frames at `width` x `height` pixels with the boxes of their faces; one swscale context is kept.

    Samples stay in their own format, matrix and range: no colour is converted, tags and orientation stay.
    """

    def __init__(self, width: int, height: int) -> None:
        self._size = width, height
        self._scaler = VideoReformatter()

    def __call__(self, frame: Frame) -> Frame:
        """Raises MediaError for a format that cannot be scaled, such as one with a palette."""
        (width, height), name = self._size, frame.picture.format.name
        across, down = width / frame.width, height / frame.height
        try:
            picture = reformat(self._scaler, frame.picture, width, height, name, how=_SMOOTH)
        except (FFmpegError, ValueError) as exc:
            raise MediaError(f"pictures in the format {name} cannot be brought to {width}x{height}: {exc}") from exc
        faces = tuple(replace(face, box=_scaled(face.box, across, down)) for face in frame.faces)
        return replace(frame, picture=picture, faces=faces)


def _scaled(box: Box, across: float, down: float) -> Box:
    return Box(box.x0 * across, box.y0 * down, box.x1 * across, box.y1 * down)
