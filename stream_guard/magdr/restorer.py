"""The learned restorer of the zoo: what a generator makes of the head crop after it is nearer to the clean edit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import EngineError
from ..inference import AUTO, Session, find_engine, list_engines, open_session
from .engines import Rgb, from_rgb, to_rgb


@dataclass(frozen=True)
class LearnedRestorer:
    """`restorer(face)`: a head crop (S, S, 3) in 8 bits to the same, restored. Raises EngineError."""

    session: Session
    size: int

    def __call__(self, face: Rgb) -> Rgb:
        if face.shape != (self.size, self.size, 3):
            raise EngineError(f"the restorer takes a crop of {self.size} x {self.size} pixels, got {face.shape}")
        restored = self.session.run({"image": from_rgb([face])})["restored"]
        if restored.shape != (1, 3, self.size, self.size) or not np.isfinite(restored).all():
            raise EngineError(f"the restorer gave the shape {restored.shape}, or numbers that are not finite")
        return to_rgb(restored)[0]

    def close(self) -> None:
        self.session.close()


def open_restorer(backend: str = AUTO, threads: int = 1, size: int = 0) -> LearnedRestorer | None:
    """The zoo's own; None where it has none: image operations alone then restore.

    Raises EngineError where it takes other crops than those of `size` (0: any).
    """
    if not any(card.kind == "restorer" and card.default for card in list_engines()):
        return None
    card = find_engine(None, "restorer")
    own = card.input_shape("image")[-1]
    if size not in (0, own):
        raise EngineError(f"the restorer {card.name!r} takes {own} px, the parser {size}")
    return LearnedRestorer(open_session(card, backend, threads=threads), own)
