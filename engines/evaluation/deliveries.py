"""Delivered faces, made once for every method, width and channel and shared by all tables of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import av
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stream_guard.audit.pictures import from_rgb
from stream_guard.audit.quality import SquaredError, difference, pixels_of, psnr_db, ssim
from stream_guard.media import pixels
from stream_guard.types import Box, guard_region, head_region

from .channels import Channel
from .delivered import MEASURED, Perturb, Still, clip

Crops = npt.NDArray[np.uint8]
Difference = Callable[[int], Tensor]
"""The change of a head crop of a given side in floats: (3, side, side) on [-1, 1]."""


@dataclass(frozen=True)
class Treatment:
    """What a method does to one face: into the planes of each picture of its clip, and as a float difference."""

    perturb: Perturb | None
    difference: Difference


@dataclass(frozen=True)
class Treated:
    """A method at work on a run's faces, or the first of them: a name that is its own, a treatment for each face."""

    name: str
    treatments: Sequence[Treatment]


@dataclass(frozen=True)
class Quality:
    """What the perturbation costs in the head region of the 8-bit picture, before any encoder: one entry a face."""

    errors: tuple[SquaredError, ...]
    ssim: tuple[float, ...]

    @property
    def psnr_db(self) -> float | None:
        """Of one error over all faces; None where nothing was changed."""
        squared, count = sum(error.rgb_sum for error in self.errors), sum(error.pixels for error in self.errors)
        return psnr_db(squared / (3 * count))

    def first(self, count: int | None) -> Quality:
        """Of the first faces alone; None is all."""
        return Quality(self.errors[:count], self.ssim[:count])


def tight(still: Still, margin: float = 1.15) -> Still:
    """The still cut down to what matters: the guard region and a margin around it, so that clips stay small."""
    region = guard_region(still.face).square(margin)
    found = pixels_of(region, still.rgb.shape[1], still.rgb.shape[0])
    if found is None:
        return still
    rows, columns = found
    return replace(
        still, rgb=np.ascontiguousarray(still.rgb[rows, columns]), face=still.face.moved(-columns.start, -rows.start)
    )


class Deliveries:
    """Head crops (N, 3, S, S) in [-1, 1] of N faces, by method, width of the face in pixels, channel and size S."""

    def __init__(
        self,
        stills: Sequence[Still],
        sizes: Sequence[int],
        channels: Sequence[Channel],
        begin: Callable[[str, int], None] = lambda what, total: None,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self.stills, self.sizes, self.channels = [tight(s) for s in stills], sizes, channels
        self.begin, self.tick = begin, tick
        self._crops: dict[tuple[str, int, str, int], list[Crops]] = {}
        self._quality: dict[tuple[str, int], Quality] = {}
        self._shares = sorted({1.0, *(c.crop for c in channels)})

    def clean(self, width: int, size: int, crop: float = 1.0) -> Tensor:
        """The original, never delivered; `crop` is the share of the head's side that the attacker takes."""
        if ("clean", width, str(crop), size) not in self._crops:
            self._read_clean(width)
        return _tensor(self._crops["clean", width, str(crop), size])

    def heads(self, method: Treated, width: int, channel: Channel, size: int) -> Tensor:
        """The treated faces after the channel. The float channel has no picture: original plus difference."""
        if channel.is_float:
            x = self.clean(width, size)[: len(method.treatments)]
            return (x + torch.stack([t.difference(size) for t in method.treatments])).clamp(-1, 1)
        self.need(method, width)
        return _tensor(self._crops[method.name, width, channel.name, size])

    def quality(self, method: Treated, width: int) -> Quality:
        """PSNR and SSIM of the perturbation alone."""
        self.need(method, width)
        return self._quality[method.name, width]

    def need(self, method: Treated, width: int) -> None:
        """Deliver the method's faces at this width, unless that was done."""
        if (method.name, width) not in self._quality:
            self._deliver(method, width)

    def _read_clean(self, width: int) -> None:
        for still in self.stills:
            frame, box = list(clip(still, width))[MEASURED]
            for share in self._shares:
                region = head_region(box).square(share)
                for size in self.sizes:
                    self._keep("clean", width, str(share), size, pixels.read_rgb(frame, region, size))

    def _deliver(self, method: Treated, width: int) -> None:
        errors, similarity = [], []
        self.begin(f"delivering: {method.name}, face {width} px", len(method.treatments))
        for still, treatment in zip(self.stills, method.treatments, strict=False):
            frames, boxes = _frames(still, width, treatment.perturb)
            original = list(clip(still, width))[MEASURED][0]
            head = head_region(boxes[MEASURED])
            before, after = _window(original, head), _window(frames[MEASURED], head)
            errors.append(SquaredError())
            errors[-1].add(difference(after, before))
            similarity.append(ssim(before, after) or 0.0)
            for channel in self.channels:
                if not channel.is_float:
                    seen = channel.deliver(frames, MEASURED)
                    for size in self.sizes:
                        crop = pixels.read_rgb(seen, head.square(channel.crop), size)
                        self._keep(method.name, width, channel.name, size, crop)
            self.tick()
        self._quality[method.name, width] = Quality(tuple(errors), tuple(similarity))

    def _keep(self, method: str, width: int, channel: str, size: int, crop: Crops) -> None:
        self._crops.setdefault((method, width, channel, size), []).append(crop)


def _frames(still: Still, width: int, perturb: Perturb | None) -> tuple[list[av.VideoFrame], list[Box]]:
    frames, boxes = [], []
    for frame, box in clip(still, width):
        if perturb is not None:
            perturb(frame, box)
        frames.append(frame)
        boxes.append(box)
    return frames, boxes


def _window(frame: av.VideoFrame, head: Box) -> Crops:
    found = pixels_of(head, frame.width, frame.height)
    whole = pixels.whole_rgb(frame)
    return whole if found is None else np.ascontiguousarray(whole[found])


def _tensor(crops: list[Crops]) -> Tensor:
    return torch.from_numpy(np.stack([from_rgb(crop) for crop in crops]))
