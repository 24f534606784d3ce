"""Tables and figures as the pages of docs write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def share(figure: dict[str, Any]) -> str:
    low, high = figure["ci95"]
    return f"{figure['value']:.1%} ({low:.1%} to {high:.1%})"


def table(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(heading)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def percent(figure: dict[str, Any]) -> str:
    low, high = figure["ci95"]
    return f"{figure['value']:.0%} ({100 * low:.0f} to {100 * high:.0f})"


def mean(figure: dict[str, Any], digits: int = 3) -> str:
    low, high = figure["ci95"]
    return f"{short(figure['value'], digits)} ({short(low, digits)} to {short(high, digits)})"


def short(value: float, digits: int = 2) -> str:
    """A number below 1 without its nought, as the paper prints it."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def number(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"
