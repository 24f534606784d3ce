"""Perturb every face so that face-editing networks fail on it, in the picture's own planes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from ..errors import ConfigError, EngineError
from ..inference import AUTO, Card, Session, backend_words, find_engine, open_session
from ..media import device, pixels
from ..media.colour import Colour, readable_colour
from ..media.orientation import as_stored, orientation_of, upright
from ..types import Box, Face, Frame, Orientation, guard_region
from .ahead import due_faces
from .base import Stage, StageOptions
from .disrupt_there import DeviceDisrupter
from .reasons import ENGINE_FAILED, NO_CHANGE, TOO_SMALL, UNSUPPORTED

if TYPE_CHECKING:
    import av

_log = logging.getLogger(__name__)

UNPROTECTED_REASONS: tuple[str, ...] = (TOO_SMALL, ENGINE_FAILED, NO_CHANGE, UNSUPPORTED)
"""Why a face leaves this stage unprotected; these words are metric labels.

`too_small`: its box is under `min_face`. `engine_failed`: the engine raised, or gave NaN or nothing but zeros.
`no_change`: the perturbation rounds to nothing in these samples. `unsupported_pixel_format`: it can't be written to.
"""


class DisruptOptions(StageOptions):
    """Options of the `disrupt` stage."""

    engine: str | None = Field(
        None, description="disrupter: a name from the zoo, or the path of its folder; the zoo's default if not given"
    )
    strength: float = Field(
        1.0, gt=0, le=2, description="multiplies the perturbation and its budget; 1 is what the engine was trained for"
    )
    hold: int = Field(
        1, ge=1, le=30, description="pictures for which a perturbation is kept and moved along with its face"
    )
    min_face: int = Field(
        8,
        ge=1,
        le=4096,
        description="faces whose box is smaller than this many pixels are left unprotected, and `on_failure` rules",
    )
    backend: str = Field(AUTO, description=backend_words())
    threads: int = Field(1, ge=1, le=64, description="threads of the engine")
    batch: int = Field(
        1,
        ge=1,
        le=32,
        description="pictures whose faces go through the engine together, and wait for one another; for files on a GPU",
    )


@dataclass(slots=True)
class _Held:
    """A perturbation kept for a track, and for how many pictures it was used."""

    perturbation: pixels.Perturbation
    used: int = 0


class DisruptStage(Stage):
    """Marks each face protected, or unprotected with one of UNPROTECTED_REASONS. Faces must have been looked for."""

    name = "disrupt"
    needs_faces = True
    description = "Perturbs every face so that face-editing networks fail on it; nothing else in the picture changes."
    Options = DisruptOptions
    options: DisruptOptions
    protects = True
    on_device = True

    def __init__(self, options: StageOptions | None = None) -> None:
        super().__init__(options)
        self._card: Card | None = None
        self._session: Session | None = None
        self._held: dict[int, _Held] = {}
        self._there: DeviceDisrupter | None = None
        self._waiting: list[Frame] = []
        self._made: dict[tuple[int, int], pixels.Perturbation] = {}  # by picture and track, ahead of their turn
        self._warned = False
        self._means: tuple[Colour, Orientation] | None = None

    def open(self) -> None:
        card = find_engine(self.options.engine, "disrupter")
        session = open_session(card, self.options.backend, threads=self.options.threads)
        if session.inputs != ("face",) or session.outputs != ("delta",):
            raise EngineError(
                f"engine {card.name!r} has the inputs {session.inputs} and outputs {session.outputs}; "
                "a disrupter takes 'face' and gives 'delta'"
            )
        shape = card.input_shape("face")
        if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3] or shape[2] < 1:
            raise EngineError(f"engine {card.name!r}: its card says face {shape}; (-1, 3, S, S) is needed")
        self._card, self._session, self._warned = card, session, False

    def about(self) -> dict[str, str]:
        if self._card is None or self._session is None:
            return {}
        return {"engine": self._card.name, "backend": self._session.backend, "sha256": self._card.sha256}

    def process(self, frame: Frame) -> list[Frame]:
        if not frame.faces_known:
            raise ConfigError("nobody looked for faces in this picture: put the stage 'faces' before 'disrupt'")
        if self.options.batch == 1:
            return [self._processed(frame)]
        self._waiting.append(frame)
        return self.flush() if len(self._waiting) >= self.options.batch else []

    def flush(self) -> list[Frame]:
        frames, self._waiting = self._waiting, []
        self._infer_ahead(frames)
        done = [self._processed(frame) for frame in frames]
        self._made.clear()
        return done

    def _processed(self, frame: Frame) -> Frame:
        means = readable_colour(frame.picture), orientation_of(frame.picture)
        # What is held was made for samples of another meaning, where that changes in mid-stream.
        self._forget({face.track for face in frame.faces} if means == self._means else set())
        self._means = means
        if device.lies_on_device(frame.picture):
            return self._protected_there(frame)
        return replace(frame, faces=self._protect(frame.picture, frame.faces)) if frame.faces else frame

    def reset(self) -> None:
        self._held.clear()
        self._waiting.clear()
        self._there = None

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
        self._card, self._session, self._there = None, None, None
        self._held.clear()
        self._waiting.clear()

    def _protected_there(self, frame: Frame) -> Frame:
        """A picture in a device's memory stays there, unless its samples can't be shared."""
        if self._session is None or self._card is None or self._card.epsilon is None:
            raise EngineError("the disrupt stage is not open: no engine is loaded")
        if not frame.faces:
            return frame
        planes = device.planes_of(frame.picture, writable=True)
        if planes is None:
            here = device.to_host(frame.picture)
            return replace(frame, picture=here, faces=self._protect(here, frame.faces))
        if self._there is None:
            size = self._card.input_shape("face")[-1]
            self._there = DeviceDisrupter(self._session, size, self._card.epsilon, self.options)
        return replace(frame, faces=self._there.protect(planes, frame.faces, orientation_of(frame.picture)))

    def _protect(self, picture: av.VideoFrame, faces: tuple[Face, ...]) -> tuple[Face, ...]:
        if not pixels.supports(picture):
            return tuple(face.unprotected(UNSUPPORTED) for face in faces)
        large = [face for face in faces if max(face.box.width, face.box.height) >= self.options.min_face]
        deltas = self._deltas(picture, large)
        written = self._write(picture, [(face, deltas[face.track]) for face in large if face.track in deltas])
        return tuple(self._judged(face, face in large, deltas, written) for face in faces)

    def _judged(
        self, face: Face, large: bool, deltas: dict[int, pixels.Perturbation], written: dict[int, bool]
    ) -> Face:
        if not large:
            return face.unprotected(TOO_SMALL)
        if face.track not in deltas:
            return face.unprotected(ENGINE_FAILED)
        return face.protected() if written[face.track] else face.unprotected(NO_CHANGE)

    def _deltas(self, picture: av.VideoFrame, faces: Sequence[Face]) -> dict[int, pixels.Perturbation]:
        """A perturbation for each face, by track: held ones that still serve, the others from one run of the engine."""
        due = [face for face in faces if not self._serves(face.track)]
        for face in due:
            self._held.pop(face.track, None)
        if due:
            self._held.update((track, _Held(made)) for track, made in self._infer(picture, due).items())
        usable = {face.track: self._held[face.track] for face in faces if face.track in self._held}
        for held in usable.values():
            held.used += 1
        return {track: held.perturbation for track, held in usable.items()}

    def _serves(self, track: int) -> bool:
        return track in self._held and self._held[track].used < self.options.hold

    def _infer(self, picture: av.VideoFrame, faces: Sequence[Face]) -> dict[int, pixels.Perturbation]:
        """A perturbation for each face, by track, from one run of the engine unless that was done ahead."""
        ahead = {f.track: self._made[id(picture), f.track] for f in faces if (id(picture), f.track) in self._made}
        left = [face for face in faces if face.track not in ahead]
        made = self._run([(picture, face) for face in left]) if left else []
        return ahead | {face.track: one for face, one in zip(left, made, strict=False) if one is not None}

    def _infer_ahead(self, frames: Sequence[Frame]) -> None:
        """One run for all the faces of these pictures that will need it, before any is changed."""
        used = {track: held.used for track, held in self._held.items()}
        due = [
            (frames[place].picture, face)
            for place, face in due_faces(frames, used, self.options.hold, self.options.min_face)
            if not device.lies_on_device(frames[place].picture) and pixels.supports(frames[place].picture)
        ]
        made = self._run(due) if due else []
        self._made = {
            (id(picture), face.track): one for (picture, face), one in zip(due, made, strict=False) if one is not None
        }

    def _run(self, faces: Sequence[tuple[av.VideoFrame, Face]]) -> list[pixels.Perturbation | None]:
        """Run the engine once on all faces; None for those for which it gives nothing usable, nothing if it fails."""
        if self._session is None or self._card is None or self._card.epsilon is None:
            raise EngineError("the disrupt stage is not open: no engine is loaded")
        size, epsilon = self._card.input_shape("face")[-1], self._card.epsilon
        ways = [orientation_of(picture) for picture, _ in faces]
        crops = [
            upright(pixels.read_rgb(picture, guard_region(face.box, way), size), way)
            for (picture, face), way in zip(faces, ways, strict=True)
        ]
        batch = np.stack(crops)
        scaled = np.ascontiguousarray(batch.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
        try:
            output = self._session.run({"face": scaled})["delta"]
        except EngineError as error:
            return self._gave_nothing(str(error))
        if output.ndim != 4 or output.shape[:2] != (len(faces), 3) or output.shape[2] != output.shape[3]:
            return self._gave_nothing(f"delta has the shape {output.shape}, ({len(faces)}, 3, G, G) is needed")
        return [
            pixels.Perturbation(as_stored(delta, way), self.options.strength, epsilon)
            if np.isfinite(delta).all() and delta.any()
            else None
            for delta, way in zip(output, ways, strict=True)
        ]

    def _gave_nothing(self, why: str) -> list[pixels.Perturbation | None]:
        """Say once why the engine fails: the faces are counted, picture by picture, but without the words."""
        if not self._warned:
            _log.warning("the engine failed, faces stay unprotected: %s", why)
        self._warned = True
        return []

    def _write(self, picture: av.VideoFrame, wanted: Sequence[tuple[Face, pixels.Perturbation]]) -> dict[int, bool]:
        """Add each perturbation; where regions overlap, the sum is held to the budget of one."""
        if self._card is None or self._card.epsilon is None:
            raise EngineError("the disrupt stage is not open: no engine is loaded")
        budget = self.options.strength * self._card.epsilon
        orientation = orientation_of(picture)
        regions = [guard_region(face.box, orientation) for face, _ in wanted]
        before = [pixels.snapshot(picture, region) for i, region in enumerate(regions) if _meets(region, regions[:i])]
        written = {
            face.track: perturbation.add(picture, region)
            for (face, perturbation), region in zip(wanted, regions, strict=True)
        }
        for kept in before:
            pixels.hold_budget(picture, kept, budget)
        return written

    def _forget(self, tracks: set[int]) -> None:
        """A perturbation belongs to a face in sight: one that comes back gets a new one."""
        for track in self._held.keys() - tracks:
            del self._held[track]
        if self._there is not None:
            self._there.forget(tracks)


def _meets(region: Box, others: Sequence[Box]) -> bool:
    """Whether the region touches another, also by the pixels that snapping may add."""
    grown = Box(region.x0 - 4, region.y0 - 4, region.x1 + 4, region.y1 + 4)
    return any(grown.iou(other) > 0 for other in others)
