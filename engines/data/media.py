"""Finds the faces of a folder of images and says which to pack."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stream_guard.errors import EngineError
from stream_guard.types import Box

from .pack import open_picture

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
COUNTED = ("synthetic", "utkface")
"""Folders in `faces/` of which only as many pictures are taken as are asked for; of the others, all."""

Detector = Callable[[npt.NDArray[np.uint8]], Box | None]


def listed(media: Path, synthetic: int, aligned: int, detect: Detector) -> Iterator[tuple[Path, Path | None, Box]]:
    """Every picture of `parsing/images` (with its mask where there is one) and of `faces/`, with its largest face.

    Of `faces/synthetic` only `synthetic`, of `faces/utkface` (small photographs of all sorts, cut close) `aligned`,
    evenly spaced. One that can't be read or shows no face is left out, and said on stderr. Raises EngineError where
    there is no picture at all.
    """
    paths = [*_below(media / "parsing" / "images"), *_faces(media / "faces", synthetic, aligned)]
    if not paths:
        raise EngineError(
            f"no pictures in {media / 'parsing' / 'images'} or {media / 'faces'}: --media takes a folder that has "
            f"them there, as {', '.join(SUFFIXES)}"
        )
    for path in paths:
        found = face_in(path, detect)
        if found is not None:
            mask = media / "parsing" / "masks" / f"{path.stem}.png"
            yield path, mask if path.parent == media / "parsing" / "images" and mask.exists() else None, found[1]


def _faces(faces: Path, synthetic: int, aligned: int) -> list[Path]:
    counted = [
        path for name, n in zip(COUNTED, (synthetic, aligned), strict=True) for path in _spaced(_below(faces / name), n)
    ]
    return counted + [path for path in _below(faces) if path.relative_to(faces).parts[0] not in COUNTED]


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def _spaced(paths: list[Path], count: int) -> list[Path]:
    count = min(count, len(paths))
    return [paths[k * len(paths) // count] for k in range(count)]


def face_in(path: Path, detect: Detector) -> tuple[npt.NDArray[np.uint8], Box] | None:
    """The picture (H, W, 3) in RGB and its largest face; None where there is neither, which is said on stderr."""
    try:
        rgb = np.asarray(open_picture(path))
        box, why = detect(rgb), "no face found"
    except EngineError as error:
        box, why = None, str(error)
    if box is None:
        print(f"left out: {path}: {why}", file=sys.stderr)
        return None
    return rgb, box
