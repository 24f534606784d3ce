"""TensorRT's session on a stand-in of it: memory, graphs, float32, and a GPU that is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_guard.errors import EngineError, FeedError, GpuMemoryError
from stream_guard.inference import open_session

from ..support.gpu import faked_gpu
from .tensorrt_orders import MODEL, PICTURES, order, reference


def test_too_little_memory_for_the_session_says_how_much_is_needed(
    cuda: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CONTEXT_MIB", "4096")
    with pytest.raises(GpuMemoryError, match=r"8192 MiB free of 8192, the engine needs 16384\.0 MiB"):
        open_session(MODEL, "tensorrt")


def test_nothing_is_allocated_after_the_warm_up(cuda: Any) -> None:
    session = open_session(MODEL, "tensorrt")
    allocations, launches = cuda.live.allocations, cuda.live.launches
    for rows in (1, 2, 5, 31, 8, 40) * 5:
        session.run({"face": PICTURES[:rows]})
    assert cuda.live.allocations == allocations
    assert cuda.live.launches > launches, "runs are launches of graphs"
    session.close()


def test_fp32_is_float32_and_not_the_ten_bits_that_tensorrt_takes_for_it(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAM_GUARD_PRECISION", "fp32")
    with faked_gpu(monkeypatch, tmp_path, version):
        session = open_session(MODEL, "tensorrt")
        np.testing.assert_allclose(session.run({"face": PICTURES})["delta"], reference(PICTURES), atol=1e-6)
        session.close()


def test_what_one_engine_says_is_heard_when_the_engine_before_it_is_gone(cuda: Any) -> None:
    """TensorRT keeps the first logger that it was given, and writes to it for all."""
    first, second = open_session(MODEL, "tensorrt"), open_session(MODEL, "tensorrt")
    first.close()
    del first
    cuda.lose()
    with pytest.raises(EngineError, match="can't run the engine: Error Code 1: Cuda Runtime"):
        second._lanes[1]._context.enqueue(second._stream.handle)  # type: ignore[attr-defined]
    cuda.lose(False)
    second.close()


def test_an_engine_that_can_not_be_captured_runs_without_a_graph(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_CAPTURE", "refused")
    session = open_session(MODEL, "tensorrt")
    for rows in (1, 5, 40):
        delta = session.run({"face": PICTURES[:rows]})["delta"]
        np.testing.assert_allclose(delta, reference(PICTURES[:rows]), atol=1e-3)
    assert not cuda.live.launches
    session.close()


def test_a_plan_is_for_pictures_of_one_size(cuda: Any) -> None:
    from stream_guard.inference.reshaping import with_input_shapes

    model, small = with_input_shapes(MODEL, {"face": (-1, 3, -1, -1)}), {"face": (1, 3, 16, 16)}
    assert order(model=model, profiles=[small, small]).key.shapes == "face=1x3x16x16"
    with pytest.raises(EngineError, match="differ in more than the batch"):
        order(model=model, profiles=[small, {"face": (2, 3, 32, 32)}])


def test_feeds_that_do_not_fit_are_refused(cuda: Any) -> None:
    session = open_session(MODEL, "tensorrt")
    with pytest.raises(FeedError, match="must have the shape"):
        session.run({"face": PICTURES[:, :, :8]})
    session.close()


def test_a_lost_gpu_is_an_error_in_words(cuda: Any) -> None:
    session = open_session(MODEL, "tensorrt")
    cuda.lose()
    with pytest.raises(EngineError, match="can't use the GPU: cudaErrorDevicesUnavailable"):
        session.run({"face": PICTURES[:1]})
    session.close()
    cuda.lose(False)


def test_without_a_gpu_it_says_so(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GPU_COUNT", "0")
    with pytest.raises(EngineError, match="can't count the GPUs: cudaErrorNoDevice"):
        open_session(MODEL, "tensorrt")
