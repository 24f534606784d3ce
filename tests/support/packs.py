"""Packs of drawn faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from engines.data import pack
from stream_guard.types import Box


def heads_with_masks(folder: Path) -> Path:
    """A pack of faces that are a disc on a ground, with masks that say so; every name falls into a split."""
    rows = []
    for k in range(40):
        rgb = np.random.default_rng(k).integers(90, 120, (96, 96, 3), dtype=np.uint8)
        y, x = np.mgrid[:96, :96]
        disc = (x - 48) ** 2 + (y - 48) ** 2 < 30**2
        rgb[disc] += np.uint8(100)
        (folder / "i").mkdir(exist_ok=True)
        Image.fromarray(rgb).save(folder / "i" / f"p{k}.png")
        Image.fromarray(disc.astype(np.uint8)).save(folder / "i" / f"m{k}.png")
        rows.append((folder / "i" / f"p{k}.png", folder / "i" / f"m{k}.png", Box(20, 20, 76, 76)))
    pack.build(rows, folder / "faces.pack", size=96)
    return folder / "faces.pack"


def blocks(k: int) -> np.ndarray:
    """A grey picture of 288 px in blocks of 16."""
    rng = np.random.default_rng(k)
    return np.repeat(np.repeat(rng.integers(40, 200, (18, 18, 1), np.uint8), 16, 0), 16, 1).repeat(3, 2)


def with_deepfakes(folder: Path) -> Path:
    """A pack with four people in each split, and a deepfake beside its original, in training and in the test."""
    rows, counts = [], dict.fromkeys(pack.SPLITS, 0)
    k = 0
    while min(counts.values()) < 4:
        split = pack.split_of(f"p{k}")
        if counts[split] < 4:
            Image.fromarray(blocks(k)).save(folder / f"p{k}.png")
            rows.append((folder / f"p{k}.png", None, Box(80, 60, 208, 228)))
            counts[split] += 1
        k += 1
    encoded = [pack.encode_image(Image.fromarray(blocks(k)[:192, :192]), "JPEG") for k in range(8)]
    extra = {
        "deepfake_jpeg": np.frombuffer(b"".join(encoded), np.uint8),
        "deepfake_jpeg_end": np.cumsum([len(b) for b in encoded]),
        "deepfake_of": np.arange(4).repeat(2),
        "deepfake_names": np.array(["c23_videos_519_515", "c23_videos_519", "other_fake", "other"]),
        "deepfake_fake": np.array([1, 0, 1, 0], np.uint8),
    }
    pack.build(rows, folder / "faces.pack", extra=extra)
    return folder / "faces.pack"
