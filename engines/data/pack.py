"""One packed file of faces for training: JPEG heads, PNG parsing masks, names and a split by identity.

A head is the `guard_region` of the best face of an image, reflected where it leaves the picture, at `SIZE` px. An
.npz without pickles: `jpeg` and `mask` (bytes end to end), `jpeg_end` and `mask_end` (offsets), `names`, `split`,
`origin` (see origin.py), `face` (the face box inside the head, as shares of its side), `landmarks` (N, 66, 2, shares
of the side; NaN where no face was seen) and `action_units` (N, 17) where they were asked for. At most 40 MiB, so that
it travels to a training machine.
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps

from stream_guard.errors import EngineError
from stream_guard.magdr.regions import CLASSES
from stream_guard.types import Box, guard_region

from .action_units import POINTS, action_units
from .origin import origin_of

SIZE = 288
MAX_BYTES = 40 * 2**20
SPLITS = ("train", "val", "test")

UNREADABLE = (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError, zipfile.BadZipFile)
"""What numpy and Pillow say of a pack that was cut off, or is none."""

Face = tuple[float, float, float, float]
"""x0, y0, x1, y1 as shares of the head's side."""
Finder = Callable[[npt.NDArray[np.uint8], Face], "npt.NDArray[np.float32] | None"]
"""A head and its face box to landmarks (66, 2) as shares of the side, or None."""


@dataclass(frozen=True)
class Head:
    """One packed face: `rgb` (SIZE, SIZE, 3) uint8; `mask` (SIZE, SIZE) uint8 of CelebAMask-HQ classes, or None.

    `landmarks` (66, 2) are shares of the side, NaN where no face was seen, and `action_units` (17,) are measured on
    them; both None in a pack without landmarks. See data/action_units.py.
    """

    name: str
    split: str
    rgb: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint8] | None
    face: Face
    landmarks: npt.NDArray[np.float32] | None = None
    action_units: npt.NDArray[np.float32] | None = None
    origin: str = ""
    """The key of `origin.WORDS`; empty in a pack that does not say."""


def split_of(name: str) -> str:
    """train 80 %, val 5 %, test 15 %, by a hash of the picture's name: stable when images are added.

    Who is in a picture is not known for most sets: somebody may be in pictures of two splits.
    """
    bucket = zlib.crc32(name.encode()) % 100
    return "train" if bucket < 80 else "val" if bucket < 85 else "test"


def cut(image: Image.Image, region: Box, size: int, nearest: bool = False) -> Image.Image:
    """The region at `size` px; parts outside the picture are mirrored."""
    array = np.asarray(image)
    x0, y0 = int(np.floor(region.x0)), int(np.floor(region.y0))
    side = max(round(region.width), 2)
    pad = max(0, -x0, -y0, x0 + side - array.shape[1], y0 + side - array.shape[0])
    pad = min(pad, min(array.shape[:2]) - 1)
    widths = [(pad, pad), (pad, pad)] + [(0, 0)] * (array.ndim - 2)
    padded = np.pad(array, widths, mode="reflect")
    part = padded[max(y0 + pad, 0) : y0 + pad + side, max(x0 + pad, 0) : x0 + pad + side]
    return Image.fromarray(part).resize((size, size), Image.Resampling.NEAREST if nearest else Image.Resampling.LANCZOS)


def build(
    images: Iterable[tuple[Path, Path | None, Box]],
    out: Path,
    size: int = SIZE,
    quality: int = 90,
    extra: Mapping[str, npt.NDArray[np.generic]] | None = None,
    finder: Finder | None = None,
) -> dict[str, int]:
    """Pack (image, mask or None, face box) triples. Raises EngineError on an unreadable image or beyond 40 MiB.

    `extra` arrays are stored beside the heads under their own names (clips, say), and count towards the limit.
    `finder` adds landmarks and action units.
    """
    jpeg, mask, names, split, face, points, origin = [], [], [], [], [], [], []
    for path, mask_path, box in images:
        region = guard_region(box)
        picture = open_picture(path)
        head = cut(picture, region, size)
        jpeg.append(encode_image(head, "JPEG", quality=quality))
        mask.append(b"" if mask_path is None else _mask_of(mask_path, picture.size, region, size))
        names.append(path.stem)
        origin.append(origin_of(path))
        split.append(SPLITS.index(split_of(path.stem)))
        side = region.width
        corners = (box.x0 - region.x0, box.y0 - region.y0, box.x1 - region.x0, box.y1 - region.y0)
        face.append([v / side for v in corners])
        if finder is not None:
            points.append(_found(finder, np.asarray(head), _face(face[-1])))
    extra = dict(extra or {}) | _labels(points)
    total = sum(map(len, jpeg)) + sum(map(len, mask)) + sum(a.nbytes for a in extra.values())
    if total > MAX_BYTES:
        raise EngineError(
            f"the pack would take {total / 2**20:.1f} MiB; at most 40: pack fewer images or a lower quality"
        )
    if not names:
        raise EngineError("no image with a face to pack")
    arrays = {
        "jpeg": np.frombuffer(b"".join(jpeg), np.uint8),
        "jpeg_end": np.cumsum([len(b) for b in jpeg]),
        "mask": np.frombuffer(b"".join(mask), np.uint8),
        "mask_end": np.cumsum([len(b) for b in mask]),
        "names": np.array(names),
        "origin": np.array(origin),
        "split": np.array(split, np.uint8),
        "face": np.array(face, np.float32),
    }
    _write(out, arrays | extra)
    facts = {"images": len(names), "masks": sum(1 for b in mask if b), "bytes": total}
    return facts | ({"landmarks": sum(1 for p in points if np.isfinite(p).all())} if points else {})


def _write(out: Path, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Under another name first: no half pack is left, nor a whole one from before lost, where the disk is full."""
    scratch = out.with_name(f"{out.name}.tmp")
    try:
        with scratch.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # the stub takes names of arrays for options
        os.replace(scratch, out)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise EngineError(f"the pack could not be written to {out}: {error}") from error


def _face(values: Sequence[Any]) -> Face:
    return float(values[0]), float(values[1]), float(values[2]), float(values[3])


def _found(finder: Finder, head: npt.NDArray[np.uint8], face: Face) -> npt.NDArray[np.float32]:
    points = finder(head, face)
    return np.full((POINTS, 2), np.nan, np.float32) if points is None else points


def _labels(points: list[npt.NDArray[np.float32]]) -> dict[str, npt.NDArray[np.generic]]:
    """Half precision is a seventh of a pixel of a head; the units are measured on what is stored."""
    if not points:
        return {}
    stored = np.stack(points).astype(np.float16)
    units = action_units(torch.from_numpy(stored.astype(np.float32))).numpy()
    return {"landmarks": stored, "action_units": units.astype(np.float16)}


def read(path: Path, splits: Sequence[str] = SPLITS, with_mask: bool | None = None) -> list[Head]:
    """The heads of the given splits; `with_mask=True` keeps only those that have a parsing mask."""
    try:
        data = arrays_of(path)
        jpeg, mask = split_parts(data["jpeg"], data["jpeg_end"]), split_parts(data["mask"], data["mask_end"])
        origin = data["origin"] if "origin" in data else [""] * len(jpeg)
        rows = zip(
            data["names"],
            data["split"],
            jpeg,
            mask,
            data["face"],
            *_stored_labels(data, len(jpeg)),
            origin,
            strict=True,
        )
        return [
            Head(
                str(name),
                SPLITS[s],
                np.asarray(decode_image(j)),
                np.asarray(decode_image(m)) if m else None,
                _face(f),
                points,
                units,
                str(where),
            )
            for name, s, j, m, f, points, units, where in rows
            if SPLITS[s] in splits and (with_mask is None or bool(m) == with_mask)
        ]
    except UNREADABLE as error:
        raise EngineError(
            f"{path} is not a readable data pack ({error}); make one with: python -m engines pack"
        ) from error


def arrays_of(path: Path, prefix: str = "") -> dict[str, npt.NDArray[Any]]:
    """The arrays of a pack whose names begin with `prefix`. Raises one of UNREADABLE."""
    if path.is_file() and not zipfile.is_zipfile(path):  # numpy would advise to load it unsafely
        raise ValueError("it is no archive of arrays, or was cut off")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as pack:  # numpy leaves a broken file open
        return {key: pack[key] for key in pack.files if key.startswith(prefix)}


def _stored_labels(data: Mapping[str, npt.NDArray[Any]], count: int) -> tuple[Sequence[Any], Sequence[Any]]:
    """Landmarks and action units of each head; None in a pack that was made without."""
    if "landmarks" not in data:
        return [None] * count, [None] * count
    return list(data["landmarks"].astype(np.float32)), list(data["action_units"].astype(np.float32))


def open_picture(path: Path) -> Image.Image:
    """The picture as RGB in 8 bits, the way up that its EXIF data says. Raises EngineError where it can't be read."""
    image = _open(path)
    if image.mode.startswith("I"):  # 16 bits, which `convert` would clip instead of scaling them
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def _mask_of(path: Path, picture: tuple[int, int], region: Box, size: int) -> bytes:
    return encode_image(cut(_mask(path, picture), region, size, nearest=True), "PNG")


def _mask(path: Path, size: tuple[int, int]) -> Image.Image:
    """A class of CelebAMask-HQ a pixel, brought to the picture's size. Raises EngineError for what is none."""
    mask = _open(path)
    if mask.mode not in ("P", "L") or (highest := int(np.asarray(mask).max())) >= len(CLASSES):
        came = f"classes up to {highest}" if mask.mode in ("P", "L") else f"a picture of mode {mask.mode}"
        raise EngineError(f"{path} has {came}: a mask has one class a pixel, 0 to {len(CLASSES) - 1} (palette or gray)")
    if abs(mask.width * size[1] - mask.height * size[0]) > max(size):
        raise EngineError(f"{path} is {mask.width}x{mask.height}, its picture {size[0]}x{size[1]}: not the same view")
    return mask.resize(size, Image.Resampling.NEAREST)


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise EngineError(f"{path} is not a readable image: {error}") from error


def encode_image(image: Image.Image, form: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def decode_image(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def split_parts(data: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> list[bytes]:
    raw, starts = data.tobytes(), [0, *ends[:-1].tolist()]
    return [raw[a:b] for a, b in zip(starts, ends.tolist(), strict=True)]
