"""The learned restorer: what it takes and gives, and a zoo without one."""

from __future__ import annotations

import numpy as np
import pytest

from stream_guard.errors import EngineError
from stream_guard.magdr import restorer as module
from stream_guard.magdr.engines import from_rgb, to_rgb
from stream_guard.magdr.restorer import LearnedRestorer, open_restorer


class Session:
    """Answers with the picture, halved."""

    def __init__(self, shape: tuple[int, ...] | None = None) -> None:
        self.shape = shape

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        image = feeds["image"]
        return {"restored": image / 2 if self.shape is None else np.zeros(self.shape, np.float32)}

    def close(self) -> None: ...


def test_pictures_of_8_bits_go_in_and_come_out() -> None:
    restorer = LearnedRestorer(Session(), 16)  # type: ignore[arg-type]
    out = restorer(np.full((16, 16, 3), 255, np.uint8))
    assert out.dtype == np.uint8
    assert (out == round((0.5 + 1) * 127.5)).all()


def test_every_level_survives_the_way_there_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    assert np.array_equal(to_rgb(from_rgb([levels]))[0], levels)


def test_another_size_and_another_answer_are_errors() -> None:
    with pytest.raises(EngineError, match="takes a crop of 16 x 16"):
        LearnedRestorer(Session(), 16)(np.zeros((8, 8, 3), np.uint8))  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="gave the shape"):
        LearnedRestorer(Session((1, 3, 8, 8)), 16)(np.zeros((16, 16, 3), np.uint8))  # type: ignore[arg-type]


def test_a_zoo_without_one_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "list_engines", lambda: ())
    assert open_restorer() is None


def test_the_one_that_ships_leaves_a_clean_face_nearly_alone() -> None:
    from tests.support.heads import head

    restorer = open_restorer("onnxruntime")
    assert restorer is not None
    clean = head()
    away = restorer(clean).astype(float) - clean
    restorer.close()
    assert 10 * np.log10(255**2 / np.square(away).mean()) > 28
