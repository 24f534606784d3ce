"""Flicker on real clips, as the product protects them: how much the perturbation itself moves.

`levels` is the audit's mean |d_t - warp(d_{t-1})| in 8-bit levels over the head, d being protected minus original and
warp the face's translation. `energy` is the energy of the motion-compensated temporal difference (blocks of 16 pixels,
motion of the original) of the protected picture over the original's: 1 is no more flicker than the camera's own noise.
`psnr_db` belongs to both: nothing flickers at strength 0. Pictures are decoded, perturbed and looked at in 8 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_guard.audit.examine import with_faces
from stream_guard.audit.flicker import Flicker
from stream_guard.audit.quality import Difference, SquaredError, difference, luma, pixels_of, psnr_db
from stream_guard.errors import UsageError
from stream_guard.media import open_source, pixels
from stream_guard.stages.faces import FacesStage
from stream_guard.types import Box, Face, Frame, head_region

from ...data.clips import person_of
from ...data.pack import split_of
from ..figures import Figure, mean
from ..motion import BLOCK, REACH, block_motion, warped
from ..protectors import open_stage
from .bench import Bench
from .document import Rows

Rgb = npt.NDArray[np.uint8]


@dataclass
class Watched:
    """What one clip shows: flicker in levels, the energy of each pair of frames, and the cost in PSNR."""

    flicker: Flicker = field(default_factory=Flicker)
    error: SquaredError = field(default_factory=SquaredError)
    energies: list[float] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    last: tuple[int, Rgb, Rgb] | None = None

    def add(self, index: int, face: Face, original: Rgb, protected: Rgb) -> None:
        """One frame's largest face; a change of track starts anew."""
        change = difference(protected, original)
        region = head_region(face.box)
        where = pixels_of(region, original.shape[1], original.shape[0])
        if where is not None:
            self.error.add(change[where])
        self._add_levels(index, face.track, region, change)
        if self.last is not None and self.last[0] == face.track:
            found = energy(original, protected, self.last[1], self.last[2], region)
            self.energies += [] if found is None else [found]
        self.last = (face.track, original, protected)

    @property
    def figures(self) -> dict[str, list[float]]:
        return {"energy": self.energies, "levels": self.levels}

    def _add_levels(self, index: int, track: int, region: Box, change: Difference) -> None:
        total, values = self.flicker.total, self.flicker.values
        self.flicker.add(index, track, region, change)
        if self.flicker.values > values:
            self.levels.append((self.flicker.total - total) / (self.flicker.values - values))


def flicker(bench: Bench) -> Rows:
    """One row a clip and number of pictures that a perturbation is held."""
    rows = Rows()
    clips = chosen(bench)
    for hold in bench.arguments.holds:
        bench.progress.begin(f"watching clips, hold {hold}", len(clips))
        for clip in clips:
            watched = watch(bench, clip, hold)
            bench.progress.tick()
            if not watched.energies or not watched.levels:
                rows.skip("no face in two pictures in a row", clip=clip.stem, hold=hold)
                continue
            rows.add(
                {"clip": clip.stem, "hold": hold},
                {"8bit": {name: _over(values, bench.seed) for name, values in watched.figures.items()}},
                face_psnr_db=_rounded(psnr_db(watched.error.mse)),
            )
        summary(rows, hold, bench)
    return rows


def summary(rows: Rows, hold: int, bench: Bench) -> None:
    """The mean over the clips, bootstrapped over clips."""
    mine = [row for row in rows.rows if row["labels"]["hold"] == hold]
    if mine:
        names = [row["labels"]["clip"] for row in mine]
        columns: dict[str, Any] = {
            key: mean([row["columns"]["8bit"][key]["value"] for row in mine], names, bench.seed)
            for key in ("energy", "levels")
        }
        rows.add({"clip": "all", "hold": hold}, {"8bit": columns})


def chosen(bench: Bench) -> list[Path]:
    """`--clips`, or the talking heads of the test split in `--media`, six at most."""
    if bench.arguments.clips:
        return list(bench.arguments.clips)
    folder = bench.arguments.media and bench.arguments.media / "clips" / "talk"
    found = [p for p in sorted(folder.glob("*.mp4")) if split_of(person_of(p.stem)) == "test"] if folder else []
    if not found:
        raise UsageError(
            "the table 'flicker' needs --clips FILE..., or --media with clips/talk/*.mp4 of the test split"
        )
    return found[:: max(1, len(found) // 6)][:6]


def watch(bench: Bench, clip: Path, hold: int) -> Watched:
    """The clip's first pictures through the product's own stages."""
    watched, stage = Watched(), open_stage(bench.engine.card, hold=hold)
    with open_source(str(clip)) as source:
        pictures = (item for item in source.read() if isinstance(item, Frame))
        for index, frame in enumerate(with_faces(FacesStage(), _first(pictures, bench.arguments.frames))):
            original = pixels.whole_rgb(frame.picture)
            (protected,) = stage.process(frame)
            if protected.faces:
                largest = max(protected.faces, key=lambda face: face.box.area)
                watched.add(index, largest, original, pixels.whole_rgb(protected.picture))
    stage.close()
    return watched


def energy(original: Rgb, protected: Rgb, original_before: Rgb, protected_before: Rgb, region: Box) -> float | None:
    """Energy of the protected temporal difference over the original's; None where the region is too near the border."""
    height, width = original.shape[:2]
    inner = Box(REACH, REACH, width - REACH, height - REACH)
    x0, y0 = max(int(region.x0), int(inner.x0)), max(int(region.y0), int(inner.y0))
    x1, y1 = min(int(region.x1), int(inner.x1)), min(int(region.y1), int(inner.y1))
    if min(x1 - x0, y1 - y0) < BLOCK:
        return None
    here = slice(y0, y1), slice(x0, x1)
    around = slice(y0 - REACH, y1 + REACH), slice(x0 - REACH, x1 + REACH)
    motion = block_motion(luma(original[here]), luma(original_before[around]))
    rows, columns = (n * BLOCK for n in motion.shape[:2])

    def left(now: Rgb, before: Rgb) -> float:
        moved = warped(before[around].astype(np.float32), motion)
        return float(np.square(now[here][:rows, :columns] - moved).mean())

    source = left(original, original_before)
    return left(protected, protected_before) / source if source else None


def _over(values: list[float], seed: int) -> Figure:
    """The mean over the steps of one clip, bootstrapped over steps: narrow, because neighbours are alike."""
    return mean(values, range(len(values)), seed)


def _first(frames: Iterator[Frame], count: int) -> Iterator[Frame]:
    for _, frame in zip(range(count), frames, strict=False):
        yield frame


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
