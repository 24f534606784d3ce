"""A deepfake detector as the `detect` stage uses it: crops in, log-odds of a fake out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import EngineError
from ..inference import Array, Card, Session, choose_engine, open_session
from ..media.pixels import RGB

CROP = 1.3
"""Sides of the face's box that a detector takes where its card does not say: FaceForensics++'s crop."""

BATCH = 16
"""Faces in one run of the engine at most, so that memory stays flat."""


@dataclass(frozen=True)
class FaceClassifier:
    """An open engine. `size` and `crop`: the side of its input in pixels, and in sides of the face's box."""

    card: Card
    session: Session
    size: int
    crop: float
    low: float
    high: float

    def log_odds(self, crops: Sequence[RGB]) -> list[float | None]:
        """ln(p_fake / p_real) of each crop (size, size, 3); None where the engine gives no number.

        Raises EngineError when the engine fails or gives another shape.
        """
        return [odds for k in range(0, len(crops), BATCH) for odds in self._run(crops[k : k + BATCH])]

    def about(self) -> dict[str, str]:
        return {"engine": self.card.name, "backend": self.session.backend, "sha256": self.card.sha256}

    def close(self) -> None:
        self.session.close()

    def _run(self, crops: Sequence[RGB]) -> list[float | None]:
        logits = self.session.run({"image": self._input(crops)})["logits"]
        if logits.shape != (len(crops), 2):
            raise EngineError(f"logits have the shape {logits.shape}, ({len(crops)}, 2) is needed")
        odds = logits[:, 0].astype(np.float64) - logits[:, 1]
        return [float(value) if np.isfinite(value) else None for value in odds]

    def _input(self, crops: Sequence[RGB]) -> Array:
        scaled: Array = np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32)
        scaled *= np.float32((self.high - self.low) / 255)
        scaled += np.float32(self.low)
        return scaled


def open_classifier(engine: str | None, backend: str, threads: int) -> FaceClassifier:
    """Load a detector. Raises EngineError for one that does not take `image` and give `logits`, and as open_session."""
    card = choose_engine(engine, "detector", backend)
    shape = card.input_shape("image")
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3] or shape[2] < 1:
        raise EngineError(f"engine {card.name!r}: its card says image {shape}; (-1, 3, S, S) is needed")
    session = open_session(card, backend, threads=threads)
    if session.inputs != ("image",) or session.outputs != ("logits",):
        raise EngineError(
            f"engine {card.name!r} has the inputs {session.inputs} and outputs {session.outputs}; "
            "a detector takes 'image' and gives 'logits' (fake, real)"
        )
    low, high = next(spec.range or (-1.0, 1.0) for spec in card.inputs if spec.name == "image")
    return FaceClassifier(card, session, shape[2], card.crop or CROP, low, high)
