"""A confidence interval for a share whose pairs are not independent: neighbouring frames of a clip look alike."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable

Z95 = 1.959964


def share_interval(outcomes: Iterable[tuple[Hashable, bool]]) -> tuple[float, float] | None:
    """The 95 % interval, (low, high), of the share of True among `(cluster, outcome)`; None where there is none.

    Wilson's interval with the effective number of pairs in place of their number. That number follows from how much the
    clusters disagree (Kish), never above the number of pairs and never below the number of clusters; where all outcomes
    agree nothing can be estimated and the number of clusters is taken. A bootstrap would say "exactly 1" there.
    """
    clusters: dict[Hashable, list[bool]] = defaultdict(list)
    for cluster, outcome in outcomes:
        clusters[cluster].append(outcome)
    pairs = sum(map(len, clusters.values()))
    if not pairs:
        return None
    share = sum(map(sum, clusters.values())) / pairs
    return wilson(share, _effective_pairs(list(clusters.values()), share, pairs))


def _effective_pairs(clusters: list[list[bool]], share: float, pairs: int) -> float:
    n = len(clusters)
    if share in (0.0, 1.0) or n < 2:
        return n
    spread = sum((sum(c) - share * len(c)) ** 2 for c in clusters)
    variance = n / (n - 1) * spread / pairs**2
    return min(float(pairs), max(float(n), share * (1 - share) / variance)) if variance else float(pairs)


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share measured on `n` independent trials."""
    centre = share + Z95**2 / (2 * n)
    half = Z95 * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    scale = 1 + Z95**2 / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
