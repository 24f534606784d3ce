"""What is known of each face in sight: its log-odds of being a fake, smoothed over the pictures that were looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(slots=True)
class Score:
    """`log_odds` is the mean over the first `memory` looks, then an exponential mean of that length."""

    log_odds: float = 0.0
    looks: int = 0
    failed: bool = False
    """Whether the last look gave nothing: what was known before no longer counts as known."""

    def add(self, log_odds: float | None, memory: int) -> None:
        """Take in one look; None is a look that failed."""
        self.failed = log_odds is None
        if log_odds is not None:
            self.looks += 1
            self.log_odds += (log_odds - self.log_odds) / min(self.looks, memory)

    @property
    def p_fake(self) -> float:
        """0 to 1."""
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, self.log_odds))))


@dataclass(slots=True)
class Scores:
    """The faces in sight by track. A look is due on a face's first picture and then on every `every`-th."""

    every: int
    memory: int
    known: dict[int, Score] = field(default_factory=dict)
    _pictures: dict[int, int] = field(default_factory=dict)

    def due(self, track: int) -> bool:
        """Count a picture of the track; whether it is one to look at."""
        seen = self._pictures.get(track, 0)
        self._pictures[track] = seen + 1
        return seen % self.every == 0

    def add(self, track: int, log_odds: float | None) -> None:
        self.known.setdefault(track, Score()).add(log_odds, self.memory)

    def sight(self, tracks: set[int]) -> None:
        """Forget the looks due of faces that are out of sight: one that comes back is looked at at once."""
        for track in self._pictures.keys() - tracks:
            del self._pictures[track]

    def forget_others(self, tracks: set[int]) -> None:
        """A score belongs to a face in sight: one that comes back starts anew."""
        for track in self.known.keys() - tracks:
            del self.known[track]

    def clear(self) -> None:
        self.known.clear()
        self._pictures.clear()
