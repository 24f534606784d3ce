"""What is said of each face before Deep Image Prior and behind it, and the verdict of the two."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stream_guard.stages.classifier import CROP
from stream_guard.stages.detect import FAKE, LOW_CONFIDENCE, REAL, UNKNOWN, DetectOptions
from stream_guard.stages.reasons import TOO_SMALL

from ..detectors.degrade import resize
from ..progress import Progress
from .judges import Asked
from .prior import FAST, PAPER, EarlyStop, Fixed, Judge, Settings, Stop, purify
from .tracks import Track

REAL_FROM, FAKE_TO = 0.5, 0.25
"""p_real behind the prior: the paper's two thresholds. What lies between them stays unknown."""

Prior = Callable[[Tensor, Judge], Tensor]


@dataclass(frozen=True)
class Limits:
    """p_real behind the prior from which a face is real, and up to which it is fake."""

    real_from: float = REAL_FROM
    fake_to: float = FAKE_TO
    fake_before: float = 1 - DetectOptions().fake_from
    """p_real up to which the first calls a face fake, as the `detect` stage does: then no second opinion saves it."""

    def verdict(self, before: float, after: float) -> str:
        if before <= self.fake_before or after <= self.fake_to:
            return FAKE
        return REAL if after > self.real_from else UNKNOWN


def fast(images: Tensor, judge: Judge) -> Tensor:
    """p_real (N,) after the fast prior; all in one batch."""
    return watched(images, judge, FAST, EarlyStop())


def as_paper(images: Tensor, judge: Judge) -> Tensor:
    """p_real (N,) after the paper's prior, image by image."""
    return torch.cat([watched(image, judge, PAPER, Fixed()) for image in images.split(1)])


def watched(images: Tensor, judge: Judge, settings: Settings, stop: Stop) -> Tensor:
    """`purify` with a bar."""
    with Progress() as progress:
        progress.begin(f"deep image prior, {len(images)} crops at once", settings.iterations)
        return purify(images, judge, settings, Ticking(stop, progress)).p_real


@dataclass
class Ticking:
    """Another rule to stop by, and a tick for each iteration."""

    rule: Stop
    progress: Progress

    def look(self, step: int, pictures: Tensor) -> bool:
        self.progress.tick()
        return self.rule.look(step, pictures)

    def chosen(self, last: int, count: int) -> list[int]:
        return self.rule.chosen(last, count)


def opinions(
    tracks: Sequence[Track],
    first: Asked,
    behind: Asked,
    count: int,
    size: int,
    limits: Limits,
    device: torch.device,
    prior: Prior = fast,
) -> list[dict[str, Any]]:
    """For each face p_real before and after, averaged over `count` of its crops, and the verdict.

    A face that had to be enlarged for the first is not asked about: it is unknown, as the `detect` stage says.
    """
    fit = {track.number for track in tracks if track.side >= int(first.size / CROP)}
    picked = [(track, k) for track in tracks if track.number in fit for k in track.spread(count)]
    start = time.monotonic()
    before, after = _p_real(picked, first, behind, size, device, prior) if picked else (torch.empty(0), torch.empty(0))
    seconds = (time.monotonic() - start) / max(1, len(picked))
    rows: list[dict[str, Any]] = []
    for track in tracks:
        row: dict[str, Any] = {"track": track.number, "face_px": round(track.side)}
        if track.number not in fit:
            rows.append(row | {"verdict": UNKNOWN, "reason": TOO_SMALL})
            continue
        mine = [n for n, (owner, _) in enumerate(picked) if owner is track]
        was, found = float(before[mine].mean()), float(after[mine].mean())
        verdict = limits.verdict(was, found)
        row |= {
            "crops": len(mine),
            "times_seconds": [round(track.times[k], 3) for owner, k in picked if owner is track],
            "p_real_before": round(was, 4),
            "p_real_after": round(found, 4),
            "verdict": verdict,
            "seconds_a_crop": round(seconds, 2),
        }
        rows.append(row | ({"reason": LOW_CONFIDENCE} if verdict == UNKNOWN else {}))
    return rows


def _p_real(
    picked: Sequence[tuple[Track, int]], first: Asked, behind: Asked, size: int, device: torch.device, prior: Prior
) -> tuple[Tensor, Tensor]:
    crops = np.stack([track.crops[k] for track, k in picked]).transpose(0, 3, 1, 2)
    images = torch.from_numpy(crops.copy()).to(device).float() / 127.5 - 1
    with torch.no_grad():
        before = first.p_real(images).cpu()
    return before, prior(resize(images, size), behind.p_real)
