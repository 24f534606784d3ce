"""A picture's components as tensors that share its memory, wherever that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from ...torch_gate import Tensor, load_torch
from ..colour import Colour, colour_of
from ..hwaccel import sample_format
from ..layouts import Component, Layout, Samples, component_samples, find_layout
from ..versions import reformat

DEVICE_FORMATS = ("nv12", "p010le", "p016le")
"""What PyAV exports from CUDA memory (`VideoPlane.__dlpack__`)."""


@dataclass(frozen=True, slots=True)
class Planes:
    """A picture's Y, Cb and Cr. `samples` are raw (unshifted), (rows, columns), and the picture's own memory.

    Those of 16 bits are int16, which wraps: torch can do little with uint16. `numbers` and `stored` translate.
    They must be dropped before the picture is made writable again, or it is copied then.
    """

    layout: Layout
    colour: Colour
    width: int
    height: int
    samples: tuple[Tensor, ...]
    """One for each of the layout's components."""

    @property
    def device(self) -> str:
        return str(self.samples[0].device)


def lies_on_device(picture: av.VideoFrame) -> bool:
    """Whether the samples are in CUDA memory, where nothing else of ours can read or change them."""
    return picture.format.name == "cuda"


def planes_of(picture: av.VideoFrame, *, writable: bool = False) -> Planes | None:
    """The picture's planes as tensors; None for a format that is no Y Cb Cr or that can't be shared.

    With `writable` the picture is made so first, which copies it, on its device, where the decoder or another picture
    still refers to it. Raises EngineError where torch is missing.
    """
    layout = find_layout(sample_format(picture))
    colour = colour_of(picture, layout) if layout is not None else None
    if layout is None or colour is None or layout.rgb or len(layout.components) != 3:
        return None
    if layout.components[0].dtype == ">u2":
        return None
    there = lies_on_device(picture)
    if there and (layout.name not in DEVICE_FORMATS or picture.width % 2 or picture.height % 2):
        return None
    if writable:
        picture.make_writable()
    torch = load_torch()
    if there:
        _wait_for_the_decoder(torch)
        # A capsule, not the plane itself: torch would name its stream, which PyAV refuses.
        shared = [_signed_tensor(torch, torch.from_dlpack(plane.__dlpack__())) for plane in picture.planes]
        samples = tuple(_within(shared, component) for component in layout.components)
    else:
        samples = tuple(torch.from_numpy(_signed(component_samples(picture, c))) for c in layout.components)
    return Planes(layout, colour, picture.width, picture.height, samples)


def to_host(picture: av.VideoFrame) -> av.VideoFrame:
    """The picture in the processor's memory, with its time, tags and side data; itself where it is there already."""
    if not lies_on_device(picture):
        return picture
    return reformat(VideoReformatter(), picture, picture.width, picture.height, sample_format(picture))


def numbers(samples: Tensor, component: Component) -> Tensor:
    """Raw samples as int32, unshifted."""
    wide = samples.to(load_torch().int32)
    return (wide & 0xFFFF if component.itemsize == 2 else wide) >> component.shift


def stored(values: Tensor, component: Component) -> Tensor:
    """Unshifted int32 as raw samples."""
    torch = load_torch()
    raw = values << component.shift
    if component.itemsize == 1:
        return raw.to(torch.uint8)
    return torch.where(raw > 0x7FFF, raw - 0x10000, raw).to(torch.int16)


def _signed(samples: Samples) -> npt.NDArray[np.uint8] | npt.NDArray[np.int16]:
    return samples.view(np.int16) if samples.dtype.itemsize == 2 else samples.view(np.uint8)


def _signed_tensor(torch: Any, plane: Tensor) -> Tensor:
    return plane.view(torch.int16) if plane.element_size() == 2 else plane


def _within(planes: list[Tensor], component: Component) -> Tensor:
    """A component of planes as PyAV shares them: (rows, columns), or (rows, columns, 2) for Cb beside Cr."""
    plane = planes[component.plane]
    return plane if plane.ndim == 2 else plane[..., component.offset]


def _wait_for_the_decoder(torch: Any) -> None:
    """FFmpeg decodes on CUDA's default stream; what runs on another one waits for it."""
    cuda = torch.cuda
    if cuda.current_stream() != cuda.default_stream():
        cuda.current_stream().wait_stream(cuda.default_stream())
