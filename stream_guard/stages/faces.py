"""Find faces every few pictures, follow them in between, and know in which scene we are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pydantic import Field

from ..errors import EngineError
from ..inference import AUTO, backend_words
from ..media import pixels
from ..media.orientation import orientation_of, upright
from ..types import Box, Face, Frame, Orientation
from .base import Stage, StageOptions
from .detectors import Detection, FaceDetector, detector_size, open_detector, turned_back
from .gaps import Gap
from .looks import Look
from .tracking import Copies, inside, is_cut
from .tracks import Tracker, scaled

COPY = 320
"""The longest side of the gray copy in which faces are followed."""
SHORTEST_GAP = 2
"""However unsure the following is, a detection runs at most every second picture."""
LONGEST_GAP = 0.5
"""However few pictures a second has, a detection runs after so many seconds."""


class FacesOptions(StageOptions):
    """Options of the `faces` stage."""

    detector: str = Field(
        "centerface", description="face detector: a name from the zoo, or the path of a CenterFace or YuNet .onnx file"
    )
    threshold: float = Field(
        0.4, gt=0, lt=1, description="score from which a find counts as a face; lower finds more, also false ones"
    )
    every: int = Field(
        8,
        ge=1,
        le=60,
        description="pictures from one detection to the next while faces are followed, but never more than half a "
        "second; a face that is in sight only between two detections is missed unless `lookahead` is on and it shows "
        "as a change of brightness that comes and goes",
    )
    search_every: int = Field(
        4, ge=1, le=60, description="the same while no face is in sight, with the same bound and the same risk"
    )
    size: int = Field(
        480, ge=64, le=4096, description="longest side of the copy in which faces are found; larger finds smaller faces"
    )
    lookahead: bool = Field(
        True,
        description="hold pictures until the next detection, so that a face is covered from where it comes in, with "
        "a few more detections on held pictures where it can't be followed back, or where something came and went; "
        "costs a delay of that many pictures",
    )
    backend: str = Field(AUTO, description=backend_words())
    threads: int = Field(1, ge=1, le=64, description="threads of the detector")


class FacesStage(Stage):
    """Sets `faces` and `faces_known` of every frame. The pictures are only read."""

    name = "faces"
    finds_faces = True
    on_device = True
    description = "Finds faces on a small copy every few pictures and follows them in between."
    Options = FacesOptions
    options: FacesOptions

    def __init__(self, options: StageOptions | None = None) -> None:
        super().__init__(options)
        self._detector: FaceDetector | None = None
        self._tracker = Tracker()
        self._held: list[Look] = []
        self._previous: pixels.RGB | None = None
        self._since = 0
        self._detected_at: float | None = None
        self._last: Copies | None = None  # of the picture detected last

    def open(self) -> None:
        self._detector = open_detector(self.options.detector, self.options.backend, self.options.threads)

    def about(self) -> dict[str, str]:
        if self._detector is None:
            return {}
        return {"engine": self._detector.name, "backend": self._detector.backend, "sha256": self._detector.sha256}

    def process(self, frame: Frame) -> list[Frame]:
        look = Look(frame, _gray_copy(frame))
        before, self._previous = self._previous, look.copies.luma
        if before is None or is_cut(before, look.copies.luma):
            look.scene_start = True
            self._end_scene()
        self._tracker.follow(look.copies)
        self._held.append(look)
        self._since += 1
        if look.scene_start or self._due(frame.time_seconds):
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
        self._detected_at, self._last = None, None

    def close(self) -> None:
        if self._detector is not None:
            self._detector.close()
        self._detector, self._previous, self._last = None, None, None
        self._held.clear()
        self._tracker.forget()

    def _due(self, now: float) -> bool:
        if self._tracker.unsure and self._since >= SHORTEST_GAP:
            return True
        if self._detected_at is None or not 0 <= now - self._detected_at < LONGEST_GAP:
            return True
        return self._since >= (self.options.every if self._tracker.tracks else self.options.search_every)

    def _end_scene(self) -> None:
        """What came in since the last detection of this scene is found on its last picture, if that is still held."""
        if self._held and not self._held[-1].detected:
            self._detect(self._held[-1])
        self._tracker.forget()

    def _detect(self, look: Look) -> None:
        """Look for faces in this picture, and trace the new ones back through the held pictures of its scene."""
        fresh = self._tracker.confirm(look.copies, self._found(look.frame), self.options.threshold)
        look.note(self._tracker.tracks)
        look.detected = True
        self._since, self._detected_at = 0, look.frame.time_seconds
        earlier = list(self._earlier(look))
        for track in fresh:
            former, pictures = track.former
            for other in earlier[: max(0, pictures - 1)]:
                other.rename(former, track.number)
        if earlier:
            Gap(self._last, look, earlier, self._tracker, self.options.threshold, self._found_on_copy).close(fresh)
        self._last = look.copies

    def _earlier(self, look: Look) -> Iterator[Look]:
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
        orientation = orientation_of(frame.picture)
        shown = upright(pixels.small_rgb(frame.picture, width, height), orientation)
        found = self._detector.detect(shown, self.options.threshold / 2)
        return [Detection(_as_stored(one.box, orientation), one.score) for one in found]

    def _found_on_copy(self, look: Look) -> list[Detection]:
        """The same in samples of the gray copy."""
        rows, columns = look.copies.luma.shape
        return [Detection(scaled(find.box, columns, rows), find.score) for find in self._found(look.frame)]

    def _ready(self) -> Iterator[Frame]:
        held, self._held = self._held, []
        for look in held:
            yield replace(look.frame, faces=tuple(_faces(look)), faces_known=True)


def _as_stored(box: Box, orientation: Orientation) -> Box:
    """A unit box of the picture as it is shown, in the stored one."""
    if orientation.mirrored:
        box = Box(1 - box.x1, box.y0, 1 - box.x0, box.y1)
    return turned_back(box, orientation.turns)


def _gray_copy(frame: Frame) -> Copies:
    scale = min(1.0, COPY / max(frame.width, frame.height))
    width, height = (max(2, round(side * scale)) for side in (frame.width, frame.height))
    return Copies(pixels.small_luma(frame.picture, width, height))


def _faces(look: Look) -> Iterator[Face]:
    """The faces of a frame in pixels of its picture, cut to it, by track number."""
    rows, columns = look.copies.luma.shape
    across, down = look.frame.width / columns, look.frame.height / rows
    for number, (box, score) in sorted(look.faces.items()):
        seen = inside(box, (rows, columns))
        if seen is not None:
            yield Face(number, Box(seen.x0 * across, seen.y0 * down, seen.x1 * across, seen.y1 * down), score)
