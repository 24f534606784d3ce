"""Bit rates as people write them."""

from __future__ import annotations

import re

from ..errors import UsageError

UNITS = {"": 1, "k": 1_000, "m": 1_000_000}


def bits_per_second(text: str | None) -> int | None:
    """`2M`, `800k` or `2500000` in bits per second; None stays None. Raises UsageError for anything else."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmM]?)", text.strip())
    if found is None or not float(found[1]):
        raise UsageError(f"--bitrate {text!r} is not a bit rate; give bits per second, such as 2M, 800k or 2500000")
    return round(float(found[1]) * UNITS[found[2].lower()])
