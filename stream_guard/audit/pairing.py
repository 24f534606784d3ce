"""Pairs the frames of several videos by timestamp: the only clock that survives a change of container."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """Anything with an exact time: `types.Frame` in practice."""

    @property
    def pts(self) -> int: ...

    @property
    def time_base(self) -> Fraction: ...


T = TypeVar("T", bound=Timed)


def time_of(frame: Timed) -> Fraction:
    """The frame's exact time in seconds."""
    return frame.pts * frame.time_base


def tolerance(time_bases: Iterable[Fraction], frame_interval: Fraction | None = None) -> Fraction:
    """How far apart, in seconds, two timestamps of the same frame may lie.

    A container rounds a timestamp to its own clock: half a tick of the coarsest one, or a whole tick where a muxer cut
    instead of rounding. The whole tick is allowed only while it is well below the distance of two frames.
    """
    coarsest = max(time_bases)
    half = coarsest / 2
    if frame_interval is None:
        return half
    return max(half, min(coarsest, frame_interval / 4))


@dataclass
class Pairing(Generic[T]):
    """Walks an original and other versions of it in step, and counts what has no partner.

    All inputs must come in display order. Iterate once; `paired`, `unpaired` and `first_times` are filled on the way.
    """

    original: Iterable[T]
    others: Sequence[Iterable[T]]
    tolerance: Fraction
    paired: int = 0
    unpaired: list[int] = field(default_factory=list)
    """Frames without a partner: of the original, then of each other version."""
    first_times: list[Fraction | None] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[T, ...]]:
        """Yields `(original, other, ...)` for each time that all versions have."""
        self.unpaired = [0] * (1 + len(self.others))
        self.first_times = [None] * (1 + len(self.others))
        walkers = [_Walker(self, i + 1, iter(other)) for i, other in enumerate(self.others)]
        for frame in self.original:
            now = time_of(frame)
            self.seen(0, now)
            partners = [partner for walker in walkers if (partner := walker.at(now)) is not None]
            if len(partners) < len(walkers):
                self.unpaired[0] += 1
                self.unpaired_partners(walkers, now)
                continue
            for walker in walkers:
                walker.take()
            self.paired += 1
            yield (frame, *partners)
        for walker in walkers:
            walker.drain()

    def seen(self, version: int, now: Fraction) -> None:
        if self.first_times[version] is None:
            self.first_times[version] = now

    def unpaired_partners(self, walkers: Sequence[_Walker[T]], now: Fraction) -> None:
        """A version that has this time, while another lacks it, has a frame without a partner too."""
        for walker in walkers:
            if walker.at(now) is not None:
                walker.take()
                self.unpaired[walker.version] += 1


class _Walker(Generic[T]):
    """One other version, with a look-ahead of one frame."""

    def __init__(self, pairing: Pairing[T], version: int, frames: Iterator[T]) -> None:
        self.pairing, self.version, self.frames = pairing, version, frames
        self.ahead: T | None = None
        self.take()

    def take(self) -> None:
        self.ahead = next(self.frames, None)
        if self.ahead is not None:
            self.pairing.seen(self.version, time_of(self.ahead))

    def at(self, now: Fraction) -> T | None:
        """The frame at this time, if there is one; frames before it are counted as unpaired."""
        while self.ahead is not None and time_of(self.ahead) < now - self.pairing.tolerance:
            self.pairing.unpaired[self.version] += 1
            self.take()
        if self.ahead is None or time_of(self.ahead) > now + self.pairing.tolerance:
            return None
        return self.ahead

    def drain(self) -> None:
        while self.ahead is not None:
            self.pairing.unpaired[self.version] += 1
            self.take()
