"""Whether there is a GPU: asked of a driver that answers as told, and of NVIDIA's own bindings."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from typing import Any

import onnxruntime
import pytest

from stream_guard.errors import EngineError
from stream_guard.inference import gpu, onnxruntime_cuda_session


class Driver:
    """cuInit and cuDeviceGetCount as the real one answers them."""

    def __init__(self, started: int, counted: int, devices: int) -> None:
        self.started, self.counted, self.devices = started, counted, devices

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.started

    def cuDeviceGetCount(self, count: object) -> int:  # noqa: N802
        ctypes.cast(count, ctypes.POINTER(ctypes.c_int))[0] = self.devices  # type: ignore[arg-type]
        return self.counted


def asked(monkeypatch: pytest.MonkeyPatch, load: Callable[[str], object]) -> str:
    monkeypatch.setattr(gpu.ctypes, "CDLL", load)
    gpu.gpu_missing.cache_clear()
    try:
        return gpu.gpu_missing()
    finally:
        gpu.gpu_missing.cache_clear()


def test_a_driver_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, lambda name: Driver(0, 0, 1)) == ""


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        (Driver(100, 0, 0), "sees no GPU"),
        (Driver(0, 0, 0), "sees no GPU"),
        (Driver(0, 3, 0), "sees no GPU"),
        (Driver(999, 0, 0), r"cannot be started \(error 999\)"),
    ],
)
def test_a_driver_without_one(monkeypatch: pytest.MonkeyPatch, driver: Driver, words: str) -> None:
    assert re.search(words, asked(monkeypatch, lambda name: driver))


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> object:
        raise OSError(f"{name}: cannot open shared object file")

    assert "there is no NVIDIA driver here" in asked(monkeypatch, load)


def test_nvidia_s_bindings_without_a_driver_are_an_error_in_words() -> None:
    pytest.importorskip("cuda.bindings.runtime")
    if not gpu.gpu_missing():
        pytest.skip("there is a GPU here")
    from stream_guard.inference import cuda_api

    with pytest.raises(EngineError, match="can't count the GPUs: "):
        cuda_api.device()
    with pytest.raises(EngineError, match="can't make a stream"):
        cuda_api.Stream()
    with pytest.raises(EngineError, match="can't take GPU memory"):
        cuda_api.Buffer(1024)


def test_onnx_runtime_without_its_libraries_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And prints nothing: stdout is for results, and for a worker's answers."""
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load libcudnn.so.9"))
    monkeypatch.setattr(onnxruntime, "cuda_version", "12.8")
    onnxruntime_cuda_session.load_libraries.cache_clear()
    missing = onnxruntime_cuda_session.provider_missing()
    onnxruntime_cuda_session.load_libraries.cache_clear()
    assert "onnxruntime-gpu[cuda,cudnn]" in missing
    assert capsys.readouterr().out == ""


def test_onnx_runtime_does_not_fall_back_by_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*arguments: Any) -> None:
        raise RuntimeError("CUDNN failure 1001")

    monkeypatch.setattr(onnxruntime.InferenceSession, "_create_inference_session", fails)
    with pytest.raises(EngineError, match="can't load the model: CUDNN failure 1001"):
        onnxruntime_cuda_session.OnnxRuntimeCudaSession(b"model")
    assert capsys.readouterr().out == ""
