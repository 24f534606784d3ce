"""Faces of several pictures through the engine in one run: which will need it is known before any is perturbed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..types import Face, Frame

Due = tuple[int, Face]
"""A picture's place among those that wait, and a face of it that needs the engine."""


def due_faces(frames: Sequence[Frame], used: Mapping[int, int], hold: int, min_face: int) -> list[Due]:
    """The faces that will need a new perturbation, in order.

    `used` says for how many pictures each track's was used so far; one serves `hold` pictures and is forgotten with
    the first picture in which its face is not seen. Faces under `min_face` get none.
    """
    counts, due = dict(used), list[Due]()
    for place, frame in enumerate(frames):
        tracks = {face.track for face in frame.faces}
        counts = {track: count for track, count in counts.items() if track in tracks}
        for face in frame.faces:
            if max(face.box.width, face.box.height) < min_face:
                continue
            if counts.get(face.track, hold) < hold:
                counts[face.track] += 1
            else:
                counts[face.track] = 1
                due.append((place, face))
    return due
