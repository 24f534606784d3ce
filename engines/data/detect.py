"""The best face of a still, found by the runtime's own faces stage."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from stream_guard.media.loopback import to_yuv420
from stream_guard.stages.faces import FacesStage
from stream_guard.types import Box, Frame


def still_detector() -> Callable[[npt.NDArray[np.uint8]], Box | None]:
    """A function from a picture (H, W, 3) RGB to its largest face, or None. Each call stands alone: no tracking."""
    stage = FacesStage()
    stage.open()

    def detect(rgb: npt.NDArray[np.uint8]) -> Box | None:
        stage.reset()
        frame = Frame(to_yuv420(np.ascontiguousarray(rgb)), 0, Fraction(1, 25), 0)
        faces = [face for out in stage.process(frame) for face in out.faces]
        return max((face.box for face in faces), key=lambda box: box.area, default=None)

    return detect
