"""Find faces every few pictures, follow them in between, and know in which scene we are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from pydantic import Field

from ..errors import EngineError
from ..inference import AUTO, backend_words
from ..media import pixels
from ..types import Box, Face, Frame
from .base import Stage, StageOptions
from .detectors import Detection, FaceDetector, detector_size, open_detector, turned_back
from .tracking import Copies, inside, is_cut
from .tracks import Track, Tracker, trace_back

COPY = 320
"""The longest side of the gray copy in which faces are followed."""
SHORTEST_GAP = 2
"""However unsure the following is, a detection runs at most every second picture."""


class FacesOptions(StageOptions):
    """Options of the `faces` stage."""

    detector: str = Field(
        "centerface", description="face detector: a name from the zoo, or the path of a CenterFace or YuNet .onnx file"
    )
    threshold: float = Field(
        0.4, gt=0, lt=1, description="score from which a find counts as a face; lower finds more, also false ones"
    )
    every: int = Field(8, ge=1, le=60, description="pictures from one detection to the next while faces are followed")
    search_every: int = Field(4, ge=1, le=60, description="the same while no face is in sight")
    size: int = Field(
        480, ge=64, le=4096, description="longest side of the copy in which faces are found; larger finds smaller faces"
    )
    lookahead: bool = Field(
        True,
        description="hold pictures until the next detection, so that a face is covered from where it comes in; "
        "costs a delay of that many pictures",
    )
    backend: str = Field(AUTO, description=backend_words())
    threads: int = Field(1, ge=1, le=64, description="threads of the detector")


@dataclass(slots=True, eq=False)
class _Look:
    """A frame that was looked at: its gray copy and the faces known in it so far, in samples of that copy."""

    frame: Frame
    copies: Copies
    faces: dict[int, tuple[Box, float]] = field(default_factory=dict)
    detected: bool = False
    scene_start: bool = False

    def note(self, tracks: Iterable[Track]) -> None:
        self.faces = {track.number: (track.box, track.score) for track in tracks}


class FacesStage(Stage):
    """Sets `faces` and `faces_known` of every frame. The pictures are only read."""

    name = "faces"
    on_device = True
    description = "Finds faces on a small copy every few pictures and follows them in between."
    Options = FacesOptions
    options: FacesOptions

    def __init__(self, options: StageOptions | None = None) -> None:
        super().__init__(options)
        self._detector: FaceDetector | None = None
        self._tracker = Tracker()
        self._held: list[_Look] = []
        self._previous: pixels.RGB | None = None
        self._since = 0

    def open(self) -> None:
        self._detector = open_detector(self.options.detector, self.options.backend, self.options.threads)

    def about(self) -> dict[str, str]:
        if self._detector is None:
            return {}
        return {"engine": self._detector.name, "backend": self._detector.backend, "sha256": self._detector.sha256}

    def process(self, frame: Frame) -> list[Frame]:
        look = _Look(frame, _gray_copy(frame))
        before, self._previous = self._previous, look.copies.luma
        if before is None or is_cut(before, look.copies.luma):
            look.scene_start = True
            self._end_scene()
        self._tracker.follow(look.copies)
        self._held.append(look)
        self._since += 1
        if look.scene_start or self._due():
            self._detect(look)
        else:
            look.note(self._tracker.tracks)
        return list(self._ready()) if look.detected or not self.options.lookahead else []

    def flush(self) -> list[Frame]:
        self._end_scene()
        return list(self._ready())

    def reset(self) -> None:
        self._tracker, self._previous, self._since = Tracker(), None, 0
        self._held.clear()

    def close(self) -> None:
        if self._detector is not None:
            self._detector.close()
        self._detector, self._previous = None, None
        self._held.clear()
        self._tracker.forget()

    def _due(self) -> bool:
        if self._tracker.unsure and self._since >= SHORTEST_GAP:
            return True
        return self._since >= (self.options.every if self._tracker.tracks else self.options.search_every)

    def _end_scene(self) -> None:
        """What came in since the last detection of this scene is found on its last picture, if that is still held."""
        if self._held and not self._held[-1].detected:
            self._detect(self._held[-1])
        self._tracker.forget()

    def _detect(self, look: _Look) -> None:
        """Look for faces in this picture, and trace the new ones back through the held pictures of its scene."""
        fresh = self._tracker.confirm(look.copies, self._found(look.frame), self.options.threshold)
        look.note(self._tracker.tracks)
        look.detected = True
        self._since = 0
        earlier = list(self._earlier(look))
        for track in fresh:
            boxes = trace_back(track, (other.copies for other in earlier))
            for other, box in zip(earlier, boxes, strict=False):
                other.faces[track.number] = (box, track.score)

    def _earlier(self, look: _Look) -> Iterator[_Look]:
        """The held pictures before `look`, newest first, back to the start of its scene."""
        if look.scene_start:
            return
        for other in reversed(self._held[: self._held.index(look)]):
            yield other
            if other.scene_start:
                return

    def _found(self, frame: Frame) -> list[Detection]:
        if self._detector is None:
            raise EngineError("the faces stage is not open: no detector is loaded")
        width, height = detector_size(frame.width, frame.height, self.options.size)
        quarters = round(frame.picture.rotation / 90) % 4
        upright = np.rot90(pixels.small_rgb(frame.picture, width, height), quarters)
        found = self._detector.detect(upright, self.options.threshold / 2)
        return [Detection(turned_back(one.box, quarters), one.score) for one in found]

    def _ready(self) -> Iterator[Frame]:
        held, self._held = self._held, []
        for look in held:
            yield replace(look.frame, faces=tuple(_faces(look)), faces_known=True)


def _gray_copy(frame: Frame) -> Copies:
    scale = min(1.0, COPY / max(frame.width, frame.height))
    width, height = (max(2, round(side * scale)) for side in (frame.width, frame.height))
    return Copies(pixels.small_luma(frame.picture, width, height))


def _faces(look: _Look) -> Iterator[Face]:
    """The faces of a frame in pixels of its picture, cut to it, by track number."""
    rows, columns = look.copies.luma.shape
    across, down = look.frame.width / columns, look.frame.height / rows
    for number, (box, score) in sorted(look.faces.items()):
        seen = inside(box, (rows, columns))
        if seen is not None:
            yield Face(number, Box(seen.x0 * across, seen.y0 * down, seen.x1 * across, seen.y1 * down), score)
