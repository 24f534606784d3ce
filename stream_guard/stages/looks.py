"""What the `faces` stage knows of a picture that it holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..types import Box, Frame
from .detectors import Detection
from .tracking import Copies
from .tracks import Track


@dataclass(slots=True, eq=False)
class Look:
    """A frame that was looked at: its gray copy and the faces known in it so far, in samples of that copy."""

    frame: Frame
    copies: Copies
    faces: dict[int, tuple[Box, float]] = field(default_factory=dict)
    detected: bool = False
    scene_start: bool = False
    found: list[Detection] | None = None
    """What a detection on this picture gave, where one was made later to close a gap; also in those samples."""

    def note(self, tracks: Iterable[Track]) -> None:
        self.faces = {track.number: (track.box, track.score) for track in tracks}

    def rename(self, former: int, number: int) -> None:
        if former in self.faces:
            self.faces[number] = self.faces.pop(former)

    def covers(self, box: Box, overlap: float) -> bool:
        """Whether a face that is known here lies where the box is."""
        return any(known.iou(box) >= overlap for known, _ in self.faces.values())
