"""Expressions drawn on stills: the supervised targets of the GANimation surrogate.

`pose` moves landmarks as little as it takes to show the asked action units as `action_units` measures them;
`Expression` warps the picture along (a thin-plate spline through the points, the hairline and the background
held still) and fills an opened mouth, which the still cannot show: dark, with a row of teeth. Skin folds, cheeks and
the changed shading of a real expression are not drawn. The units without a landmark measure move nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .action_units import (
    CORNERS,
    CORNERS_DOWN,
    CORNERS_UP,
    EYE,
    EYE_HALF,
    EYE_SHUT,
    EYE_WIDER,
    GAP,
    GAP_JAW,
    GAP_PARTED,
    INNER_BROW,
    INNER_DOWN,
    INNER_UP,
    LIPS,
    LIPS_TIGHT,
    MOUTH_WIDE,
    OUTER_BROW,
    OUTER_UP,
    SMILE_WIDER,
    STRETCH,
    UNITS,
    UPPER_LIP,
    UPPER_LIP_UP,
    action_units,
    distances,
    frame_of,
)

STILL = (
    *((-1.9, -0.3), (-1.7, -1.2), (-0.8, -1.3), (0.0, -1.4), (0.8, -1.3), (1.7, -1.2)),
    *((1.9, -0.3), (1.9, 0.9), (1.6, 2.1), (0.0, 2.7), (-1.6, 2.1), (-1.9, 0.9)),
)
"""Points around the head, in eye distances from between the eyes, that no expression moves."""

MOUTH_DARK = (0.16, 0.05, 0.06)
TEETH = (0.92, 0.89, 0.83)
_STIFFNESS = 1e-5

_UPPER_LID, _LOWER_LID = (37, 38, 43, 44), (41, 40, 47, 46)
_UPPER_OUTER, _LOWER_OUTER = (48, 49, 50, 51, 52), (57, 56, 55, 54, 53)
_UPPER_INNER, _LOWER_INNER = (59, 60, 61), (65, 64, 63)
_CORNERS = (58, 62)


def pose(points: Tensor, units: Tensor) -> Tensor:
    """Landmarks (N, 66, 2), in any scale, moved to show `units` (N, 17), and at rest where they are 0."""
    frame = frame_of(points)
    level = frame.level(points)
    now, want = distances(level), _wanted(level, units)
    moved = level.clone()
    _move_brows(moved, {k: want[k] - now[k] for k in ("inner_brow", "outer_brow")})
    middle = (level[:, _UPPER_LID, 1] + level[:, _LOWER_LID, 1]) / 2
    _scale_gap(moved, _UPPER_LID, _LOWER_LID, _ratio(want["eye"], now["eye"], 0.02), middle, 0.8)
    _move_mouth(moved, now, want)
    return frame.restore(moved)


def _wanted(level: Tensor, units: Tensor) -> dict[str, Tensor]:
    """The distances that show the units: a step beyond the range of rest, or the nearest point within it."""
    now, au = distances(level), dict(zip(UNITS, units.unbind(1), strict=True))
    smile = au[12] - action_units(level)[:, UNITS.index(12)]
    widest = MOUTH_WIDE + SMILE_WIDER * au[12]
    closing = EYE_HALF * torch.maximum(au[7], (au[45] > 0).to(au[45])) + EYE_SHUT * au[45]
    parted = GAP + GAP_PARTED * torch.maximum(au[25], (au[26] > 0).to(au[26])) + GAP_JAW * au[26]
    resting = torch.minimum(now["gap"], torch.full_like(now["gap"], GAP))
    return {
        "inner_brow": _aim(now["inner_brow"], *INNER_BROW, INNER_UP * au[1], INNER_DOWN * au[4]),
        "outer_brow": _aim(now["outer_brow"], -1e6, OUTER_BROW, OUTER_UP * au[2], 0 * au[2]),
        "eye": _aim(now["eye"], *EYE, EYE_WIDER * au[5], closing),
        "corners": _aim(now["corners"], *CORNERS, CORNERS_UP * au[12], CORNERS_DOWN * au[15]),
        "width": torch.where(
            au[20] > 0, widest + STRETCH * au[20], torch.minimum(now["width"] + SMILE_WIDER * smile, widest)
        ),
        "gap": torch.where(parted > GAP, parted, resting),
        "upper_lip": _aim(now["upper_lip"], UPPER_LIP, 1e6, 0 * au[10], UPPER_LIP_UP * au[10]),
        "lips": _aim(now["lips"], LIPS, 1e6, 0 * au[23], LIPS_TIGHT * au[23]),
    }


def _aim(now: Tensor, low: float, high: float, up: Tensor, down: Tensor) -> Tensor:
    return torch.where(up > 0, high + up, torch.where(down > 0, low - down, now.clamp(low, high)))


def _ratio(want: Tensor, now: Tensor, least: float) -> Tensor:
    return (want / now.clamp(min=least))[:, None]


def _move_brows(moved: Tensor, change: dict[str, Tensor]) -> None:
    inner, outer = change["inner_brow"][:, None], change["outer_brow"][:, None]
    moved[:, [20, 21, 22, 23], 1] -= inner
    moved[:, [17, 18, 25, 26], 1] -= outer
    moved[:, [19, 24], 1] -= (inner + outer) / 2


def _scale_gap(
    moved: Tensor, upper: tuple[int, ...], lower: tuple[int, ...], ratio: Tensor, middle: Tensor, share: float
) -> None:
    """Scale the gaps between pairs of points; the upper ones take `share` of the change."""
    change = (moved[:, lower, 1] - moved[:, upper, 1]) * (ratio - 1)
    moved[:, upper, 1] -= share * change
    moved[:, lower, 1] += (1 - share) * change


def _move_mouth(moved: Tensor, now: dict[str, Tensor], want: dict[str, Tensor]) -> None:
    """Upper lip, thickness, gap, jaw, then the corners, so that each keeps what those before it set."""
    lip = (want["upper_lip"] - now["upper_lip"])[:, None]
    half = ((want["lips"] - now["lips"]) / 2)[:, None]
    moved[:, _UPPER_OUTER, 1] += lip
    moved[:, _UPPER_INNER, 1] += lip + half
    down = _open(moved, want["gap"])
    moved[:, _LOWER_OUTER, 1] += down * moved.new_tensor([0.6, 0.9, 1.0, 0.9, 0.6]) + half
    moved[:, 3:14, 1] += 0.85 * down * moved.new_tensor([0.1, 0.35, 0.7, 0.95, 1, 1, 1, 0.95, 0.7, 0.35, 0.1])
    wider = ((want["width"] - now["width"]) / 2)[:, None] * moved.new_tensor([-1.0, 1.0])
    lift = (moved[:, 60, 1] - want["corners"])[:, None] - moved[:, _CORNERS, 1].mean(1, keepdim=True)
    for points, share in ((_CORNERS, 1.0), ((48, 52), 0.5), ((57, 53), 0.5)):
        moved[:, points, 0] += share * wider
        moved[:, points, 1] += share * (lift - (0.0 if points == _CORNERS else 0.5 * down))
    for points in ((59, 61), (65, 63)):
        moved[:, points, 0] += 0.4 * wider


def _open(moved: Tensor, gap: Tensor) -> Tensor:
    """Set the mean gap of the lips; returns how far the middle of the lower lip went down, (N, 1)."""
    before = moved[:, _LOWER_INNER, 1].clone()
    apart = moved[:, _LOWER_INNER, 1] - moved[:, _UPPER_INNER, 1]
    more = gap[:, None] - apart.mean(1, keepdim=True)
    opened = apart + more * moved.new_tensor([0.85, 1.3, 0.85])
    closed = apart * gap[:, None] / apart.mean(1, keepdim=True).clamp(min=0.01)
    moved[:, _LOWER_INNER, 1] = moved[:, _UPPER_INNER, 1] + torch.where(more > 0, opened, closed)
    return (moved[:, _LOWER_INNER, 1] - before)[:, 1:2]


@dataclass(frozen=True)
class Expression:
    """A move of landmarks from `source` to `posed` (N, 66, 2), both in a picture's coordinates in [-1, 1]."""

    source: Tensor
    posed: Tensor

    @property
    def units(self) -> Tensor:
        """(N, 17): the action units of the result."""
        return action_units(self.posed)

    def flow(self, size: int) -> Tensor:
        """(N, size, size, 2) in [-1, 1]: where in the source each pixel of the result comes from."""
        frame = frame_of(self.source)
        source, posed = frame.level(self.source), frame.level(self.posed)
        pixels = frame.level(pixel_grid(size // 2, self.source).flatten(1, 2))  # half the size: the field is smooth
        shift = spline(posed, source - posed, pixels) * frame.unit @ frame.axes
        coarse = shift.reshape(-1, size // 2, size // 2, 2).permute(0, 3, 1, 2)
        fine = F.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)
        return pixel_grid(size, self.source) + fine.permute(0, 2, 3, 1)

    def paint_mouth(self, picture: Tensor) -> Tensor:
        """Fill the part of the mouth that the source did not show. Pictures (N, 3, S, S) RGB in [0, 1]."""
        frame = frame_of(self.posed)
        x, y = frame.level(pixel_grid(picture.shape[-1], picture).flatten(1, 2)).unbind(2)
        level, before = frame.level(self.posed), frame.level(self.source)
        top, inside = _through(level[:, (58, *_UPPER_INNER, 62)], x)
        bottom, _ = _through(level[:, (58, *_LOWER_INNER, 62)], x)
        gap, gap_before = distances(level)["gap"][:, None], distances(before)["gap"][:, None]
        new = ((gap - gap_before.clamp(min=GAP)) / gap.clamp(min=GAP)).clamp(0, 1)
        soft = frame.unit[:, :, 0].reciprocal() / picture.shape[-1]  # half a pixel
        hole = inside * torch.sigmoid((y - top) / soft) * torch.sigmoid((bottom - y) / soft)
        teeth = torch.sigmoid((top + 0.10 + 0.12 * gap - y) / soft) * 0.8
        light = picture.mean((1, 2, 3))[:, None, None].clamp(0.4, 0.55) / 0.5
        colour = picture.new_tensor(MOUTH_DARK)[:, None] * (1 - teeth)[:, None] + (
            picture.new_tensor(TEETH)[:, None] * teeth[:, None] * light
        )
        weight = (hole * (new * 1.6).clamp(max=1))[:, None]
        flat = picture.flatten(2)
        return (flat + weight * (colour.clamp(0, 1) - flat)).reshape(picture.shape)


def _through(line: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The height of a polyline (N, K, 2), rising in x, at each x (N, P), and 1 where x lies between its ends."""
    knots, heights = line.unbind(2)
    inside = ((x > knots[:, :1]) & (x < knots[:, -1:])).to(x)
    y = torch.zeros_like(x)
    for k in range(knots.shape[1] - 1):
        a, b = knots[:, k : k + 1], knots[:, k + 1 : k + 2]
        share = (x - a) / (b - a).clamp(min=1e-3)
        here = ((x >= a) & (x < b)).to(x)
        y = y + here * (heights[:, k : k + 1] + share * (heights[:, k + 1 : k + 2] - heights[:, k : k + 1]))
    return y, inside


def pixel_grid(size: int, like: Tensor) -> Tensor:
    """(N, size, size, 2): the pixel centres of a picture in [-1, 1], x first."""
    line = (torch.arange(size, device=like.device, dtype=like.dtype) * 2 + 1) / size - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], 2).expand(len(like), -1, -1, -1)


def spline(nodes: Tensor, values: Tensor, at: Tensor, stiffness: float = _STIFFNESS) -> Tensor:
    """Thin-plate spline through `values` (N, K, 2) at `nodes` (N, K, 2) and 0 at STILL, evaluated `at` (N, P, 2).

    A stiffer one passes the values by, and bends less where nodes that lie close disagree.
    """
    still = nodes.new_tensor(STILL).expand(len(nodes), -1, -1)
    nodes = torch.cat([nodes, still], 1)
    n, k = nodes.shape[:2]
    plane = torch.cat([torch.ones_like(nodes[:, :, :1]), nodes], 2)
    system = nodes.new_zeros(n, k + 3, k + 3)
    system[:, :k, :k] = _kernel(nodes, nodes) + stiffness * torch.eye(k, device=nodes.device)
    system[:, :k, k:], system[:, k:, :k] = plane, plane.transpose(1, 2)
    right = torch.cat([values, values.new_zeros(n, k + 3 - values.shape[1], 2)], 1)
    weights = torch.linalg.solve(system.double(), right.double()).to(nodes)
    return _kernel(at, nodes) @ weights[:, :k] + torch.cat([torch.ones_like(at[:, :, :1]), at], 2) @ weights[:, k:]


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    square = (a[:, :, None] - b[:, None]).square().sum(3)
    return square * torch.log(square + 1e-9)
