"""The loop that one writes first: whole pictures to RGB, a detector on each, the network, and back.

For comparison only. Same detector, same network, same encoder as the product; what differs is how the frames flow.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from stream_guard.inference import Card, Session, find_engine, open_session
from stream_guard.media import EncoderSettings, FileSink, open_source
from stream_guard.stages.detectors import FaceDetector, detector_size, open_detector
from stream_guard.stages.faces import FacesOptions
from stream_guard.types import Box, Frame, guard_region

Rgb = npt.NDArray[np.uint8]

# Full-range BT.601, from Y, Cb, Cr to R, G, B.
TO_RGB = np.array([[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]], dtype=np.float32)


def naive_protect(source: Path, target: Path, encoder: EncoderSettings, engine: str | None, backend: str) -> int:
    """Protects `source` into `target`, one thing after the other, and returns the number of faces."""
    options = FacesOptions.model_validate({})
    card = find_engine(engine, "disrupter")
    with (
        closing(open_detector(options.detector, backend, options.threads)) as detector,
        closing(open_session(card, backend)) as network,
        open_source(str(source)) as opened,
        FileSink(str(target), opened, encoder) as sink,
    ):
        faces = 0
        for item in opened.read():
            if not isinstance(item, Frame):
                sink.write_packet(item)
                continue
            rgb: Rgb = item.picture.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
            boxes = _find(detector, rgb, options)
            for box in boxes:
                _perturb(rgb, guard_region(box), network, card)
            faces += len(boxes)
            sink.write(_with_picture(item, rgb))
    return faces


def _find(detector: FaceDetector, rgb: Rgb, options: FacesOptions) -> list[Box]:
    height, width = rgb.shape[:2]
    small = Image.fromarray(rgb).resize(detector_size(width, height, options.size), Image.Resampling.BILINEAR)
    found = [d.box for d in detector.detect(np.asarray(small), options.threshold)]
    return [Box(b.x0 * width, b.y0 * height, b.x1 * width, b.y1 * height) for b in found]


def _perturb(rgb: Rgb, region: Box, network: Session, card: Card) -> None:
    """Adds the network's answer to the region of `rgb`, in place; a region beyond the picture is cut."""
    height, width = rgb.shape[:2]
    x0, y0 = max(0, round(region.x0)), max(0, round(region.y0))
    x1, y1 = min(width, round(region.x1)), min(height, round(region.y1))
    if x1 <= x0 or y1 <= y0:
        return
    side = card.input_shape("face")[-1]
    face = np.asarray(Image.fromarray(rgb[y0:y1, x0:x1]).resize((side, side), Image.Resampling.BILINEAR))
    batch = (face.transpose(2, 0, 1)[None] / np.float32(255)).astype(np.float32)
    delta = network.run({"face": batch})["delta"][0]
    change = np.einsum("rc,chw->rhw", TO_RGB, delta * np.float32(255))
    planes = [np.asarray(Image.fromarray(p).resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR)) for p in change]
    rgb[y0:y1, x0:x1] = np.rint(rgb[y0:y1, x0:x1] + np.stack(planes, axis=-1)).clip(0, 255).astype(np.uint8)


def _with_picture(frame: Frame, rgb: Rgb) -> Frame:
    picture = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=frame.picture.format.name)
    picture.pts, picture.time_base = frame.pts, frame.time_base
    return replace(frame, picture=picture)
