"""The bar of a command that counts pictures but protects none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .terminal import console, on_terminal

Count = Callable[[int, int], None]
"""Told `(pictures done, pictures in all)`."""


@contextmanager
def counting(title: str, quiet: bool = False) -> Iterator[Count]:
    """A function to call after each picture; draws on stderr, and nothing where that is no terminal."""
    if quiet or not on_terminal():
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(title), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn())
    with Progress(*columns, console=console(), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=min(done, total), total=total)
