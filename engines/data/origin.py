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


def described(pack: Path) -> str:
    """`855 stills of CelebAMask-HQ (...), 2599 of ...`; says so where the pack was made before this was kept."""
    with np.load(pack, allow_pickle=False) as data:
        if "origin" not in data.files:
            return f"{len(data['names'])} stills of a pack that does not say where they come from"
        counts = Counter(str(origin) for origin in data["origin"])
    return " and ".join(f"{count} stills of {WORDS[origin]}" for origin, count in counts.most_common())
