"""Where a run stands: a bar on a terminal, a line now and then elsewhere, nothing when asked to be quiet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .console import say
from .counting import LINE_EVERY_SECONDS
from .terminal import console, on_terminal

if TYPE_CHECKING:
    from ..outcome import Progress

Report = Callable[["Progress"], None]


@contextmanager
def reporting(quiet: bool) -> Iterator[Report]:
    """A function to call with each Progress."""
    if quiet:
        yield lambda progress: None
    elif on_terminal():
        with _bar() as report:
            yield report
    else:
        yield _lines()


def _lines() -> Report:
    next_seconds = LINE_EVERY_SECONDS

    def report(progress: Progress) -> None:
        nonlocal next_seconds
        if progress.elapsed_seconds >= next_seconds:
            next_seconds += LINE_EVERY_SECONDS
            of = f" of about {progress.total_frames}" if progress.total_frames else ""
            say(f"{progress.frames}{of} pictures, {progress.fps:.1f} fps, {progress.faces} faces")

    return report


@contextmanager
def _bar() -> Iterator[Report]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("protecting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fps]:.1f} fps"),
        TextColumn("{task.fields[faces]} faces"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console(), transient=True) as bar:
        task = bar.add_task("", total=None, fps=0.0, faces=0)

        def report(progress: Progress) -> None:
            # The announced number may fall short of the truth: a bar must not run beyond its end.
            total = max(progress.total_frames, progress.frames) if progress.total_frames else None
            bar.update(task, completed=progress.frames, total=total, fps=progress.fps, faces=progress.faces)

        yield report
