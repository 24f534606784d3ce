"""Stages that do with each frame what a script says, and what must be seen of it then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from stream_guard.config import OnFailure, StageSpec
from stream_guard.errors import EngineError
from stream_guard.media import stand_in
from stream_guard.stages.base import Stage, StageOptions
from stream_guard.types import Box, Face, Frame

from .fakes import Batch, frame, mean_level, picture, spec

NO_FACE, SOUND, SMALL, DEAD, UNKNOWN, RAISES = "no face", "sound", "small", "dead", "unknown", "raises"
"""What becomes of a frame. Of two faces in one that is SMALL the second is protected; DEAD says the engine failed."""

BLACK = mean_level(frame(0, picture=stand_in.black(picture(100))))


class Fated(Stage):
    """`script` holds the fates by stream and index."""

    description = "does as the script says"

    class Options(StageOptions):
        script: tuple[tuple[str, ...], ...]

    options: Options

    def fate(self, shown: Frame) -> str:
        return self.options.script[shown.stream][shown.index]


class Finds(Fated):
    name = "finds"

    def process(self, shown: Frame) -> Iterable[Frame]:
        fate = self.fate(shown)
        if fate == UNKNOWN:
            return [shown]
        count = {NO_FACE: 0, SMALL: 2}.get(fate, 1)
        faces = tuple(Face(1 + number, Box(8, 8, 40, 40), 0.9) for number in range(count))
        return [replace(shown, faces=faces, faces_known=True)]


class Protects(Fated):
    """Cannot be opened for the times whose number is in `shut`, the first being 0."""

    name = "protects"
    protects = True
    shut: frozenset[int] = frozenset()
    opened = 0

    def open(self) -> None:
        number, type(self).opened = self.opened, self.opened + 1
        if number in self.shut:
            raise EngineError("the device is gone")

    def process(self, shown: Frame) -> Iterable[Frame]:
        fate = self.fate(shown)
        if fate == RAISES:
            raise RuntimeError("the device hangs")
        reasons = {SMALL: "too_small", DEAD: "engine_failed"}
        faces = [face.protected() for face in shown.faces]
        if fate in reasons:
            faces[0] = faces[0].unprotected(reasons[fate])
        return [replace(shown, faces=tuple(faces))]


def stages(
    script: Iterable[Iterable[str]], batch_at: int | None = None, shut: frozenset[int] = frozenset()
) -> list[StageSpec]:
    """Both of them, with a stage that holds frames back at the place `batch_at`, if any."""
    fates = tuple(tuple(part) for part in script)
    protects = type("FreshProtects", (Protects,), {"shut": shut})
    made = [spec(Finds, script=fates), spec(protects, script=fates)]
    if batch_at is not None:
        made.insert(batch_at, spec(Batch))
    return made


def levels_seen(policy: OnFailure, came: Iterable[tuple[bool, float]]) -> Iterator[float]:
    """The mean level of each picture that leaves, from whether it is fit to and its own level."""
    safe = BLACK
    for fit, own in came:
        safe = own if fit else safe
        yield own if fit or policy is OnFailure.PASS else safe if policy is OnFailure.BLOCK else BLACK
