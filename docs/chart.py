"""Bars with intervals as a small SVG, for the pages of docs. Used by docs/evidence.py."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

COLOURS = ("#1b6ca8", "#e08e2b", "#7a9e3f", "#9a9a9a", "#b0485c", "#6b5aa0")
WIDTH, LEFT, RIGHT, BAR, GAP, HEAD = 760, 190, 60, 13, 12, 62


@dataclass(frozen=True)
class Bar:
    """One bar: its value and interval as shares, 0 to 1."""

    value: float
    low: float
    high: float


def bars(title: str, series: list[str], groups: list[tuple[str, list[Bar | None]]], mark: float | None = None) -> str:
    """Horizontal bars from 0 to 100 %, one group a row, one bar a series (None: not run); `mark` draws a line."""
    height = HEAD + sum(len(row) * BAR + GAP for _, row in groups) + 26
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12" role="img"><title>{escape(title)}</title>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="20" font-size="14" fill="#222">{escape(title)}</text>',
        _legend(series),
    ]
    parts += [_tick(share / 4, height) for share in range(5)]
    if mark is not None:
        parts.append(_line(mark, height, "#333", "4 3"))
    y = float(HEAD)
    for name, row in groups:
        middle = y + len(row) * BAR / 2 + 4
        parts.append(f'<text x="{LEFT - 8}" y="{middle:.0f}" text-anchor="end" fill="#222">{escape(name)}</text>')
        for k, bar in enumerate(row):
            parts.append(_bar(bar, y + k * BAR, COLOURS[k % len(COLOURS)]))
        y += len(row) * BAR + GAP
    return "\n".join([*parts, "</svg>"]) + "\n"


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _bar(bar: Bar | None, y: float, colour: str) -> str:
    if bar is None:
        return f'<text x="{LEFT + 4}" y="{y + BAR - 3:.0f}" fill="#777" font-size="10">not run</text>'
    middle = y + BAR / 2 - 1
    return (
        f'<rect x="{LEFT}" y="{y:.0f}" width="{_x(bar.value) - LEFT:.1f}" height="{BAR - 2}" fill="{colour}"/>'
        f'<path d="M{_x(bar.low):.1f} {middle:.1f}H{_x(bar.high):.1f}" stroke="#111" stroke-width="1"/>'
        f'<text x="{_x(max(bar.high, bar.value)) + 4:.1f}" y="{y + BAR - 3:.0f}" fill="#333" font-size="10">'
        f"{bar.value:.0%}</text>"
    )


def _legend(series: list[str]) -> str:
    step = (WIDTH - 20) / max(len(series), 1)
    return "".join(
        f'<rect x="{10 + k * step:.0f}" y="32" width="10" height="10" fill="{COLOURS[k % len(COLOURS)]}"/>'
        f'<text x="{25 + k * step:.0f}" y="41" fill="#333">{escape(name)}</text>'
        for k, name in enumerate(series)
    )


def _tick(share: float, height: float) -> str:
    return _line(share, height, "#dddddd") + (
        f'<text x="{_x(share):.0f}" y="{height - 8}" text-anchor="middle" fill="#555">{share:.0%}</text>'
    )


def _line(share: float, height: float, colour: str, dashes: str = "") -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<path d="M{_x(share):.1f} {HEAD - 8}V{height - 22}" stroke="{colour}"{dashed}/>'
