"""Where every picture of a live stream is: in flight, out, or dropped for a reason. Nothing is lost between."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from time import monotonic

from ..metrics import Metrics
from ..outcome import Tally
from ..types import Frame

WINDOW_SECONDS = 5.0
"""The rate and the latency are of the pictures that left within this time."""
LATE, STOPPED, DISORDERED = "late", "stopped", "disordered"
"""Why a picture is dropped: it waited too long; the stream stopped; its time lies before what was written already."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The ledger at one moment: frames_in == frames_out + sum(dropped) + in_flight."""

    frames_in: int
    frames_out: int
    in_flight: int
    dropped: dict[str, int]
    fps: float
    latency_seconds: float


class Ledger:
    """Thread-safe. Frames are known by their index, which no two frames of the stream share.

    The metrics change under its lock, so that a page of them that is made while it is `still` adds up too.
    """

    def __init__(self, metrics: Metrics, tally: Tally, clock: Callable[[], float] = monotonic) -> None:
        self._metrics, self._tally, self._clock = metrics, tally, clock
        self._lock = threading.Lock()
        self._born: dict[int, float] = {}
        self._came = 0
        self._left = 0
        self._dropped: Counter[str] = Counter()
        self._recent: deque[tuple[float, float]] = deque(maxlen=1200)  # when a frame left, and its latency

    def came_in(self, index: int) -> None:
        with self._lock:
            self._came += 1
            self._born[index] = self._clock()
            self._tally.came_in()
            self._metrics["frames_in_flight"].inc()

    def waited(self, index: int) -> float:
        """Seconds since the frame was decoded."""
        with self._lock:
            return self._clock() - self._born[index]

    def went_out(self, frame: Frame) -> None:
        with self._lock:
            now = self._clock()
            latency = now - self._born.pop(frame.index)
            self._left += 1
            self._recent.append((now, latency))
            self._tally.went_out(frame, latency)
            self._metrics["frames_in_flight"].dec()

    def dropped(self, index: int, reason: str) -> None:
        with self._lock:
            del self._born[index]
            self._dropped[reason] += 1
            self._count_dropped(1, reason)
        self._tally.tracing.dropped(index, reason)

    def drop_rest(self, reason: str) -> None:
        """Whatever is still in flight will not leave any more."""
        with self._lock:
            rest = list(self._born)
            count = len(rest)
            self._born.clear()
            self._dropped[reason] += count
            self._dropped += Counter()  # without the zeros
            if count:
                self._count_dropped(count, reason)
        for index in rest:
            self._tally.tracing.dropped(index, reason)

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """No picture comes, leaves or is dropped meanwhile: for moments only."""
        with self._lock:
            yield

    def counts(self) -> Counts:
        with self._lock:
            since = self._clock() - WINDOW_SECONDS
            recent = [(left, latency) for left, latency in self._recent if left >= since]
            span = recent[-1][0] - recent[0][0] if len(recent) > 1 else 0.0
            return Counts(
                frames_in=self._came,
                frames_out=self._left,
                in_flight=len(self._born),
                dropped=dict(self._dropped),
                fps=round((len(recent) - 1) / span, 2) if span > 0 else 0.0,
                latency_seconds=round(median(latency for _, latency in recent), 4) if recent else 0.0,
            )

    def _count_dropped(self, count: int, reason: str) -> None:
        self._metrics["frames_dropped"].labels(reason).inc(count)
        self._metrics["frames_in_flight"].dec(count)
