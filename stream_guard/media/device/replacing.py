"""What the failure policy shows in place of a face, for pictures in a device's memory."""

from __future__ import annotations

import av

from ...torch_gate import load_torch
from .planes import Planes, planes_of


def overwrite(picture: av.VideoFrame, content: av.VideoFrame) -> None:
    """Write the samples of `content` into `picture`, of one size and sample format; either may lie on a device.

    Raises ValueError where the format can't be written to.
    """
    source, target = _needed(content), _needed(picture, writable=True)
    for into, out_of in zip(target.samples, source.samples, strict=True):
        into.copy_(out_of)
    if target.samples[0].is_cuda:
        load_torch().cuda.current_stream().synchronize()  # an encoder must not read before all is written


def _needed(picture: av.VideoFrame, *, writable: bool = False) -> Planes:
    planes = planes_of(picture, writable=writable)
    if planes is None:
        raise ValueError(f"no picture can be made in the format {picture.format.name} on its device")
    return planes
