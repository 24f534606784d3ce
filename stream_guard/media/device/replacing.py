"""What the failure policy shows in place of a face, for pictures in a device's memory."""

from __future__ import annotations

import av

from ...torch_gate import load_torch
from .planes import Planes, planes_of, stored


def overwrite(picture: av.VideoFrame, content: av.VideoFrame) -> None:
    """Write the samples of `content` into `picture`; both lie on the device and have one size and format.

    Raises ValueError where the format can't be written to.
    """
    source, target = _needed(content), _needed(picture, writable=True)
    for into, out_of in zip(target.samples, source.samples, strict=True):
        into.copy_(out_of)
    _settle(target)


def black(picture: av.VideoFrame) -> None:
    """Make the picture black (luma 16 or 0 at 8 bits), in place. Raises ValueError as `overwrite` does."""
    target = _needed(picture, writable=True)
    for component, samples in zip(target.layout.components, target.samples, strict=True):
        dark = target.colour.legal(component)[0] if component.role == "Y" else 1 << (component.depth - 1)
        samples.copy_(stored(load_torch().full((1, 1), dark, dtype=load_torch().int32), component))
    _settle(target)


def _needed(picture: av.VideoFrame, *, writable: bool = False) -> Planes:
    planes = planes_of(picture, writable=writable)
    if planes is None:
        raise ValueError(f"no picture can be made in the format {picture.format.name} on its device")
    return planes


def _settle(planes: Planes) -> None:
    """An encoder must not read before all is written."""
    if planes.samples[0].is_cuda:
        load_torch().cuda.current_stream().synchronize()
