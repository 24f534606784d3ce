"""Where an evaluation stands: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

LINE_EVERY_SECONDS = 10.0


class Progress:
    """Stages of known length, one after another; use as a context manager."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.bar: Bar | None = None
        self.what, self.done, self.total, self.last = "", 0, 0, time.monotonic()
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self.bar = Bar(*columns, console=self.console, transient=True)
            self.task = self.bar.add_task("", total=None)

    def __enter__(self) -> Progress:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def begin(self, what: str, total: int) -> None:
        """The next stage, of `total` ticks."""
        self.what, self.done, self.total = what, 0, total
        if self.bar is not None:
            self.bar.reset(self.task, description=what, total=total)

    def tick(self, count: int = 1) -> None:
        """So much more of the stage is done."""
        self.done += count
        if self.bar is not None:
            self.bar.advance(self.task, count)
        elif time.monotonic() - self.last > LINE_EVERY_SECONDS:
            self.last = time.monotonic()
            print(f"{self.what}: {self.done} of {self.total}", file=sys.stderr, flush=True)
