"""Lines of text that may overlap, as spans that follow one another: all that mov_text can hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .info import SinkReport

MOST_AT_ONCE = 16
"""Lines shown together. With one more the oldest goes: so many fill any picture, and a file may hold any number."""
UNTIL_NEXT_SECONDS = 5
"""How long a line without a length is shown, unless the next begins before."""

_TEXT_FIELD = 8
_STYLE_FIELD = 2


class Span(NamedTuple):
    """From `start` to `end`, in ticks, this event of ASS is shown."""

    start: int
    end: int
    ass: bytes


@dataclass(slots=True)
class _Line:
    end: int
    ass: bytes
    sure: bool
    """Whether the source says where it ends."""


class Spans:
    """Takes lines as they begin, and gives each span once it is known that no other line begins in it."""

    def __init__(self, until_next: int, report: SinkReport) -> None:
        """`until_next` is UNTIL_NEXT_SECONDS in ticks."""
        self._until_next = until_next
        self._report = report
        self._shown: list[_Line] = []
        self._now = 0

    def add(self, start: int, length: int, ass: bytes) -> Iterator[Span]:
        """A line that begins; `length` 0 is unknown. Yields the spans up to there.

        A line that begins before the one added last is shown from there on and counted: what was before may be written.
        """
        if self._shown and start < self._now:
            self._report.dts_repaired += 1
            start = self._now
        for line in self._shown:
            # Of lines that begin together, none is the next of another.
            line.end = line.end if line.sure or start == self._now else min(line.end, start)
        yield from self._until(start)
        self._now = start
        self._shown.append(_Line(start + (length or self._until_next), ass, sure=length > 0))
        del self._shown[:-MOST_AT_ONCE]

    def finish(self) -> Iterator[Span]:
        """What is still shown when nothing more begins."""
        yield from self._until(max((line.end for line in self._shown), default=self._now))

    def _until(self, moment: int) -> Iterator[Span]:
        while self._shown and self._now < moment:
            end = min(moment, *(line.end for line in self._shown))
            if end > self._now:
                yield Span(self._now, end, together([line.ass for line in self._shown]))
            self._now = max(self._now, end)
            self._shown = [line for line in self._shown if line.end > self._now]


def together(events: list[bytes]) -> bytes:
    """Several events of ASS (`ReadOrder,Layer,Style,Name,MarginL,MarginR,MarginV,Effect,Text`) as one, line by line."""
    first, *others = events
    texts = [first]
    for event in others:
        fields = event.split(b",", _TEXT_FIELD)
        style = fields[_STYLE_FIELD] if len(fields) > _TEXT_FIELD else b""  # a damaged file's has fewer
        # Each begins in its own style, whatever the one before turned on and left on.
        texts.append(b"{\\r" + style + b"}" + fields[-1])
    return b"\\N".join(texts)
