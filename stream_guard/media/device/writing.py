"""Perturbations added to a picture's planes where they lie, within the budget of `perturbation.Perturbation`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...torch_gate import Tensor, load_torch
from ...types import Box
from ..layouts import Component
from ..perturbation import FEATHER
from ..regions import Region, snap
from .planes import Planes, numbers, stored


def add_deltas(
    planes: Planes,
    boxes: Sequence[Box],
    deltas: Tensor,
    strength: float = 1.0,
    epsilon: float = 8 / 255,
) -> tuple[list[bool], list[bool]]:
    """Add `deltas` (N, 3, G, G) to the regions of `boxes`, in place; for each face: was the delta usable, did it show.

    A delta as `Perturbation` takes it; one that holds NaN or infinity, or nothing but zeros, is not usable and is not
    added. No sample changes by more than round(strength * epsilon * span), also where regions overlap. The planes must
    be writable. Waits for the device once, at the end.
    """
    torch = load_torch()
    usable = (deltas.isfinite().flatten(1).all(1) & (deltas != 0).flatten(1).any(1)).to(planes.samples[0].device)
    deltas = torch.where(usable[:, None, None, None], deltas.to(usable.device, torch.float32), 0.0)
    regions = [snap(planes.layout, box) for box in boxes]
    limit = strength * epsilon
    shown = torch.zeros(len(regions), dtype=torch.bool, device=usable.device)
    rounds = _apart(regions, planes)
    before = [samples.clone() for samples in planes.samples] if len(rounds) > 1 else None
    for members in rounds:
        chosen = torch.tensor(members, device=usable.device)
        shown[chosen] |= _add(planes, [regions[i] for i in members], deltas[chosen], strength, limit)
    if before is not None:
        _hold(planes, before, limit)
    usable_there, shown_there = torch.stack([usable, shown]).tolist()
    return usable_there, shown_there


def _apart(regions: Sequence[Region], planes: Planes) -> list[list[int]]:
    """Faces that lie in the picture, in rounds in which none touches another; usually one."""
    rounds: list[list[int]] = []
    for index, region in enumerate(regions):
        if region.x1 <= 0 or region.y1 <= 0 or region.x0 >= planes.width or region.y0 >= planes.height:
            continue
        free = next((r for r in rounds if not any(_touch(region, regions[i]) for i in r)), None)
        if free is None:
            rounds.append([index])
        else:
            free.append(index)
    return rounds


def _touch(a: Region, b: Region) -> bool:
    return a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1


def _add(planes: Planes, regions: Sequence[Region], deltas: Tensor, strength: float, limit: float) -> Tensor:
    """One round: for each component gather, two products, add and put back. Which faces changed, (N,)."""
    torch = load_torch()
    shown = torch.zeros(len(regions), dtype=torch.bool, device=deltas.device)
    bounds = torch.tensor([[r.y0, r.y1, r.x0, r.x1] for r in regions], device=deltas.device)
    for index, (component, samples) in enumerate(zip(planes.layout.components, planes.samples, strict=True)):
        span = planes.colour.span(component)
        coarse = (deltas[:, index] * strength).clamp(-limit, limit) * span
        cosited = component.sub_x > 0 and planes.layout.full_range is None
        longest = max(max(r.height >> component.sub_y, r.width >> component.sub_x) for r in regions)
        grid = coarse.shape[-1]
        rows, down = _axis(bounds[:, :2], component.sub_y, False, samples.shape[0], grid, longest)
        columns, across = _axis(bounds[:, 2:], component.sub_x, cosited, samples.shape[1], grid, longest)
        reach = math.floor(limit * span + 0.5)
        change = (down @ coarse @ across.transpose(1, 2)).round().clamp(-reach, reach).to(torch.int32)
        shown |= (change != 0).flatten(1).any(1)
        place = rows[:, :, None], columns[:, None, :]
        samples[place] = _moved(samples[place], change, component, planes)
    return shown


def _axis(bounds: Tensor, halvings: int, cosited: bool, extent: int, grid: int, longest: int) -> tuple[Tensor, Tensor]:
    """Along one axis, for each region: its samples in the picture (N, P) and their weights on the grid (N, P, G).

    As `upsampling.axis_weights`. A region with fewer than P samples in the picture names its last one again and again,
    with the same weight, so that what is written twice is the same.
    """
    torch = load_torch()
    step = 1 << halvings
    low, high = bounds[:, 0] >> halvings, bounds[:, 1] >> halvings
    first, last = low.clamp(min=0), high.clamp(max=extent) - 1
    place = (first[:, None] + torch.arange(longest, device=bounds.device)).minimum(last[:, None])
    side = (bounds[:, 1] - bounds[:, 0]).to(torch.float64)[:, None]
    at = ((place - low[:, None]) * step + (0.5 if cosited else step / 2)) / side
    reach = (grid * step / side).clamp(min=1.0)
    cells = torch.arange(grid, device=bounds.device)
    distance = ((at * grid - 0.5).clamp(0, grid - 1)[:, :, None] - cells).abs() / reach[:, :, None]
    weights = (1 - distance).clamp(min=0)
    weights = weights * (_fade(at) / weights.sum(2))[:, :, None]
    return place, weights.to(torch.float32)


def _fade(at: Tensor) -> Tensor:
    """As `upsampling.fade`, by FEATHER."""
    t = (at.minimum(1 - at) / FEATHER).clamp(0, 1)
    return 0.5 - 0.5 * (math.pi * t).cos()


def _moved(samples: Tensor, change: Tensor, component: Component, planes: Planes) -> Tensor:
    """Samples with the change added; they stay legal, and what was not legal is neither pulled in nor pushed out."""
    lowest, highest = planes.colour.legal(component)
    old = numbers(samples, component)
    return stored((old + change).maximum(old.clamp(max=lowest)).minimum(old.clamp(min=highest)), component)


def _hold(planes: Planes, before: Sequence[Tensor], limit: float) -> None:
    """After several rounds: no sample is further from what it was than one perturbation may take it."""
    for component, samples, original in zip(planes.layout.components, planes.samples, before, strict=True):
        reach = math.floor(limit * planes.colour.span(component) + 0.5)
        old, new = numbers(original, component), numbers(samples, component)
        samples.copy_(stored(new.maximum(old - reach).minimum(old + reach), component))
