"""Where the faces of a pack come from, in words for cards and results, with the terms that each set comes under."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

OTHER = "other"
WORDS = {
    "parsing": "CelebAMask-HQ (non-commercial research)",
    "utkface": "UTKFace (non-commercial research; one person may be in several)",
    "synthetic": "synthetic faces (origin unstated)",
    OTHER: "other pictures",
}
"""By the folder that an image lies in."""
DRAWN = "synthetic"
"""The origin of faces that a network drew: nobody's photograph."""


def origin_of(path: Path) -> str:
    """The key of WORDS for an image, by the nearest of its folders that has one."""
    return next((part for part in reversed(path.parts[:-1]) if part in WORDS), OTHER)


def described(pack: Path, with_mask: bool = False) -> str:
    """`855 stills of CelebAMask-HQ (...), 2599 of ...`; says so where the pack was made before this was kept.

    Those with a parsing mask alone, for a network that learns from no others.
    """
    with np.load(pack, allow_pickle=False) as data:
        used = np.diff(data["mask_end"], prepend=0) > 0 if with_mask else np.full(len(data["names"]), True)
        kind = "stills with masks of" if with_mask else "stills of"
        if "origin" not in data.files:
            return f"{used.sum()} {kind} a pack that does not say where they come from"
        counts = Counter(str(origin) for origin in data["origin"][used])
    return " and ".join(f"{count} {kind} {WORDS[origin]}" for origin, count in counts.most_common())
