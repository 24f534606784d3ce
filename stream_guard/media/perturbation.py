"""Add a perturbation to a region of a picture, in the picture's own planes, within a hard budget."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt

from ..types import Box
from .colour import Colour, Grid
from .layouts import Component, Layout, Samples
from .regions import Region, described, inside, snap
from .upsampling import Weights, axis_weights, strips

FEATHER = 0.1
"""Share of a region's side over which a perturbation fades at each border; disrupters are trained with it."""
# Weights and products in float32 are exact to a few units in 1e7: keep what is a tie from rounding beyond the budget.
_INSIDE = 1 - 2e-6
_AT_ONCE = 1 << 16
"""Samples worked on together: they and their changes stay in the processor's first two caches."""

Change = npt.NDArray[np.signedinteger]
Part = tuple[slice, slice]


class Perturbation:
    """A delta, spread over a region's samples when first written, then added to picture after picture.

    `delta` (3, G, G) changes Y, Cb, Cr in full-range units (1.0 is black to white); it is spread bilinearly over the
    region and fades to nothing towards its border over `feather` of the side. After rounding no sample has changed by
    more than round(strength * epsilon * span), the span being 219, 224 or 255 for 8 bits: larger deltas are clipped.
    The result stays in the legal range; a sample already beyond it is never pulled in, nor pushed further out.

    Raises ValueError for a delta of another shape or not finite.
    """

    def __init__(self, delta: Grid, strength: float = 1.0, epsilon: float = 8 / 255, feather: float = FEATHER) -> None:
        if delta.ndim != 3 or delta.shape[0] != 3 or delta.shape[1] != delta.shape[2]:
            raise ValueError(f"delta has the shape {delta.shape}; (3, G, G) is needed: Y, Cb, Cr on a square grid")
        if not np.isfinite(delta).all():
            raise ValueError("delta holds NaN or infinite values")
        self.delta, self.strength, self.epsilon, self.feather = delta, strength, epsilon, feather
        self._made_for: tuple[str, Colour, int, int] | None = None
        self._changes: dict[str, _Change] = {}

    def add(self, picture: av.VideoFrame, box: Box) -> bool:
        """Add it to the region of `box`, in place, and say whether any sample was to change.

        The picture is made writable first, so frames that a decoder or another picture still refers to keep their
        pixels. Raises ValueError for a format that `pixels.supports` refuses.
        """
        layout, colour = described(picture)
        region = snap(layout, box)
        self._spread(layout, colour, region)
        picture.make_writable()
        changed = False
        for component, samples in inside(picture, layout, region):
            top, left = max(0, -region.y0 >> component.sub_y), max(0, -region.x0 >> component.sub_x)
            part = slice(top, top + samples.shape[0]), slice(left, left + samples.shape[1])
            changed |= self._changes[component.role].add(samples, part)
        return changed

    def _spread(self, layout: Layout, colour: Colour, region: Region) -> None:
        """Spread the delta for regions of this size, unless that is what was done last."""
        wanted = (layout.name, colour, region.width, region.height)
        if self._made_for != wanted:
            self._changes = {c.role: self._change(layout, colour, region, c) for c in layout.components}
            self._made_for = wanted

    def _change(self, layout: Layout, colour: Colour, region: Region, component: Component) -> _Change:
        grid, limit = self.delta.shape[1], self.strength * self.epsilon * _INSIDE
        coarse = (colour.to_component(self.delta, component.role) * self.strength).clip(-limit, limit)
        coarse = coarse.astype(np.float32) * np.float32(colour.span(component))
        step_x, step_y = 1 << component.sub_x, 1 << component.sub_y
        # 4:2:0 and 4:2:2 video has chroma at the left luma sample of each pair; JPEG's kind has it between them.
        cosited = component.sub_x > 0 and layout.full_range is None
        rows = axis_weights(region.height, step_y, False, grid, self.feather)
        columns = axis_weights(region.width, step_x, cosited, grid, self.feather)
        # Where the grid is empty, as it is beyond the oval of the head, nothing need be spread or added.
        down, across = _reached(rows, coarse.any(1)), _reached(columns, coarse.any(0))
        peak = float(np.abs(coarse).max())
        narrow = peak < 127 and component.itemsize == 1 and not component.shift
        change = np.zeros((down.stop - down.start, across.stop - across.start), np.int8 if narrow else np.int32)
        for first, end, values in strips(coarse, rows[down], columns[across]):
            change[first:end] = np.rint(values, out=values)
        return (_ByteChange if narrow else _Change)(component, change, (down, across), *colour.legal(component))


def add_perturbation(
    picture: av.VideoFrame,
    box: Box,
    delta: Grid,
    strength: float = 1.0,
    epsilon: float = 8 / 255,
    feather: float = FEATHER,
) -> bool:
    """Add a delta to one picture: `Perturbation(...).add(picture, box)`."""
    return Perturbation(delta, strength, epsilon, feather).add(picture, box)


def _reached(weights: Weights, cells: npt.NDArray[np.bool_]) -> slice:
    """From the first to the last sample that any of these grid cells reaches."""
    at = np.flatnonzero(weights[:, cells].any(1))
    return slice(int(at[0]), int(at[-1]) + 1) if at.size else slice(0, 0)


def _shared(part: slice, window: slice) -> tuple[slice, slice]:
    """What two spans share: counted from the start of the first, and from that of the second; empty if nothing."""
    low, high = max(part.start, window.start), min(part.stop, window.stop)
    high = max(high, low)
    return slice(low - part.start, high - part.start), slice(low - window.start, high - window.start)


class _Change:
    """What is added to each sample of a component in the `window` of a region; nothing is added beyond it."""

    def __init__(self, component: Component, change: Change, window: Part, lowest: int, highest: int) -> None:
        self.shift, self.change, self.lowest, self.highest = component.shift, change, lowest, highest
        self.window = window
        self._some = bool(change.any())

    def add(self, samples: Samples, part: Part) -> bool:
        """Add to `samples`, raw, what belongs to this `part` of the region; whether any change is not zero."""
        (y, down), (x, across) = (_shared(*spans) for spans in zip(part, self.window, strict=True))
        samples = samples[y, x]
        whole = samples.shape == self.change.shape
        if not (self._some if whole else self.change[down, across].any()):
            return False
        rows = max(1, _AT_ONCE // samples.shape[1])
        for first in range(0, len(samples), rows):
            top = down.start + first
            self._add(samples[first : first + rows], (slice(top, min(top + rows, down.stop)), across))
        return True

    def _add(self, samples: Samples, part: Part) -> None:
        old = samples >> self.shift if self.shift else samples
        lowest = np.minimum(old, self.lowest).astype(np.int32)
        highest = np.maximum(old, self.highest).astype(np.int32)
        new = np.clip(self.change[part] + old.astype(np.int32), lowest, highest).astype(samples.dtype)
        np.copyto(samples, new << self.shift if self.shift else new, casting="unsafe")


class _ByteChange(_Change):
    """The same for 8-bit samples and changes below 128: a few passes over bytes, and nothing wider."""

    def __init__(self, component: Component, change: Change, window: Part, lowest: int, highest: int) -> None:
        super().__init__(component, change, window, lowest, highest)
        self.wrapping = change.view(np.uint8)  # adding 256 - n in bytes is subtracting n
        self.floor = np.uint8(lowest) - np.minimum(change, 0).view(np.uint8)
        self.ceiling = np.uint8(highest) - np.maximum(change, 0).view(np.uint8)

    def _add(self, samples: Samples, part: Part) -> None:
        """Saturating addition: room is made at both ends first, so that the sum can't wrap around.

        What a sample has beyond the legal range is set aside and put back, so that it is neither pulled in nor grows.
        """
        block = samples.copy()  # in one piece: a pass over short rows costs as much as all passes over a block
        over = under = None
        if int(block.max()) > self.highest:
            over = np.maximum(block, np.uint8(self.highest)) - np.uint8(self.highest)
        if int(block.min()) < self.lowest:
            under = np.uint8(self.lowest) - np.minimum(block, np.uint8(self.lowest))
        np.minimum(block, self.ceiling[part], out=block)
        np.maximum(block, self.floor[part], out=block)
        np.add(block, self.wrapping[part], out=block)
        if over is not None:
            np.add(block, over, out=block)
        if under is not None:
            np.subtract(block, under, out=block)
        np.copyto(samples, block)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The samples of a region as they were, to hold the budget of several perturbations together."""

    region: Region
    samples: tuple[Samples, ...]


def snapshot(picture: av.VideoFrame, box: Box) -> Snapshot:
    """Keep a copy of the region's samples, before anything is written to them."""
    layout, _ = described(picture)
    region = snap(layout, box)
    return Snapshot(region, tuple(view.copy() for _, view in inside(picture, layout, region)))


def hold_budget(picture: av.VideoFrame, before: Snapshot, budget: float) -> None:
    """Pull every sample of the region back to within round(budget * span) of what it was at the snapshot."""
    layout, colour = described(picture)
    picture.make_writable()
    for (component, view), original in zip(inside(picture, layout, before.region), before.samples, strict=True):
        reach = round(budget * colour.span(component)) << component.shift
        old = original.astype(np.int32)
        np.copyto(view, np.clip(view.astype(np.int32), old - reach, old + reach), casting="unsafe")
