"""The largest face of a still, found by the runtime's own detector."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from stream_guard.stages.detectors import detector_size, open_detector
from stream_guard.types import Box


def still_detector(threads: int = 1) -> Callable[[npt.NDArray[np.uint8]], Box | None]:
    """A function from a picture (H, W, 3) RGB to the box of its largest face, or None."""
    detector = open_detector("centerface", "auto", threads)

    def detect(rgb: npt.NDArray[np.uint8]) -> Box | None:
        height, width = rgb.shape[:2]
        small = Image.fromarray(rgb).resize(detector_size(width, height, 320), Image.Resampling.BOX)
        boxes = [found.box for found in detector.detect(np.asarray(small), 0.4)]
        best = max(boxes, key=lambda box: box.area, default=None)
        return best and Box(best.x0 * width, best.y0 * height, best.x1 * width, best.y1 * height)

    return detect
