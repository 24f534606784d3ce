"""How many of the faces in real clips does the faces stage cover? Prints JSON.

    python -m engines.evaluation.face_recall [--reference MODEL.onnx] [--limit N] [--option every=8 ...] CLIP...

The reference is a detector run on every picture at full size (at most 960 px), at a high score. A reference face counts
as covered where the region that the disrupter would write holds the reference box's centre and at least nine tenths of
its area; as found where a box of the stage overlaps it by half. A box of the stage that no reference face, even of a
low score, overlaps is counted as stray: mostly a face that the reference missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from stream_guard.media import pixels
from stream_guard.stages.detectors import FaceDetector, detector_size, open_detector, turned_back
from stream_guard.stages.faces import FacesOptions, FacesStage
from stream_guard.types import Box, Face, Frame, guard_region

SURE = 0.8
"""Score from which a find of the reference counts as a face."""
WEAK = 0.3
"""Score from which a find of the reference explains a box of the stage."""
SMALLEST = 24
"""Faces smaller than this many pixels are not counted: the disrupter leaves them."""
LONGEST = 960


@dataclass
class Count:
    """Counts over frames and faces; `numbers` are the track numbers seen."""

    frames: int = 0
    faces: int = 0
    covered: int = 0
    found: int = 0
    overlap: float = 0.0
    boxes: int = 0
    stray: int = 0
    frames_with_face: int = 0
    frames_all_covered: int = 0
    seconds: float = 0.0
    numbers: set[int] = field(default_factory=set)

    def add(self, other: Count) -> None:
        for count in fields(self):
            if count.name != "numbers":
                setattr(self, count.name, getattr(self, count.name) + getattr(other, count.name))

    def row(self) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "frames_with_face": self.frames_with_face,
            "frames_all_covered": _share(self.frames_all_covered, self.frames_with_face),
            "faces": self.faces,
            "covered": _share(self.covered, self.faces),
            "found": _share(self.found, self.faces),
            "mean_iou": _share(self.overlap, self.faces),
            "stray_boxes": _share(self.stray, self.boxes),
            "ms_per_frame": round(1000 * self.seconds / max(1, self.frames), 2),
        }


def _share(part: float, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def read_frames(path: Path, limit: int | None) -> Iterator[Frame]:
    with av.open(str(path)) as container:
        for index, picture in enumerate(container.decode(video=0)):
            if limit is not None and index >= limit:
                return
            yield Frame(picture, picture.pts or 0, picture.time_base or Fraction(1, 25), index)


def measure(path: Path, reference: FaceDetector, options: FacesOptions, limit: int | None) -> Count:
    """Run the stage over the clip and hold every frame against the reference."""
    count, stage = Count(), FacesStage(options)
    stage.open()
    try:
        for frame in read_frames(path, limit):
            started = time.perf_counter()
            ready = stage.process(frame)
            count.seconds += time.perf_counter() - started
            for done in ready:
                judge(done, reference_faces(reference, done), count)
        for done in stage.flush():
            judge(done, reference_faces(reference, done), count)
    finally:
        stage.close()
    return count


def reference_faces(reference: FaceDetector, frame: Frame) -> list[tuple[Box, float]]:
    """The reference's finds in pixels of the picture, with their scores."""
    width, height = detector_size(frame.width, frame.height, LONGEST)
    turns = round(frame.picture.rotation / 90) % 4
    upright = np.rot90(pixels.small_rgb(frame.picture, width, height), turns)
    boxes = []
    for found in reference.detect(upright, WEAK):
        box = turned_back(found.box, turns)
        across, down = frame.width, frame.height
        boxes.append((Box(box.x0 * across, box.y0 * down, box.x1 * across, box.y1 * down), found.score))
    return boxes


def judge(frame: Frame, reference: Sequence[tuple[Box, float]], count: Count) -> None:
    """Hold the faces of one frame against the reference's."""
    true = [box for box, score in reference if score >= SURE and max(box.width, box.height) >= SMALLEST]
    covered = sum(any(_covers(face, box) for face in frame.faces) for box in true)
    count.frames += 1
    count.faces += len(true)
    count.covered += covered
    overlaps = [max((face.box.iou(box) for face in frame.faces), default=0.0) for box in true]
    count.overlap += sum(overlaps)
    count.found += sum(overlap >= 0.5 for overlap in overlaps)
    count.boxes += len(frame.faces)
    count.stray += sum(all(face.box.iou(box) < 0.2 for box, _ in reference) for face in frame.faces)
    count.frames_with_face += bool(true)
    count.frames_all_covered += bool(true) and covered == len(true)
    count.numbers |= {face.track for face in frame.faces}


def _covers(face: Face, box: Box) -> bool:
    region = guard_region(face.box)
    x, y = box.center
    width = min(region.x1, box.x1) - max(region.x0, box.x0)
    height = min(region.y1, box.y1) - max(region.y0, box.y0)
    inside = max(0.0, width) * max(0.0, height)
    return region.x0 <= x <= region.x1 and region.y0 <= y <= region.y1 and inside >= 0.9 * box.area


def _options(pairs: Sequence[str]) -> FacesOptions:
    return FacesOptions.model_validate(dict(pair.split("=", 1) for pair in pairs))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="face_recall", description="Recall of the faces stage on clips, as JSON.")
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--reference", default="centerface", help="the reference detector: a name or an .onnx file")
    parser.add_argument("--limit", type=int, help="pictures of each clip to look at; all if not given")
    parser.add_argument("--option", action="append", default=[], help="an option of the stage, as every=8")
    asked = parser.parse_args(arguments)
    options = _options(asked.option)
    reference = open_detector(asked.reference, "auto", 1)
    total, rows = Count(), {}
    for clip in asked.clips:
        count = measure(clip, reference, options, asked.limit)
        rows[clip.name] = count.row() | {"tracks": len(count.numbers)}
        total.add(count)
    json.dump({"options": options.model_dump(), "total": total.row(), "clips": rows}, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
