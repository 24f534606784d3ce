"""Counts in sentences for people."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """`count` and what it counts: `1 picture`, `2 pictures`. `many` where it is not `one` and an s."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"
