"""Waits between attempts: doubling, capped, each shortened at random so that many do not knock at once."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits between attempts: doubling from `first_seconds` up to `most_seconds`, each shortened at random.

    `jitter` is the largest share that is taken off. `attempts` that failed in a row end the matter; 0 never gives up.
    """

    first_seconds: float = 0.5
    most_seconds: float = 30.0
    jitter: float = 0.5
    attempts: int = 0


class Waits:
    """`next` is the wait before another attempt, in seconds; `reset` after one that went well."""

    def __init__(self, backoff: Backoff, chance: Callable[[], float] = random.random) -> None:
        """`chance` gives numbers from 0 to 1."""
        self._backoff = backoff
        self._chance = chance
        self.attempts = 0

    def next(self) -> float:
        backoff = self._backoff
        # Beyond 2**32 the cap holds anyway, and floats would overflow after weeks.
        wait = min(backoff.first_seconds * 2.0 ** min(self.attempts, 32), backoff.most_seconds)
        self.attempts += 1
        return wait * (1 - backoff.jitter * self._chance())

    def reset(self) -> None:
        self.attempts = 0

    @property
    def used_up(self) -> bool:
        """Whether as many attempts were made as the settings allow."""
        return 0 < self._backoff.attempts <= self.attempts
