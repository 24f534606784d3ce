"""What a trained detector is worth, on people whom neither it nor any generator was trained on; figures as JSON.

Reals are the test split's head crops, fakes the generators' edits of the same crops, each condition in turn, both
after the same delivery, of which the detector gets what the stage `detect` cuts out. As research has it the positive
class of precision, recall and F1 is *real*: precision = real_pass / (real_pass + fake_pass), recall = real_pass /
reals. Intervals are 95 %, by person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as File
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stream_guard.audit.interval import share_interval
from stream_guard.inference import Card
from stream_guard.stages.classifier import CROP

from ..data.heads import HEAD_SHARE, crop, crop_theta
from ..generators.families import target_of
from ..generators.target import Target
from ..training import stored
from . import deepfakes
from .calibration import calibration_error
from .degrade import Path, blur, resize
from .detector import Detector
from .pictures import BATCH, Pictures, heads_and_fakes, with_edits
from .registry import detector_of
from .seen import SHARE, seen
from .shipped import shipped

Scores = dict[str, tuple[np.ndarray, np.ndarray]]
"""p_real (N,) of reals and (N,) of fakes, by delivery."""

SIDE = 192
DELIVERIES = {
    "8 bits": Path(SIDE),
    "jpeg 75": Path(SIDE, "jpeg", 75),
    "h264 crf 23": Path(SIDE, "h264", 23),
    "h264 crf 30": Path(SIDE, "h264", 30),
}
"""The head SIDE pixels wide in the delivered frame, as E2E tables have it, then back to the detector's size."""

PROBES: dict[str, Callable[[Tensor], Tensor]] = {
    "as they are": lambda rgb: rgb,
    "blurred, sigma 1": lambda rgb: blur(rgb, 1.0),
    "blurred, sigma 2": lambda rgb: blur(rgb, 2.0),
    "at half size": lambda rgb: resize(resize(rgb, rgb.shape[-1] // 2), rgb.shape[-1]).clamp(0, 1),
    "sharpened": lambda rgb: (rgb + (rgb - blur(rgb, 1.2))).clamp(0, 1),
    "with grain": lambda rgb: noisy(rgb),
    "at 30 % of their light, with grain": lambda rgb: noisy(0.3 * rgb),
    "at 15 % of their light, with grain": lambda rgb: noisy(0.15 * rgb),
}
"""Changes that must not change the answer: a detector of softness, of clean or of well lit pictures fails here."""
GRAIN = 1.5 / 255
"""Standard deviation of the noise that stands for a sensor's, on [0, 1]."""

JUDGED = 98
"""Side in pixels of the smallest face that the stage `detect` judges with the zoo's engine."""


def report(
    runs: Sequence[File],
    data: File,
    fakes: Sequence[File],
    device: str = "cpu",
    faces: int = 0,
    videos: Sequence[deepfakes.DeepfakeClip] = (),
    card: Card | None = None,
) -> dict[str, Any]:
    """Figures of every detector in `runs` against every generator in `fakes`, on at most `faces` people (0: all).

    `videos` are real ones of people it was not trained on. `card`: an engine that answers in place of the runs'
    networks.
    """
    at = torch.device(device)
    pictures = Pictures(data, ["test"], at)
    clips = deepfakes.read(data)
    targets = {folder.name: target_of(folder, data).to(at) for folder in fakes}
    made = {name: heads_and_fakes(pictures, target, faces) for name, target in targets.items()}
    guarded = protected_pairs(pictures, faces, videos)
    guarded |= {f"fakes of {name}": laundered_pairs(pictures, target, faces) for name, target in targets.items()}
    rows = []
    for run in runs:
        found, own = stored(run), detector_of(run).to(at)
        detector = shipped(card) if card else own
        taught = [note["fakes"] for note in found.notes if "fakes" in note]  # a run that was imported does not know
        trained = sorted({name for fakes in taught for name in fakes})
        scores = {name: scored(detector, *pair) for name, pair in made.items()}
        rows.append(
            {
                "detector": card.name if card else run.name,
                "network": found.name,
                "settings": found.settings,
                "steps": found.step,
                "minutes": round(found.seconds / 60, 1),
                "parameters": sum(p.numel() for p in own.network.parameters()),
                "trained_on": trained,
                "temperature": round(detector.temperature.item(), 4),  # an engine's is in its file
                "fakes": [
                    against(detector, *made[name], scores[name])
                    | {"generator": name, "seen": name in trained if taught else None}
                    for name in targets
                ],
                "together": together({n: found for n, found in scores.items() if n in trained} or scores),
                "deepfake_videos": [of_clip(detector, clip) for clip in clips],
                "real_videos": [of_clip(detector, clip) for clip in videos],
                "protection": [
                    of_protected(detector, kind, before, after) for kind, (before, after) in guarded.items()
                ],
            }
        )
    return {"people": len(next(iter(made.values()))[0]) if made else 0, "head_px": SIDE, "crop": CROP, "rows": rows}


def scored(detector: Detector, real: Tensor, fake: Tensor) -> Scores:
    """p_real of reals and of fakes after every delivery."""
    return {name: (passing(detector, real, way), passing(detector, fake, way)) for name, way in DELIVERIES.items()}


def against(detector: Detector, real: Tensor, fake: Tensor, scores: Scores) -> dict[str, Any]:
    """Figures by delivery, and the shares passed as real when sharpness and light change."""
    return {
        "by_delivery": {name: figures(*pair) for name, pair in scores.items()},
        "passed_by_change": {
            name: {
                kind: round(float((passing(detector, change(rgb), DELIVERIES["8 bits"]) > 0.5).mean()), 4)
                for kind, rgb in (("reals", real), ("fakes", fake))
            }
            for name, change in PROBES.items()
        },
    }


def together(scores: Mapping[str, Scores]) -> dict[str, Any]:
    """The fakes of several generators at once, by delivery; each generator weighs alike."""
    made: dict[str, Any] = {}
    for way in next(iter(scores.values()), {}):
        pairs = [found[way] for found in scores.values()]
        real, fake = (np.concatenate(part) for part in zip(*pairs, strict=True))
        made[way] = figures(real, fake, people=len(pairs[0][0]))
    return {"generators": list(scores), "by_delivery": made}


def noisy(rgb: Tensor) -> Tensor:
    """Pictures (N, 3, S, S) in [0, 1] with `GRAIN`, the same at each call."""
    noise = torch.randn(rgb.shape, generator=torch.Generator().manual_seed(0)).to(rgb)
    return (rgb + GRAIN * noise).clamp(0, 1)


@torch.no_grad()
def passing(detector: Detector, rgb: Tensor, way: Path) -> np.ndarray:
    """(N,): p_real of pictures (N, 3, S, S) in [0, 1] after a delivery."""
    parts = [detector.p_real(seen(way(rgb[k : k + BATCH])) * 2 - 1) for k in range(0, len(rgb), BATCH)]
    return torch.cat(parts).cpu().numpy()


def figures(real: np.ndarray, fake: np.ndarray, people: int = 0) -> dict[str, Any]:
    """From p_real of reals and of fakes, as many of each; the same index is the same person.

    Where the same `people` come several times over, in the same order, intervals count each once.
    """
    real_pass, fake_pass = real > 0.5, fake > 0.5
    precision = real_pass.sum() / max(real_pass.sum() + fake_pass.sum(), 1)
    recall = real_pass.mean()
    outcomes = [(n % (people or len(part)), bool(ok)) for part in (real_pass, ~fake_pass) for n, ok in enumerate(part)]
    p = torch.from_numpy(np.concatenate([real, fake]))
    labels = torch.cat([torch.ones(len(real)), torch.zeros(len(fake))])
    return {
        "accuracy": _short((real_pass.mean() + 1 - fake_pass.mean()) / 2),
        "accuracy_ci95": [_short(v) for v in share_interval(outcomes) or ()],
        "auroc": _short(auroc(real, fake)),
        "precision": _short(precision),
        "recall": _short(recall),
        "f1": _short(2 * precision * recall / max(precision + recall, 1e-9)),
        "fakes_passed": _short(fake_pass.mean()),
        "calibration_error": _short(calibration_error(p, labels)),
        "reals": len(real),
        "fakes": len(fake),
    }


def auroc(real: np.ndarray, fake: np.ndarray) -> float:
    """The probability that a real scores above a fake; ties count half."""
    order = np.sort(fake)
    below = np.searchsorted(order, real, "left")
    not_above = np.searchsorted(order, real, "right")
    return float((below + not_above).mean() / (2 * len(fake)))


def protected_pairs(
    pictures: Pictures, faces: int = 0, videos: Sequence[deepfakes.DeepfakeClip] = ()
) -> dict[str, tuple[Tensor, Tensor]]:
    """Head crops (N, 3, 128, 128) in [0, 1] as they are and as the zoo's disrupter leaves them, by kind of picture.

    Of the videos those whose faces are large enough to be judged.
    """
    kinds = {"stills": pictures.stills[: faces or None]}
    if pictures.frames is not None:
        step = max(1, len(pictures.frames) // (faces or 96))
        kinds["frames of clips"] = pictures.frames[::step]
    if large := [clip.frames for clip in videos if clip.face_px >= JUDGED]:
        kinds["frames of real videos"] = torch.from_numpy(np.concatenate(large)).permute(0, 3, 1, 2)
    return {name: _as_they_are_and_protected(pictures, found) for name, found in kinds.items()}


def laundered_pairs(pictures: Pictures, target: Target, faces: int = 0) -> tuple[Tensor, Tensor]:
    """Head crops (N, 3, 128, 128) in [0, 1] of the target's edits, as they are and protected afterwards."""
    stills = pictures.stills[: faces or None]
    condition = target.conditions[torch.arange(len(stills)).to(target.conditions.device) % len(target.conditions)]
    made = [
        with_edits(stills[k : k + BATCH], target, condition[k : k + BATCH].to(stills.device))
        for k in range(0, len(stills), BATCH)
    ]
    return _as_they_are_and_protected(pictures, torch.cat(made))


def _as_they_are_and_protected(pictures: Pictures, guards: Tensor) -> tuple[Tensor, Tensor]:
    before, after = (
        crop(part.float() / 255, crop_theta(len(part), HEAD_SHARE, 0.0, None), 128).clamp(0, 1)
        for part in (guards, pictures.protector(guards))
    )
    return before, after


def of_protected(detector: Detector, kind: str, before: Tensor, after: Tensor) -> dict[str, Any]:
    """How many pass as real unprotected and protected, by delivery, and how many answers differ."""
    columns = {}
    for name, way in DELIVERIES.items():
        plain, guarded = (passing(detector, rgb, way) > 0.5 for rgb in (before, after))
        columns[name] = {
            "unprotected": _short(plain.mean()),
            "protected": _short(guarded.mean()),
            "difference_points": _short(100 * (guarded.mean() - plain.mean())),
            "answers_that_differ": _short((plain != guarded).mean()),
        }
    return {"of": kind, "count": len(before), "passed_as_real": columns}


@torch.no_grad()
def of_clip(detector: Detector, clip: deepfakes.DeepfakeClip) -> dict[str, Any]:
    """Frames of a real deepfake or of its original, as they came."""
    frames = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float().to(detector.mean.device) / 255
    heads = crop(frames, crop_theta(len(frames), HEAD_SHARE * SHARE, 0.0, None), 128).clamp(0, 1)
    p_real = detector.p_real(heads * 2 - 1).cpu().numpy()
    return {
        "clip": clip.name,
        "fake": clip.fake,
        "split": clip.split,
        "frames": len(frames),
        "p_real_mean": _short(p_real.mean()),
        "passed_as_real": _short((p_real > 0.5).mean()),
        **({"face_px": clip.face_px} if clip.face_px else {}),
    }


def _short(value: Any) -> float:
    return round(float(value), 4)
