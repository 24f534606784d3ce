"""A learned detector of perturbed inputs (after Metzen et al., ICLR 2017) beside the two of the paper.

It sees the head crop alone and asks no generator: a few milliseconds a face. It finds what leaves the probes' edits
calm, such as perturbations against generators that are not in the zoo; whoever attacks with its weights at hand passes
it. So a face counts as perturbed where either says so (`with_inputs`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import EngineError
from ..inference import AUTO, Session, find_engine, open_session
from .calibration import InputCalibration
from .detector import Score, sigmoid
from .engines import Rgb, from_rgb


@dataclass(frozen=True)
class InputDetector:
    """The network of the zoo with its calibration."""

    session: Session
    size: int
    calibration: InputCalibration

    def log_odds(self, faces: list[Rgb]) -> list[float]:
        """Of each head crop (S, S, 3) in 8 bits: the log-odds that it is perturbed. Raises EngineError.

        The mean of those of the crop and of its mirror image: what a network sees in one alone is seldom there.
        """
        images = from_rgb(faces)
        logits = self.session.run({"image": np.concatenate([images, images[..., ::-1]])})["logits"]
        if logits.shape != (2 * len(faces), 2) or not np.isfinite(logits).all():
            raise EngineError(
                f"the detector of perturbed inputs gave {logits.shape} for {len(faces)} faces, seen twice, or no number"
            )
        return [float(perturbed - clean) for perturbed, clean in (logits[: len(faces)] + logits[len(faces) :]) / 2]

    def value(self, face: Rgb) -> float:
        """0 to 1, 0.5 at the threshold."""
        return value(self.log_odds([face])[0], self.calibration)

    def close(self) -> None:
        self.session.close()


def value(log_odds: float, calibration: InputCalibration) -> float:
    """The score, 0 to 1 with 0.5 at the threshold, as that of a probe."""
    return sigmoid(calibration.slope * (log_odds - calibration.threshold))


def with_inputs(score: Score, inputs: float | None) -> Score:
    """The probe's score, or that of the inputs' detector where it is higher: of the whole face, it knows no region."""
    return score if inputs is None or inputs <= score.value else replace(score, value=inputs, region="")


def open_inputs(
    calibration: InputCalibration, name: str | None = None, backend: str = AUTO, threads: int = 1, size: int = 0
) -> InputDetector:
    """The engine by name or path, or the one that was calibrated; `size`: of the crops that it must take, 0: any.

    Raises EngineError where it is another network, or takes another crop.
    """
    card = find_engine(name or calibration.engine, "perturbation")
    if card.sha256 != calibration.sha256:
        raise EngineError(
            f"MagDR was not calibrated for the detector of perturbed inputs {card.name!r} as it is here: run "
            "`python -m engines calibrate-inputs`, or install the engine that it was calibrated for"
        )
    own = card.input_shape("image")[-1]
    if size not in (0, own):
        raise EngineError(f"the detector of perturbed inputs {card.name!r} takes {own} px, the parser {size}")
    return InputDetector(open_session(card, backend, threads=threads), own, calibration)
