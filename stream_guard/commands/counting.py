"""Where a command stands that counts pictures but protects none: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from .console import say
from .terminal import console, on_terminal

LINE_EVERY_SECONDS = 10.0

Count = Callable[[int, int], None]
"""Told `(pictures done, pictures in all)`."""


@contextmanager
def counting(title: str, quiet: bool = False) -> Iterator[Count]:
    """A function to call after each picture; speaks on stderr, if not `quiet`."""
    if quiet or not on_terminal():
        yield (lambda done, total: None) if quiet else _lines(title)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(title), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn())
    with Progress(*columns, console=console(), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=min(done, total), total=total)


def _lines(title: str) -> Count:
    last = monotonic()

    def count(done: int, total: int) -> None:
        nonlocal last
        if monotonic() - last >= LINE_EVERY_SECONDS:
            last = monotonic()
            say(f"{title}: {done} of about {total} pictures")

    return count
