"""A picture's content replaced by another's or by black: what the failure policy shows in place of a face."""

from __future__ import annotations

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange

from . import device
from .hwaccel import sample_format
from .layouts import find_layout, plane_groups

Layout = tuple[str, int, int, int, int]


def layout(picture: av.VideoFrame) -> Layout:
    """What two pictures must share for one to take the other's content: format, size, range and matrix."""
    return sample_format(picture), picture.width, picture.height, int(picture.color_range), int(picture.colorspace)


def black(picture: av.VideoFrame) -> av.VideoFrame:
    """A new black picture of the same format, size and range (luma 16 or 0 at 8 bits; alpha opaque).

    Raises ValueError for a format that the converter cannot write, such as a palette.
    """
    return painted(picture, np.zeros((picture.height, picture.width, 3), np.uint8))


def painted(like: av.VideoFrame, rgb: npt.NDArray[np.uint8]) -> av.VideoFrame:
    """A new picture of the same samples, size and range with the content of `rgb` (height, width, 3).

    Raises ValueError as `black` does.
    """
    full = int(like.color_range) == int(ColorRange.JPEG)
    try:
        made = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
            format=sample_format(like),
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
            # On several threads swscale sometimes writes chroma into luma at 10 bits, where two slices meet.
            threads=1,
        )
    except (OSError, ValueError) as exc:
        raise ValueError(f"no picture can be made in the format {like.format.name}: {exc}") from exc
    made.color_range = like.color_range
    return made


def copied(picture: av.VideoFrame, format: str = "") -> av.VideoFrame:
    """A picture of its own memory, the processor's, with the same content and colour tags.

    `format` is another name of the same planes.
    """
    picture = device.to_host(picture)
    copy = av.VideoFrame(picture.width, picture.height, format or picture.format.name)
    for name in ("colorspace", "color_range", "color_primaries", "color_trc"):
        setattr(copy, name, getattr(picture, name))
    overwrite(copy, picture)
    return copy


def overwrite(picture: av.VideoFrame, content: av.VideoFrame) -> None:
    """Write the planes of `content` into `picture`, which keeps its own time, flags and side data.

    Both must have the same `layout`; `picture` may share its memory with the decoder, which is left alone.
    """
    if device.lies_on_device(picture) or device.lies_on_device(content):
        device.overwrite(picture, content)
        return
    picture.make_writable()
    for index in range(len(picture.planes)):
        into, out_of = _rows(picture, index), _rows(content, index)
        width = min(into.shape[1], out_of.shape[1])  # of formats unknown to us the padding is here too, and may differ
        into[:, :width] = out_of[:, :width]


def _rows(picture: av.VideoFrame, index: int) -> npt.NDArray[np.uint8]:
    """The lines of a plane without their padding: behind the last line of a cropped picture none need be left."""
    layout = find_layout(picture.format.name)
    if layout is not None:
        groups = plane_groups(picture, index, layout.planes[index])
        return groups.reshape(groups.shape[0], -1)
    plane = picture.planes[index]
    lines: npt.NDArray[np.uint8] = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)  # type: ignore[call-overload]
    return lines if plane.line_size > 0 else lines[::-1]
