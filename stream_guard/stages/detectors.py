"""Face detectors: which networks are understood, and how their outputs become boxes.

CenterFace: Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019
(github.com/Star-Clouds/CenterFace). YuNet: Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023
(github.com/ShiqiYu/libfacedetection.train). Landmarks of both are not read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import EngineError
from ..inference import Session, check_finite, find_engine, open_session
from ..inference.reshaping import model_ports
from ..types import Box

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Outputs = dict[str, Floats]

MULTIPLE = 32
"""Both networks halve their input five times: sides are multiples of this."""
NMS_IOU = 0.3


@dataclass(frozen=True, slots=True)
class Detection:
    """A face found in a picture of unit size: the box's coordinates run from 0 to 1 in both directions."""

    box: Box
    score: float


@dataclass(frozen=True, slots=True)
class Family:
    """Networks whose outputs are read in the same way. `decode` returns boxes (n, 4) in pixels and scores (n)."""

    name: str
    outputs: frozenset[str]
    bgr: bool
    decode: Callable[[Outputs, tuple[int, int], float], tuple[Floats, Floats]]


def decode_centerface(outputs: Outputs, size: tuple[int, int], threshold: float) -> tuple[Floats, Floats]:
    """A cell is 4 pixels; heights and widths are exponentials, offsets are in cells, both y before x."""
    heat, scale, offset = (outputs[name][0] for name in ("537", "538", "539"))
    rows, columns = np.nonzero(heat[0] > threshold)
    half = np.exp(scale[:, rows, columns]) * 2
    cy, cx = ((at + offset[i, rows, columns] + 0.5) * 4 for i, at in enumerate((rows, columns)))
    boxes = np.stack([cx - half[1], cy - half[0], cx + half[1], cy + half[0]], axis=1)
    return boxes.astype(np.float32), heat[0, rows, columns]


def decode_yunet(outputs: Outputs, size: tuple[int, int], threshold: float) -> tuple[Floats, Floats]:
    """Three strides; a score is the geometric mean of class and objectness, a box is centre offset and log side."""
    boxes, scores = [], []
    for stride in (8, 16, 32):
        cls, obj = (outputs[f"{kind}_{stride}"][0, :, 0].clip(0, 1) for kind in ("cls", "obj"))
        score = np.sqrt(cls * obj)
        found = np.nonzero(score > threshold)[0]
        cells = np.stack([found % (size[1] // stride), found // (size[1] // stride)], axis=1)
        part = outputs[f"bbox_{stride}"][0, found]
        centre, half = (cells + part[:, :2]) * stride, np.exp(part[:, 2:]) * stride / 2
        boxes.append(np.concatenate([centre - half, centre + half], axis=1))
        scores.append(score[found])
    return np.concatenate(boxes).astype(np.float32), np.concatenate(scores)


FAMILIES = (
    Family("CenterFace", frozenset({"537", "538", "539", "540"}), False, decode_centerface),
    Family(
        "YuNet",
        frozenset(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)),
        True,
        decode_yunet,
    ),
)


class FaceDetector:
    """One loaded detector. `detect` takes any RGB picture (H, W, 3) whose sides are multiples of 32."""

    def __init__(self, session: Session, family: Family, name: str, sha256: str) -> None:
        self.name = name
        self.sha256 = sha256
        self._session = session
        self._family = family

    @property
    def backend(self) -> str:
        """The one that works now."""
        return self._session.backend

    def detect(self, rgb: Image, threshold: float) -> list[Detection]:
        """The faces whose score is above `threshold`, best first, overlapping ones merged. Raises EngineError."""
        height, width = rgb.shape[:2]
        channels = rgb[:, :, ::-1] if self._family.bgr else rgb
        batch = np.ascontiguousarray(channels.transpose(2, 0, 1)[None], np.float32)
        outputs = self._session.run({self._session.inputs[0]: batch})
        check_finite(outputs)
        boxes, scores = self._family.decode(outputs, (height, width), threshold)
        unit = boxes / np.array([width, height, width, height], np.float32)
        kept = keep_best(boxes, scores, NMS_IOU)
        return [Detection(Box(*(float(v) for v in unit[i])), float(scores[i])) for i in kept]

    def close(self) -> None:
        self._session.close()


def open_detector(engine: str, backend: str, threads: int) -> FaceDetector:
    """Load a detector by its name in the zoo or by the path of an .onnx file of a known family.

    Raises UnknownNameError or EngineError, also for a model whose outputs belong to no family that is understood.
    """
    path = Path(engine)
    if path.suffix == ".onnx" and not (path.parent / "card.toml").exists():
        model = _read(path)
        return _open(engine, model, hashlib.sha256(model).hexdigest(), backend, threads)
    card = find_engine(engine, "faces")
    return _open(card.name, card.read_model(), card.sha256, backend, threads)


def _open(name: str, model: bytes, sha256: str, backend: str, threads: int) -> FaceDetector:
    inputs, outputs = model_ports(model)
    family = next((family for family in FAMILIES if family.outputs == set(outputs)), None)
    if family is None or len(inputs) != 1:
        known = ", ".join(family.name for family in FAMILIES)
        raise EngineError(f"{name} is no face detector that is understood ({known}): its outputs are {list(outputs)}")
    session = open_session(model, backend, threads=threads, shapes={inputs[0]: (1, 3, -1, -1)}, finite=True)
    return FaceDetector(session, family, name, sha256)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EngineError(f"can't read the detector {path}: {error.strerror or error}") from error


def detector_size(width: int, height: int, longest: int) -> tuple[int, int]:
    """Width and height of the copy a detector sees: at most `longest`, in proportion, in multiples of 32."""
    scale = min(1.0, longest / max(width, height))
    sides = (max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE) for side in (width, height))
    return next(sides), next(sides)


def keep_best(boxes: Floats, scores: Floats, iou: float) -> list[int]:
    """Greedy non-maximum suppression: indices, best first, none overlapping a better one by more than `iou`."""
    order = np.argsort(-scores, kind="stable")
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while order.size:
        best, rest = int(order[0]), order[1:]
        kept.append(best)
        low, high = np.maximum(boxes[best, :2], boxes[rest, :2]), np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.prod((high - low).clip(0), axis=1)
        order = rest[shared <= iou * (area[best] + area[rest] - shared)]
    return kept


def turned_back(box: Box, quarters: int) -> Box:
    """A unit box of a picture turned counterclockwise by `quarters` (as np.rot90), in the picture before."""
    x0, y0, x1, y1 = box.x0, box.y0, box.x1, box.y1
    for _ in range(quarters % 4):
        x0, y0, x1, y1 = 1 - y1, x0, 1 - y0, x1
    return Box(x0, y0, x1, y1)
