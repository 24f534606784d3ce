"""Finds the faces of a folder of images and says which to pack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from stream_guard.types import Box

Detector = Callable[[npt.NDArray[np.uint8]], Box | None]


def listed(media: Path, synthetic: int, detect: Detector) -> Iterator[tuple[Path, Path | None, Box]]:
    """Every image of `parsing/` (with its mask where there is one) and the first `synthetic` of `faces/synthetic`."""
    for path in sorted((media / "parsing" / "images").glob("*.jpg")):
        mask = media / "parsing" / "masks" / f"{path.stem}.png"
        yield from _with_box(path, mask if mask.exists() else None, detect)
    extra = sorted((media / "faces" / "synthetic").rglob("*.jpg"))
    step = max(1, len(extra) // max(synthetic, 1))
    for path in extra[::step][:synthetic]:
        yield from _with_box(path, None, detect)


def _with_box(path: Path, mask: Path | None, detect: Detector) -> Iterator[tuple[Path, Path | None, Box]]:
    box = detect(np.asarray(Image.open(path).convert("RGB")))
    if box is not None:
        yield path, mask, box
