"""The driving frames that a trained surrogate keeps: fixed pairs from held-out clips, and many from training clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...data.clips import Clip
from .pairs import Pool, placed, view
from .warps import Warp

MOTIONS = ("mouth_open", "turn_left", "turn_right", "tilt", "nod")
WARPED = tuple(f"warp_{k}" for k in range(1, 6))
A_CLIP = 6
"""Frames kept of each training clip."""

Floats = npt.NDArray[np.float64]


@dataclass
class Driving:
    """`rgb` (F, 3, S, S) uint8 frames of heads; `clip` (F,) says which belong together, those below 0 are held out.

    `fixed` (K, 2) are the rows of (driving, initial) frames of the held-out pairs, named by `names`.
    """

    rgb: Tensor
    clip: Tensor
    fixed: Tensor
    names: tuple[str, ...]

    def state_dict(self) -> dict[str, Any]:
        return {"rgb": self.rgb, "clip": self.clip, "fixed": self.fixed, "names": list(self.names)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rgb, self.clip, self.fixed = state["rgb"], state["clip"], state["fixed"]
        self.names = tuple(state["names"])

    @staticmethod
    def of_state(state: dict[str, Any]) -> Driving:
        return Driving(state["rgb"], state["clip"], state["fixed"], tuple(state["names"]))


def from_clips(trained: Sequence[Clip], held_out: Sequence[Clip], side: int) -> Driving:
    """Pairs named after the clearest motion in the held-out clips, and evenly spaced frames of the others."""
    cpu = torch.device("cpu")
    pairs = clearest(held_out)
    frames, clip = [], []
    for k, (c, driving, initial) in enumerate(pairs):
        frames.append(held_out[c].frames[[driving, initial]])
        clip += [-1 - k] * 2
    for k, one in enumerate(trained):
        chosen = np.linspace(0, len(one.frames) - 1, A_CLIP).round().astype(int)
        frames.append(one.frames[chosen])
        clip += [k] * len(chosen)
    blanks = [np.full((len(f), 66, 2), np.nan, np.float32) for f in frames]
    fixed = torch.arange(2 * len(pairs)).view(-1, 2)
    return Driving(Pool(frames, blanks, side, cpu).rgb, torch.tensor(clip), fixed, MOTIONS)


def from_stills(trained: Pool, held_out: Pool) -> Driving:
    """Where there are no clips: stills, and the same warped."""
    rng = torch.Generator().manual_seed(0)
    frames, clip = [], []
    for k in range(len(WARPED)):
        one = held_out.rgb[k % len(held_out.rgb)].cpu()
        frames += [_warped(one, rng), one]
        clip += [-1 - k] * 2
    for k, one in enumerate(trained.rgb[: 4 * A_CLIP].cpu()):
        frames += [one] + [_warped(one, rng) for _ in range(A_CLIP - 1)]
        clip += [k] * A_CLIP
    fixed = torch.arange(2 * len(WARPED)).view(-1, 2)
    return Driving(torch.stack(frames), torch.tensor(clip), fixed, WARPED)


def _warped(rgb: Tensor, rng: torch.Generator) -> Tensor:
    warp = Warp(1, 0.08, 0.02, rng, rgb.device)
    seen = view(rgb[None], placed(1, 1.0, 0.12, 0.2, rng), rgb.shape[-1], warp)
    return (seen[0] * 255).round().byte()


def clearest(clips: Sequence[Clip]) -> list[tuple[int, int, int]]:
    """For each of MOTIONS: (clip, driving frame, initial frame) with the largest change of that kind in its clip.

    The initial frame is the one nearest to the clip's usual pose with the mouth shut. Without landmarks the pairs are
    those of the most different pictures.
    """
    change = [_change(clip) for clip in clips]
    pairs: list[tuple[int, int, int]] = []
    for k in range(len(MOTIONS)):
        used = [sum(c == other for other, _, _ in pairs) for c in range(len(clips))]
        # Half as good again where a clip was chosen already: the table is to show several persons.
        best = [float(values[k].max()) * 0.67**often for (_, values), often in zip(change, used, strict=True)]
        c = int(np.argmax(best))
        initial, values = change[c]
        frame = int(values[k].argmax())
        values[:, frame] = -1.0  # each motion shows another frame
        pairs.append((c, frame, initial))
    return pairs


def _change(clip: Clip) -> tuple[int, Floats]:
    """(the initial frame, how much of each motion each frame shows against it (5, T), in eye distances)."""
    points = clip.landmarks.astype(np.float64)
    if not np.isfinite(points).all():
        small = clip.frames[:, ::8, ::8].astype(np.float64) / 255
        difference = np.abs(small - np.median(small, 0)).mean((1, 2, 3))
        return int(difference.argmin()), np.tile(difference, (len(MOTIONS), 1))
    pose = _pose(points)
    usual = np.abs(pose[1:] - np.median(pose[1:], 1, keepdims=True)).sum(0) + 2 * (pose[0] - pose[0].min())
    initial = int(usual.argmin())
    mouth, yaw, roll, pitch = pose - pose[:, initial : initial + 1]
    return initial, np.stack([mouth, -yaw, yaw, np.abs(roll), np.abs(pitch)])


def _pose(points: Floats) -> Floats:
    """(T, 66, 2) to (4, T): how far the lips are apart, turn, tilt and nod, each in eye distances."""
    left, right = points[:, 36:42].mean(1), points[:, 42:48].mean(1)
    across = right - left
    eyes = np.linalg.norm(np.median(across, 0))
    nose = points[:, 30] - (left + right) / 2
    mouth = np.linalg.norm(points[:, 64] - points[:, 60], axis=1) / eyes
    roll = np.arctan2(across[:, 1], across[:, 0])
    return np.stack([mouth, nose[:, 0] / eyes, roll, nose[:, 1] / eyes])
