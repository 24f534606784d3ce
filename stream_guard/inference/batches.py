"""Fixed batch sizes for backends that are fast on shapes they know: any number of rows as a few runs, padded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..errors import EngineError
from .feeds import Shape

BATCHES: tuple[int, ...] = (1, 4, 8, 32)
"""One face, a table, a room, a crowd or several streams at once."""


def rows_of(feeds: Mapping[str, Shape]) -> int:
    """The batch that all inputs share. Raises FeedError's base where they don't."""
    rows = {shape[0] for shape in feeds.values()}
    if len(rows) != 1:
        raise EngineError(f"the inputs have different batches: { {n: s[0] for n, s in feeds.items()} }")
    return rows.pop()


def split(rows: int, sizes: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Runs that cover `rows`: the first row, how many, and the size to pad them to. `sizes` rise.

    As many full ones of the largest size as fit, then what is left, padded to the next size.
    """
    start = 0
    while start < rows:
        left = rows - start
        size = next((s for s in sizes if s >= left), sizes[-1])
        taken = min(left, size)
        yield start, taken, size
        start += taken
