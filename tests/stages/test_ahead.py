"""Several pictures' faces in one run of the engine: fewer runs, the same samples, the same order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_guard.errors import EngineError
from stream_guard.stages.ahead import due_faces
from stream_guard.stages.disrupt import DisruptOptions, DisruptStage
from stream_guard.types import Box, Face, Frame

from ..support.engines import write_disrupter
from ..support.pictures import paint, raw_samples
from ..support.scenes import TIME_BASE

BOXES = {1: Box(60, 50, 100, 100), 2: Box(150, 80, 200, 140), 3: Box(20, 20, 24, 25)}


def clip(*seen: tuple[int, ...]) -> list[Frame]:
    """A picture for each, with these tracks in sight, moving a little."""
    return [
        Frame(
            paint("yuv420p", 256, 192),
            index,
            TIME_BASE,
            index,
            tuple(Face(track, BOXES[track].moved(2 * index, index), 0.9) for track in tracks),
            faces_known=True,
        )
        for index, tracks in enumerate(seen)
    ]


class Counting:
    """The session, and how large its batches were; `bad` makes runs of more than one face fail."""

    def __init__(self, session: Any, bad: bool = False) -> None:
        self._session, self._bad, self.sizes = session, bad, list[int]()

    def run(self, feeds: dict[str, Any]) -> dict[str, Any]:
        self.sizes.append(len(feeds["face"]))
        if self._bad and len(feeds["face"]) > 1:
            raise EngineError("too many")
        return self._session.run(feeds)  # type: ignore[no-any-return]

    def close(self) -> None:
        self._session.close()


def protect(
    folder: Path, frames: list[Frame], monkeypatch: pytest.MonkeyPatch, bad: bool = False, **options: Any
) -> tuple[list[Frame], list[int]]:
    stage = DisruptStage(DisruptOptions(engine=str(write_disrupter(folder, "follows")), **options))
    stage.open()
    counting = Counting(stage._session, bad)
    monkeypatch.setattr(stage, "_session", counting)
    done = [out for frame in frames for out in stage.process(frame)] + list(stage.flush())
    stage.close()
    return done, counting.sizes


SEEN = ((1, 2), (1, 2, 3), (1,), (), (1, 2), (1, 2), (2,))


@pytest.mark.parametrize(("hold", "batch", "sizes"), [(1, 3, [5, 4, 1]), (2, 3, [3, 2, 1]), (3, 32, [4]), (1, 7, [10])])
def test_samples_and_faces_are_those_of_one_by_one(
    hold: int, batch: int, sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, _ = protect(tmp_path, clip(*SEEN), monkeypatch, hold=hold)
    together, ran = protect(tmp_path, clip(*SEEN), monkeypatch, hold=hold, batch=batch)
    assert ran == sizes
    assert [frame.pts for frame in together] == [frame.pts for frame in alone]
    for one, other in zip(alone, together, strict=True):
        assert one.faces == other.faces
        expected, found = raw_samples(one.picture), raw_samples(other.picture)
        assert all(np.abs(found[role] - expected[role]).max() <= 1 for role in expected)
        assert np.mean(found["Y"] != expected["Y"]) < 1e-3  # a larger batch may round otherwise


def test_a_run_that_fails_is_made_up_for_picture_by_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done, sizes = protect(tmp_path, clip((1,), (1,), (2,)), monkeypatch, bad=True, batch=3)
    assert sizes == [3, 1, 1, 1]
    assert not any(frame.unprotected for frame in done)


def test_pictures_wait_for_the_others_and_a_reset_forgets_them(tmp_path: Path) -> None:
    stage = DisruptStage(DisruptOptions(engine=str(write_disrupter(tmp_path, "waves")), batch=2))
    stage.open()
    first, second, third = clip((1,), (1,), (1,))
    assert stage.process(first) == []
    assert [frame.index for frame in stage.process(second)] == [0, 1]
    assert stage.process(third) == []
    stage.reset()
    assert stage.flush() == []
    stage.close()


def test_due_are_the_faces_that_nothing_serves() -> None:
    frames = clip((1, 2), (1, 3), (1, 2))
    due = due_faces(frames, {1: 1, 7: 1}, hold=2, min_face=8)
    assert [(place, face.track) for place, face in due] == [(0, 2), (1, 1), (2, 2)]
