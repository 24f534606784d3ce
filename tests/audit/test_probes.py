"""The generators of the zoo behind the audit's contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stream_guard.audit.pictures import from_rgb, to_rgb
from stream_guard.audit.probes import Probe, load_probes
from stream_guard.errors import EngineError, UnknownNameError
from stream_guard.inference import Array
from tests.support.probes import NAME, TITLE, write_probe


class Broken:
    """A session that gives what a test asks for."""

    backend, inputs, outputs = "none", ("image", "condition"), ("edited",)

    def __init__(self, edited: np.ndarray) -> None:
        self.edited = edited

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        return {"edited": self.edited}

    def close(self) -> None: ...


def faces(count: int, size: int = 32) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8))


def test_every_condition_is_run_on_every_face(tmp_path: Path) -> None:
    (probe,) = load_probes([str(write_probe(tmp_path / NAME))], backend="onnxruntime")
    pictures = faces(11)  # 22 runs: more than one batch
    edited = probe.edit(pictures)
    probe.close()
    assert edited.shape == (11, 2, 3, 32, 32)
    for i, offset in enumerate((-0.25, 0.0)):
        expected = np.stack([np.clip(8 * from_rgb(p) + offset, -1, 1) for p in pictures])
        np.testing.assert_allclose(edited[:, i], expected, atol=1e-5)


def test_the_card_gives_names_size_and_target(tmp_path: Path) -> None:
    folder = write_probe(tmp_path / NAME, size=48, card_extra="[results]\ntarget = 0.6\n")
    (probe,) = load_probes([str(folder)])
    probe.close()
    assert (probe.name, probe.title, probe.conditions) == (NAME, TITLE, ("Darker", "As it is"))
    assert (probe.size, probe.target) == (48, 0.6)


def test_the_share_aimed_at_is_four_fifths_where_the_card_is_silent(tmp_path: Path) -> None:
    (probe,) = load_probes([str(write_probe(tmp_path / NAME))])
    probe.close()
    assert probe.target == 0.8


def test_an_unknown_generator_lists_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match="no-such-generator"):
        load_probes(["no-such-generator"])


def test_an_engine_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = write_probe(tmp_path / NAME, kind="detector")
    with pytest.raises(EngineError, match="detector"):
        load_probes([str(folder)])


@pytest.mark.parametrize(
    ("edited", "words"),
    [(np.full((2, 3, 32, 32), np.nan, np.float32), "not finite"), (np.zeros((2, 3, 8, 8), np.float32), "gave shape")],
)
def test_a_generator_that_gives_nonsense_is_an_error(edited: np.ndarray, words: str) -> None:
    probe = Probe("x", "X", Broken(edited), ("a", "b"), np.zeros((2, 1), np.float32), size=32)
    with pytest.raises(EngineError, match=words):
        probe.edit(faces(1))


def test_rows_must_fit_the_names() -> None:
    with pytest.raises(EngineError, match="names 2 conditions"):
        Probe("x", "X", Broken(np.zeros(1)), ("a", "b"), np.zeros((3, 1), np.float32))


def test_pictures_survive_the_way_to_the_generator_and_back() -> None:
    (picture,) = faces(1)
    np.testing.assert_array_equal(to_rgb(from_rgb(picture)), picture)
