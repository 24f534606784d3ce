"""66 face landmarks of a still, and action units measured on them: the only labels that GANimation gets here.

The network is OpenSeeFace's landmark model (github.com/emilianavt/OpenSeeFace, BSD-2-Clause), given as a file and run
when a pack is made, never later. The points are the 68 of iBUG without the two outer corners of the mouth (48 and 54):
0-16 jaw, 17-21 and 22-26 brows, 27-35 nose, 36-41 and 42-47 eyes, 48-52 upper and 53-57 lower edge of the lips, 58 and
62 the corners of the mouth, 59-61 and 63-65 the inner edges. "Left" and "right" are those of the picture.

Action units are linear ramps over distances in a frame that is levelled by the eyes and measured in eye distances, so
that roll and size do not matter; a turned or nodding head, and a person with naturally high brows or full lips, do
shift them. OpenFace, which made the labels of the original GANimation, also looks at the texture of the skin. Nothing
here does, so that the units which geometry cannot tell (AU6 cheeks, AU9 nose wrinkle, AU14 dimples, AU17 chin) are
always 0: see MEASURED.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from PIL import Image
from torch import Tensor

from stream_guard.errors import EngineError

POINTS = 66
UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
"""The order of OpenFace, and of every condition."""
MEASURED = (1, 2, 4, 5, 7, 10, 12, 15, 20, 23, 25, 26, 45)
"""The units that landmarks can tell; the others stay 0."""
MIN_CONFIDENCE = 0.6
"""Below this mean peak of the heat maps there is no face. Of 1,555 heads found by CenterFace one is below."""

MIRRORED = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *(27, 28, 29, 30, 35, 34, 33, 32, 31),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(52, 51, 50, 49, 48, 57, 56, 55, 54, 53, 62, 61, 60, 59, 58, 65, 64, 63),
)
"""Which point of the original each point of a mirrored picture is."""

_SIDE, _GRID, _SHARPNESS = 224, 28, 16.0
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)


class LandmarkFinder:
    """`finder(rgb, face)`: the landmarks of the face in the box, or None where the network sees none."""

    def __init__(self, model: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own classes, which share no other base
            raise EngineError(f"{model} is not a readable landmark model: {error}") from error
        self.input = self.session.get_inputs()[0].name
        wanted, found = [3 * POINTS, _GRID, _GRID], self.session.get_outputs()[0].shape[1:]
        if found != wanted:
            raise EngineError(f"{model} is not OpenSeeFace's 66-point model: its output is {found}, not {wanted}")

    def __call__(
        self, rgb: npt.NDArray[np.uint8], face: tuple[float, float, float, float]
    ) -> npt.NDArray[np.float32] | None:
        """(66, 2) as shares of the sides of `rgb` (H, W, 3); `face` is (x0, y0, x1, y1) in the same shares."""
        x0, y0, x1, y1 = face
        wide, high = 0.1 * (x1 - x0), 0.125 * (y1 - y0)  # the margin that the network was trained with
        box = np.clip([x0 - wide, y0 - high, x1 + wide, y1 + high], 0, 1).reshape(2, 2)
        left, top, right, bottom = (float(v) for v in (box * [rgb.shape[1], rgb.shape[0]]).ravel())
        part = Image.fromarray(rgb).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, (left, top, right, bottom))
        image = ((np.asarray(part, np.float32) / 255 - _MEAN) / _STD).transpose(2, 0, 1)[None]
        points, confidence = decode(self.session.run(None, {self.input: image})[0][0])
        if confidence < MIN_CONFIDENCE:
            return None
        return (box[0] + points * (box[1] - box[0])).astype(np.float32)


def decode(maps: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], float]:
    """Heat maps and offsets (198, 28, 28) to points (66, 2) as shares of the input and the mean peak."""
    heat, down, across = maps.reshape(3, POINTS, -1)
    best = heat.argmax(1)
    row = np.arange(POINTS)
    offsets = [_logit(part[row, best]) / _SHARPNESS for part in (across, down)]
    cells = (best % _GRID, best // _GRID)
    points = np.stack([cell / (_GRID - 1) + offset for cell, offset in zip(cells, offsets, strict=True)], 1)
    return points, float(heat[row, best].mean())


def _logit(p: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p))


@dataclass(frozen=True)
class Frame:
    """The level of a face: `centre` (N, 1, 2) between the eyes, `axes` (N, 2, 2) along and across their line (rows),
    `unit` (N, 1, 1), the distance of the eyes, or 1.4 noses where the head is turned and that is longer."""

    centre: Tensor
    axes: Tensor
    unit: Tensor

    def level(self, points: Tensor) -> Tensor:
        """Points (N, K, 2) of the picture in the face's frame: x to the right, y down, in eye distances."""
        return (points - self.centre) @ self.axes.transpose(1, 2) / self.unit

    def restore(self, points: Tensor) -> Tensor:
        """The inverse of `level`."""
        return points * self.unit @ self.axes + self.centre


def frame_of(points: Tensor) -> Frame:
    """The frame of landmarks (N, 66, 2), in any scale that is the same along both axes."""
    one, two = points[:, 36:42].mean(1), points[:, 42:48].mean(1)
    along = two - one
    distance = along.norm(dim=1).clamp(min=1e-6)[:, None]
    x = along / distance
    axes = torch.stack([x, torch.stack([-x[:, 1], x[:, 0]], 1)], 1)
    nose = ((points[:, 33] - points[:, 27]) * axes[:, 1]).sum(1, keepdim=True)
    return Frame(((one + two) / 2)[:, None], axes, torch.maximum(distance, 1.4 * nose)[:, :, None])


# The distances, in eye distances, between which a face counts as at rest (from the quartiles of the pack's faces),
# and how far beyond them a unit is at its full intensity.
INNER_BROW, INNER_UP, INNER_DOWN = (0.30, 0.39), 0.20, 0.16
OUTER_BROW, OUTER_UP = 0.32, 0.20
EYE, EYE_WIDER, EYE_HALF, EYE_SHUT = (0.105, 0.124), 0.07, 0.045, 0.035
CORNERS, CORNERS_UP, CORNERS_DOWN = (-0.02, 0.045), 0.14, 0.16
MOUTH_WIDE, SMILE_WIDER, STRETCH = 0.98, 0.14, 0.22
GAP, GAP_PARTED, GAP_JAW = 0.03, 0.09, 0.42
UPPER_LIP, UPPER_LIP_UP = 0.18, 0.07
LIPS, LIPS_TIGHT = 0.20, 0.10


def distances(level: Tensor) -> dict[str, Tensor]:
    """The distances (N,) that the units are read from, of levelled landmarks (N, 66, 2)."""
    x, y = level.unbind(2)
    return {
        "inner_brow": (y[:, 39] + y[:, 42] - y[:, 20:22].mean(1) - y[:, 22:24].mean(1)) / 2,
        "outer_brow": (y[:, 36] + y[:, 45] - y[:, 17:19].mean(1) - y[:, 25:27].mean(1)) / 2,
        "eye": y[:, [40, 41, 46, 47]].mean(1) - y[:, [37, 38, 43, 44]].mean(1),
        "corners": y[:, 60] - (y[:, 58] + y[:, 62]) / 2,
        "width": x[:, 62] - x[:, 58],
        "gap": y[:, 63:66].mean(1) - y[:, 59:62].mean(1),
        "upper_lip": y[:, 49:52].mean(1) - y[:, 33],
        "lips": y[:, 60] - y[:, 50] + y[:, 55] - y[:, 64],
    }


def action_units(points: Tensor) -> Tensor:
    """(N, 17) intensities in [0, 1] in the order of UNITS, of landmarks (N, 66, 2) in any scale; NaN stays NaN."""
    d = distances(frame_of(points).level(points))
    smile = _ramp(d["corners"] - CORNERS[1], CORNERS_UP)
    shut = _ramp(EYE[0] - EYE_HALF - d["eye"], EYE_SHUT)
    known = {
        1: _ramp(d["inner_brow"] - INNER_BROW[1], INNER_UP),
        2: _ramp(d["outer_brow"] - OUTER_BROW, OUTER_UP),
        4: _ramp(INNER_BROW[0] - d["inner_brow"], INNER_DOWN),
        5: _ramp(d["eye"] - EYE[1], EYE_WIDER),
        7: _ramp(EYE[0] - d["eye"], EYE_HALF) - shut,
        10: _ramp(UPPER_LIP - d["upper_lip"], UPPER_LIP_UP),
        12: smile,
        15: _ramp(CORNERS[0] - d["corners"], CORNERS_DOWN),
        20: _ramp(d["width"] - MOUTH_WIDE - SMILE_WIDER * smile, STRETCH),
        23: _ramp(LIPS - d["lips"], LIPS_TIGHT),
        25: _ramp(d["gap"] - GAP, GAP_PARTED),
        26: _ramp(d["gap"] - GAP - GAP_PARTED, GAP_JAW),
        45: shut,
    }
    return torch.stack([known.get(unit, 0 * smile) for unit in UNITS], 1)


def _ramp(excess: Tensor, span: float) -> Tensor:
    return (excess / span).clamp(0, 1)


def condition(units: dict[int, float]) -> list[float]:
    """A row of 17 from unit numbers and intensities; the others 0."""
    return [units.get(unit, 0.0) for unit in UNITS]
