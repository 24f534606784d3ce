"""Small curves side by side as an SVG, for the pages of docs. Used by docs/fooling.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, PANEL, HEIGHT, LEFT, TOP, GAP, FOOT = 760, 320, 120, 44, 50, 44, 34
RAW, MEAN = "#c9d6e2", "#1b6ca8"


@dataclass(frozen=True)
class Panel:
    """`values` and their running `mean`, 0 to 1, at `steps`; `mark` is a step to point out."""

    title: str
    steps: Sequence[int]
    values: Sequence[float]
    mean: Sequence[float]
    mark: int


def curves(title: str, panels: Sequence[Panel], levels: Sequence[float]) -> str:
    """Two panels a row; `levels` are dashed across each."""
    rows = (len(panels) + 1) // 2
    height = TOP + rows * (HEIGHT + GAP) + FOOT - GAP + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="11" role="img"><title>{escape(title)}</title>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="20" font-size="14" fill="#222">{escape(title)}</text>',
    ]
    for k, panel in enumerate(panels):
        x, y = LEFT + k % 2 * (PANEL + LEFT + 6), TOP + k // 2 * (HEIGHT + GAP)
        parts += _panel(panel, x, y, levels)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, x: int, y: int, levels: Sequence[float]) -> list[str]:
    last = panel.steps[-1]
    at, late = x + PANEL * panel.mark / last, panel.mark > last / 2
    parts = [
        f'<text x="{x}" y="{y - 6}" fill="#222">{escape(panel.title)}</text>',
        f'<rect x="{x}" y="{y}" width="{PANEL}" height="{HEIGHT}" fill="none" stroke="#999"/>',
        *(
            f'<path d="M{x} {y + HEIGHT * (1 - level):.1f}h{PANEL}" stroke="#999" stroke-dasharray="4 3"/>'
            f'<text x="{x - 4}" y="{y + HEIGHT * (1 - level) + 4:.1f}" text-anchor="end" fill="#555">{level:g}</text>'
            for level in (0.0, *levels, 1.0)
        ),
        f'<path d="M{at:.1f} {y}v{HEIGHT}" stroke="#b0485c"/>',
        f'<text x="{at + (-3 if late else 3):.1f}" y="{y + 12}" text-anchor="{"end" if late else "start"}" '
        f'fill="#b0485c">stops at {panel.mark}</text>',
        _line(panel.steps, panel.values, x, y, RAW),
        _line(panel.steps, panel.mean, x, y, MEAN),
    ]
    return [
        *parts,
        f'<text x="{x + PANEL}" y="{y + HEIGHT + 14}" text-anchor="end" fill="#555">iteration {last}</text>',
    ]


def _line(steps: Sequence[int], values: Sequence[float], x: int, y: int, colour: str) -> str:
    points = " ".join(
        f"{x + PANEL * step / steps[-1]:.1f},{y + HEIGHT * (1 - min(max(value, 0.0), 1.0)):.1f}"
        for step, value in zip(steps, values, strict=True)
    )
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
