"""Finds the faces of a folder of images and says which to pack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from stream_guard.types import Box

Detector = Callable[[npt.NDArray[np.uint8]], Box | None]


def listed(media: Path, synthetic: int, aligned: int, detect: Detector) -> Iterator[tuple[Path, Path | None, Box]]:
    """Every image of `parsing/` (with its mask where there is one) and some of the others, evenly spaced.

    `synthetic` of `faces/synthetic` and `aligned` of `faces/utkface` (small photographs of all sorts, cut close).
    """
    for path in sorted((media / "parsing" / "images").glob("*.jpg")):
        mask = media / "parsing" / "masks" / f"{path.stem}.png"
        yield from _with_box(path, mask if mask.exists() else None, detect)
    for folder, count in (("synthetic", synthetic), ("utkface", aligned)):
        for path in _spaced(sorted((media / "faces" / folder).rglob("*.jpg")), count):
            yield from _with_box(path, None, detect)


def _spaced(paths: list[Path], count: int) -> list[Path]:
    return paths[:: max(1, len(paths) // max(count, 1))][:count]


def _with_box(path: Path, mask: Path | None, detect: Detector) -> Iterator[tuple[Path, Path | None, Box]]:
    box = detect(np.asarray(Image.open(path).convert("RGB")))
    if box is not None:
        yield path, mask, box
