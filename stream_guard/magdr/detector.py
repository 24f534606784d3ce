"""The distortion detector (eq. 4 to 6), the consistency detector (eq. 7) and their sum (eq. 9), for one probe.

Differences from the paper, on purpose. Distances come in different units, so that the logarithm of each is set against
its spread on clean faces before the sigmoid, and w has a weight for each edit, region and metric. In place of the
variance over the K operations each operation speaks for itself, by what it changes of input and output
(sensitivity.py): on held-out people that found four times as many attacked faces. Sigmoids are centred: usual is 0.
The flags of eq. 5 are measured and have no say: how many regions they name decides nothing here, S_final does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..errors import EngineError
from . import operations
from .calibration import ProbeCalibration, Standard
from .engines import Editor, Parser, Rgb, from_rgb
from .regions import NAMES, Masks, targets_of
from .sensitivity import changes
from .views import region_distances

Floats = npt.NDArray[np.float64]

SMALLEST = 1e-6
"""Distances below count as this, so that equal pictures have a logarithm."""
PRESENT = 0.004
"""A region that takes less than this share of the picture says nothing."""


@dataclass(frozen=True)
class Evidence:
    """What was measured of one face: `distances` (C, N, M) of x and G(x, c), `changes` (C, K, len(CHANGES)).

    `counts` (C, N) says which regions speak: those that are there and that the edit is not meant to change.
    """

    distances: Floats
    changes: Floats
    counts: npt.NDArray[np.bool_]
    flags: npt.NDArray[np.bool_]
    """(C, N): V of eq. 5, regions that changed more than the edit's own by some metric."""


@dataclass(frozen=True)
class Score:
    """`final` is eq. 9; `value` is the same as a number in 0 to 1 with 0.5 at the threshold."""

    distortion: float
    consistency: float
    final: float
    value: float
    region: str

    @property
    def perturbed(self) -> bool:
        return self.value >= 0.5


class Detector:
    """One probe and the parser with their calibration. Faces are head crops (S, S, 3) in 8 bits."""

    def __init__(self, editor: Editor, parser: Parser, calibration: ProbeCalibration) -> None:
        _check(editor, parser, calibration)
        self.editor, self.parser, self.calibration = editor, parser, calibration

    @property
    def size(self) -> int:
        return self.editor.size

    def score(self, face: Rgb, masks: Masks | None = None) -> Score:
        """How perturbed a face looks; `masks` are its conditional masks where they are known."""
        return judge(self.evidence(face, masks), self.calibration)

    def evidence(self, face: Rgb, masks: Masks | None = None) -> Evidence:
        """Asks the probe for each condition, for the face and for its K variants."""
        return gather(face, self.editor, self.parser, self.calibration, masks)

    def quick(self, masks: Masks) -> Callable[[Rgb], float]:
        """S_final from the first condition alone, under masks that are known: what the reconstructor's search asks."""
        few = self.calibration.first()
        return lambda face: judge(gather(face, self.editor, self.parser, few, masks), few).final


def gather(face: Rgb, editor: Editor, parser: Parser, asked: ProbeCalibration, masks: Masks | None = None) -> Evidence:
    """Everything that is measured of one face, under the conditions and operations of `asked`."""
    images = from_rgb([face, *operations.consistency(face, asked.operations, asked.seed)])
    before = parser.views(images[:1])
    if masks is None:
        masks = parser.look(images[0])[2]
    there = masks.mean((1, 2)) >= PRESENT
    distances, moved, counts, flags = [], [], [], []
    for condition in asked.conditions:
        edits = editor.edit(images, condition)
        apart = region_distances(before, parser.views(edits[:1]), masks)[0]
        own = np.array([name in targets_of(condition) for name in NAMES])
        moved.append(changes(images, edits))
        distances.append(apart)
        counts.append(there & ~own)
        benchmark = apart[own & there].max(0) if (own & there).any() else np.full(apart.shape[1], np.inf)
        flags.append(there & ~own & (apart >= benchmark).any(1))
    return Evidence(np.stack(distances), np.stack(moved), np.stack(counts), np.stack(flags))


def judge(evidence: Evidence, calibration: ProbeCalibration) -> Score:
    """Eq. 6, 7 and 9 of what was measured."""
    apart = standardised(evidence.distances, calibration.distortion) * evidence.counts[..., None]
    by_region = (apart * np.array(calibration.distortion.weights)).sum((0, 2))
    distortion = float(by_region.sum())
    moved = standardised(evidence.changes, calibration.consistency)
    consistency = float((moved * np.array(calibration.consistency.weights)).sum())
    final = calibration.balance * distortion + consistency
    region = NAMES[int(by_region.argmax())] if evidence.counts.any() else ""
    score = Score(distortion, consistency, final, 0.0, region)
    return replace(score, value=sigmoid(calibration.slope * (final - calibration.threshold)))


def standardised(distances: Floats, standard: Standard) -> Floats:
    """2 sigmoid(z) - 1 with z = (log d - middle) / width of distances (C, rows, M): -1 to 1, and 0 in the middle."""
    logarithms = np.log(np.maximum(distances, SMALLEST))
    scaled = (logarithms - np.array(standard.middle)) / np.array(standard.width)
    result: Floats = np.tanh(scaled / 2)
    return result


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-min(max(x, -50.0), 50.0))))


def _check(editor: Editor, parser: Parser, calibration: ProbeCalibration) -> None:
    found = (editor.card.sha256, parser.card.sha256)
    if found != (calibration.probe_sha256, calibration.parser_sha256):
        raise EngineError(
            f"MagDR was not calibrated for the probe {editor.card.name!r} with the parser {parser.card.name!r} as they "
            "are here: run `python -m engines calibrate`, or install the engines that it was calibrated for"
        )
    if editor.size != parser.size:
        raise EngineError(
            f"the probe {editor.card.name!r} takes {editor.size} px and the parser {parser.card.name!r} {parser.size}: "
            "both must take the same crop"
        )
