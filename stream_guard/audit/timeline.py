"""A small drawing of L2 over time, as SVG inside the page."""

from __future__ import annotations

import math

from .disruption import L2_THRESHOLD
from .result import Series

WIDTH, HEIGHT = 1000, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 14, 28
LOWEST, HIGHEST = 1e-3, 2.0
GRID = (0.001, 0.01, 0.1, 1.0)


def timeline(series: Series) -> str:
    """The generator's mean L2 at each sampled frame on a logarithmic scale, with the line above which it counts."""
    times = [time for time, _ in series.protected + series.control]
    if not times:
        return ""
    first, last = min(times), max(max(times), min(times) + 0.1)
    curves = _curve(series.control, first, last, "var(--soft)", "5 4")
    curves += _curve(series.protected, first, last, "var(--mark)", "")
    ends = _text(LEFT, HEIGHT - 8, f"{first:.1f} s", "start") + _text(WIDTH - RIGHT, HEIGHT - 8, f"{last:.1f} s", "end")
    label = f"L2 over time; the line at {L2_THRESHOLD} is where an edit counts as disrupted"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{''.join(map(_grid_line, GRID))}{_threshold()}{curves}{ends}</svg>"
    )


def _x(time: float, first: float, last: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (time - first) / (last - first)


def _y(value: float) -> float:
    share = math.log(min(max(value, LOWEST), HIGHEST) / LOWEST) / math.log(HIGHEST / LOWEST)
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share


def _curve(points: list[tuple[float, float]], first: float, last: float, colour: str, dash: str) -> str:
    places = [(_x(time, first, last), _y(value)) for time, value in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" style="fill:{colour}"/>' for x, y in places)
    style = f"fill:none;stroke:{colour};stroke-width:2;stroke-dasharray:{dash or 'none'}"
    return f'<polyline points="{path}" style="{style}"/>{dots}'


def _grid_line(value: float) -> str:
    y = _y(value)
    line = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" style="stroke:var(--line)"/>'
    return line + _text(LEFT - 8, y + 4, f"{value:g}", "end")


def _threshold() -> str:
    y = _y(L2_THRESHOLD)
    style = "stroke:var(--good);stroke-width:1.5"
    line = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" style="{style}"/>'
    return line + _text(LEFT - 8, y + 4, f"{L2_THRESHOLD:g}", "end")


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'
