"""Whether the stages of a pipeline stand in an order that can work, asked before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .base import Stage, StageOptions

Placed = tuple[int, type[Stage], StageOptions]
"""Its place in the pipeline, its class and its options."""


def misplaced(stages: Iterable[Placed]) -> Iterator[tuple[int, str]]:
    """(place, what is wrong and what to do) of each stage that can't stand where it does."""
    finder = guard = ""
    for place, stage, options in stages:
        if stage.needs_faces and not finder:
            yield place, f"nobody has looked for faces before {stage.name!r}: put the stage 'faces' before it"
        if guard and stage.finds_faces:
            yield place, f"{stage.name!r} finds faces anew that {guard!r} has protected: put it before"
        elif guard and stage.protects:
            yield place, f"{stage.name!r} after {guard!r} would perturb each face twice, beyond its budget: keep one"
        elif guard and stage.needs_faces and stage.changes(options):
            yield place, f"{stage.name!r} would undo what {guard!r} protects: put it before"
        finder = finder or (stage.name if stage.finds_faces else "")
        guard = guard or (stage.name if stage.protects else "")
