"""What `DisruptStage` does, for pictures in a device's memory: nothing but a few numbers a face leaves it.

A session with the method `run_on_device` (tensors in, tensors out, by name) is fed there; for any other the crops,
192 KiB each at 128 px, are downloaded and the deltas uploaded.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import EngineError
from ..inference import Session
from ..media import device
from ..media.orientation import tensor_as_stored, upright_tensor
from ..torch_gate import Tensor, load_torch
from ..types import UPRIGHT, Face, Orientation, guard_region
from .reasons import ENGINE_FAILED, NO_CHANGE, TOO_SMALL

_log = logging.getLogger(__name__)


class Wishes(Protocol):
    """The options of the disrupt stage that count here."""

    @property
    def strength(self) -> float: ...

    @property
    def hold(self) -> int: ...

    @property
    def min_face(self) -> int: ...


@dataclass(slots=True)
class _Held:
    """A delta (3, G, G) kept for a track, as the picture is stored, and for how many pictures it was used."""

    delta: Tensor
    used: int = 0


class DeviceDisrupter:
    """Perturbs the faces of picture after picture; deltas are held by track as the stage's options say."""

    def __init__(self, session: Session, size: int, epsilon: float, options: Wishes) -> None:
        """`size` is the side of the network's input in pixels."""
        self._session, self._size, self._epsilon, self._options = session, size, epsilon, options
        self._held: dict[int, _Held] = {}
        self._warned = False

    def protect(
        self, planes: device.Planes, faces: Sequence[Face], orientation: Orientation = UPRIGHT
    ) -> tuple[Face, ...]:
        """The faces, each marked; `planes` are writable and changed in place."""
        large = [f for f in faces if max(f.box.width, f.box.height) >= self._options.min_face]
        try:
            judged = self._perturb(planes, large, orientation)
        except RuntimeError as error:  # what torch raises, also for a GPU that is lost
            self._fail(str(error).splitlines()[0])
            judged = {}
        return tuple(
            judged.get(face.track, face.unprotected(ENGINE_FAILED)) if face in large else face.unprotected(TOO_SMALL)
            for face in faces
        )

    def forget(self, tracks: set[int]) -> None:
        """Keep only the deltas of these tracks."""
        for track in self._held.keys() - tracks:
            del self._held[track]

    def _perturb(self, planes: device.Planes, faces: Sequence[Face], orientation: Orientation) -> dict[int, Face]:
        """Each face by its track."""
        due = [face for face in faces if not self._serves(face.track)]
        for face in due:
            self._held.pop(face.track, None)
        if due:
            self._held.update(self._made(planes, due, orientation))
        faces = [face for face in faces if face.track in self._held]
        if not faces:
            return {}
        held = [self._held[face.track] for face in faces]
        for one in held:
            one.used += 1
        boxes = [guard_region(face.box, orientation) for face in faces]
        stacked = load_torch().stack([one.delta for one in held])
        usable, shown = device.add_deltas(planes, boxes, stacked, self._options.strength, self._epsilon)
        return {
            face.track: self._judged(face, fine, seen) for face, fine, seen in zip(faces, usable, shown, strict=True)
        }

    def _judged(self, face: Face, usable: bool, shown: bool) -> Face:
        if not usable:
            del self._held[face.track]  # so that the engine is asked again, as for a face that it failed for
            return face.unprotected(ENGINE_FAILED)
        return face.protected() if shown else face.unprotected(NO_CHANGE)

    def _serves(self, track: int) -> bool:
        return track in self._held and self._held[track].used < self._options.hold

    def _made(self, planes: device.Planes, faces: Sequence[Face], orientation: Orientation) -> dict[int, _Held]:
        """New deltas by track, from one run of the engine; none where it fails."""
        try:
            deltas = self._infer(planes, faces, orientation)
        except EngineError as error:
            self._fail(str(error))
            return {}
        return {face.track: _Held(delta) for face, delta in zip(faces, deltas, strict=True)}

    def _infer(self, planes: device.Planes, faces: Sequence[Face], orientation: Orientation) -> Tensor:
        """Deltas (N, 3, G, G) on the planes' device, as the picture is stored.

        Raises EngineError where the engine gives another shape.
        """
        boxes = [guard_region(face.box, orientation) for face in faces]
        batch = upright_tensor(device.read_faces(planes, boxes, self._size), orientation)
        there = getattr(self._session, "run_on_device", None)
        if there is not None:
            deltas = there({"face": batch})["delta"]
        else:
            deltas = load_torch().from_numpy(_run(self._session, batch.cpu().numpy())).to(planes.device)
        if deltas.ndim != 4 or deltas.shape[:2] != (len(faces), 3) or deltas.shape[2] != deltas.shape[3]:
            raise EngineError(f"delta has the shape {tuple(deltas.shape)}, ({len(faces)}, 3, G, G) is needed")
        return tensor_as_stored(deltas, orientation)

    def _fail(self, why: str) -> None:
        """Say once why; the faces are counted, picture by picture, but without the words."""
        if not self._warned:
            _log.warning("the engine failed on the device, faces stay unprotected: %s", why)
        self._warned = True


def _run(session: Session, faces: np.ndarray) -> np.ndarray:
    return session.run({"face": np.ascontiguousarray(faces, np.float32)})["delta"]
