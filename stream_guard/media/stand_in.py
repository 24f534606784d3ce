"""A picture's content replaced by another's or by black: what the failure policy shows in place of a face."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange

Layout = tuple[str, int, int, int]


def layout(picture: av.VideoFrame) -> Layout:
    """What two pictures must share for one to take the other's content: format, size and range."""
    return picture.format.name, picture.width, picture.height, int(picture.color_range)


def black(picture: av.VideoFrame) -> av.VideoFrame:
    """A new black picture of the same format, size and range (luma 16 or 0 at 8 bits; alpha opaque).

    Raises ValueError for a format that the converter cannot write, such as a palette.
    """
    full = int(picture.color_range) == int(ColorRange.JPEG)
    blank = np.zeros((picture.height, picture.width, 3), np.uint8)
    try:
        return av.VideoFrame.from_ndarray(blank, format="rgb24").reformat(
            format=picture.format.name,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
            # On several threads swscale sometimes writes chroma into luma at 10 bits, where two slices meet.
            threads=1,
        )
    except (OSError, ValueError) as exc:
        raise ValueError(f"no black picture can be made in the format {picture.format.name}: {exc}") from exc


def overwrite(picture: av.VideoFrame, content: av.VideoFrame) -> None:
    """Write the planes of `content` into `picture`, which keeps its own time, flags and side data.

    Both must have the same `layout`; `picture` may share its memory with the decoder, which is left alone.
    """
    picture.make_writable()
    for target, source in zip(picture.planes, content.planes, strict=True):
        into, out_of = _rows(target), _rows(source)
        width = min(into.shape[1], out_of.shape[1])  # line padding may differ, the pixels before it do not
        into[:, :width] = out_of[:, :width]


def _rows(plane: Any) -> npt.NDArray[np.uint8]:
    data = np.frombuffer(plane, np.uint8)
    return data[: plane.height * plane.line_size].reshape(plane.height, plane.line_size)
