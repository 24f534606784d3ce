"""Counts how often a generator fails on the protected face, after the criterion of the literature.

The generator edits the original face and the protected one under the same condition. The pair counts as disrupted when
the two results differ by a mean squared error ("L2") of at least 0.05 on images in [-1, 1].
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .interval import share_interval

L2_THRESHOLD = 0.05
CLUSTER_SECONDS = 1.0
"""Samples of one face within this time are taken as one observation where the interval is computed."""

Images = npt.NDArray[np.float32]


def l2(edited: Images, reference: Images) -> npt.NDArray[np.float64]:
    """The mean squared error of each image pair: (N, 3, S, S) in [-1, 1] to (N,)."""
    errors: npt.NDArray[np.float64] = np.square(edited - reference, dtype=np.float64).mean(axis=(1, 2, 3))
    return errors


@dataclass
class DisruptionTally:
    """What one generator did on one version of the clip."""

    outcomes: list[tuple[tuple[int, int], bool]] = field(default_factory=list)
    l2_sum: float = 0.0
    tracks: dict[int, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    timeline: dict[float, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, track: int, time_seconds: float, values: npt.NDArray[np.float64]) -> None:
        """The L2 of one face in one frame, one value a condition."""
        disrupted = values >= L2_THRESHOLD
        cluster = (track, int(time_seconds // CLUSTER_SECONDS))
        self.outcomes += [(cluster, bool(d)) for d in disrupted]
        self.l2_sum += float(values.sum())
        self.tracks[track][0] += int(disrupted.sum())
        self.tracks[track][1] += len(values)
        self.timeline[time_seconds].append(float(values.mean()))

    @property
    def pairs(self) -> int:
        return len(self.outcomes)

    @property
    def share(self) -> float | None:
        return sum(d for _, d in self.outcomes) / self.pairs if self.pairs else None

    def summary(self) -> dict[str, object]:
        interval = share_interval(self.outcomes)
        return {
            "pairs": self.pairs,
            "disrupted": self.share,
            "l2_mean": self.l2_sum / self.pairs if self.pairs else None,
            "ci95": None if interval is None else list(interval),
        }

    def worst_track(self) -> dict[str, object] | None:
        """The face that is protected least: a clip is as safe as that one."""
        if not self.tracks:
            return None
        share, track = min((hits / pairs, track) for track, (hits, pairs) in self.tracks.items())
        return {"track": track, "disrupted": share}

    def points(self) -> list[tuple[float, float]]:
        """`(time in seconds, mean L2)` of each sampled frame, in order."""
        return [(time, sum(values) / len(values)) for time, values in sorted(self.timeline.items())]
