"""What every inference backend promises. A new backend is tested by being in BACKENDS.

Where there is no GPU, TensorRT is the strict stand-in of tests/support/fake_gpu, torch runs in float32 and ONNX
Runtime's CUDA session on the processor's provider: what is theirs to do beside the arithmetic is done all the same.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stream_guard.errors import EngineError
from stream_guard.inference import BACKENDS, Session, backends, load_card, open_session

from ..support.engines import EPSILON, disrupter_model, waves, write_disrupter
from ..support.gpu import faked_gpu

SIZE, GRID = 32, 16
ABSOLUTE = {"fp32": 1e-5, "fp16": 1e-3 * EPSILON + 1e-4, "int8": 1e-2}
"""By the precision that a backend runs in, for outputs of up to EPSILON."""


@pytest.fixture(params=[backend.name for backend in BACKENDS])
def backend(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name: str = request.param
    real = next(backend for backend in BACKENDS if backend.name == name)
    if not real.why_not():
        yield name
    elif name == "tensorrt":
        with faked_gpu(monkeypatch, tmp_path / "plans"):
            yield name
    elif name == "onnxruntime-cuda":
        on_processor = replace(real, lacks=lambda: "", module="tests.support.on_processor", session="OnProcessor")
        monkeypatch.setattr(backends, "BACKENDS", (on_processor,))
        yield name
    else:
        pytest.skip(f"{name} {real.why_not()}")


@pytest.fixture
def tolerance(backend: str) -> float:
    return ABSOLUTE[next(each for each in BACKENDS if each.name == backend).tolerance]


@pytest.fixture
def session(backend: str, tmp_path: Path) -> Iterator[Session]:
    opened = open_session(load_card(write_disrupter(tmp_path, "follows", size=SIZE, grid=GRID)), backend)
    yield opened
    opened.close()


def faces(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 3, SIZE, SIZE), dtype=np.float32)


def expected(batch: np.ndarray) -> np.ndarray:
    small = batch.reshape(len(batch), 3, GRID, 2, GRID, 2).mean((3, 5))
    return np.tanh(small - 0.5) * EPSILON


def test_it_names_its_backend_inputs_and_outputs(session: Session, backend: str) -> None:
    assert isinstance(session, Session)
    assert (session.backend, session.inputs, session.outputs) == (backend, ("face",), ("delta",))


@pytest.mark.parametrize("n", [1, 2, 5, 33])
def test_any_batch_gives_the_right_numbers(session: Session, n: int, tolerance: float) -> None:
    delta = session.run({"face": faces(n)})["delta"]
    assert delta.shape == (n, 3, GRID, GRID)
    assert delta.dtype == np.float32
    np.testing.assert_allclose(delta, expected(faces(n)), atol=tolerance)


def test_outputs_stay_valid_after_the_next_run(session: Session, tolerance: float) -> None:
    first = session.run({"face": faces(2, 1)})["delta"]
    session.run({"face": faces(2, 2)})
    np.testing.assert_allclose(first, expected(faces(2, 1)), atol=tolerance)


def test_inputs_are_neither_kept_nor_changed(session: Session, tolerance: float) -> None:
    batch = faces(1)
    delta = session.run({"face": batch})["delta"]
    assert np.array_equal(batch, faces(1))
    batch[:] = 0
    np.testing.assert_allclose(delta, expected(faces(1)), atol=tolerance)


def test_a_view_with_strides_is_taken(session: Session, tolerance: float) -> None:
    batch = faces(1).transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    assert not batch.flags.c_contiguous
    np.testing.assert_allclose(session.run({"face": batch})["delta"], expected(faces(1)), atol=tolerance)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, r"takes the inputs \['face'\], got \[\]"),
        ({"picture": faces(1)}, r"takes the inputs \['face'\], got \['picture'\]"),
        ({"face": faces(1)[0]}, r"must have the shape \(-1, 3, 32, 32\)"),
        ({"face": faces(1)[:, :, :16]}, r"got \(1, 3, 16, 32\)"),
        ({"face": faces(1)[:0]}, r"got \(0, 3, 32, 32\)"),
        ({"face": faces(1).astype(np.float64)}, "must be float32, got float64"),
    ],
)
def test_feeds_that_do_not_fit_are_refused(session: Session, feeds: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        session.run(feeds)
    assert session.run({"face": faces(1)})["delta"].shape == (1, 3, GRID, GRID)


def test_it_runs_on_another_thread_than_it_was_opened_on(session: Session, tolerance: float) -> None:
    got: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: got.append(session.run({"face": faces(1)})["delta"]))
    thread.start()
    thread.join()
    np.testing.assert_allclose(got[0], expected(faces(1)), atol=tolerance)


def test_closing_twice_is_fine_and_running_after_it_is_not(session: Session) -> None:
    session.close()
    session.close()
    with pytest.raises(EngineError, match="closed"):
        session.run({"face": faces(1)})


def test_the_input_shape_can_be_restated(backend: str, tmp_path: Path) -> None:
    (tmp_path / "narrow.onnx").write_bytes(disrupter_model("follows", SIZE, GRID))
    if backend == "tensorrt":
        with pytest.raises(EngineError, match="TensorRT needs every size but the batch"):
            open_session(tmp_path / "narrow.onnx", backend, shapes={"face": (-1, 3, -1, -1)})
        return
    wide = open_session(tmp_path / "narrow.onnx", backend, shapes={"face": (-1, 3, -1, -1)})
    assert wide.run({"face": np.zeros((2, 3, 48, 64), np.float32)})["delta"].shape == (2, 3, 24, 32)


@pytest.mark.parametrize("content", [b"", b"this is not a model", disrupter_model()[:500]])
def test_what_is_no_model_does_not_load(backend: str, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.onnx").write_bytes(content)
    with pytest.raises(EngineError, match="can't load the model"):
        open_session(tmp_path / "broken.onnx", backend)


def test_nan_comes_back_as_nan(backend: str, tmp_path: Path) -> None:
    card = load_card(write_disrupter(tmp_path, "nan", size=SIZE, grid=GRID))
    assert np.isnan(open_session(card, backend).run({"face": faces(1)})["delta"]).all()


def test_a_constant_comes_back_exactly(backend: str, tmp_path: Path, tolerance: float) -> None:
    card = load_card(write_disrupter(tmp_path, "waves", size=SIZE, grid=GRID))
    delta = open_session(card, backend, threads=2).run({"face": faces(1)})["delta"]
    exact = tolerance <= ABSOLUTE["fp32"]
    assert np.array_equal(delta, waves(GRID)) if exact else np.allclose(delta, waves(GRID), atol=tolerance)
