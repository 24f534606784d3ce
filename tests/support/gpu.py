"""A machine with a GPU and TensorRT that are not there: the stand-ins of fake_gpu, found before any real package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream_guard import inference
from stream_guard.inference import backends, gpu

FAKES = Path(__file__).parent / "fake_gpu"
VERSIONS = ("8.5.3.1", "8.6.1", "10.0.1", "10.16.1.11", "11.4.0.106")
OURS = tuple(
    f"stream_guard.inference.{name}"
    for name in ("tensorrt_api", "cuda_api", "tensorrt_session", "preparing", "build_plan")
)


def _taken_out() -> dict[str, Any]:
    """What of the GPU's packages, and of ours that import them, is loaded now; afterwards none of it is."""
    found = {n: m for n, m in sys.modules.items() if n in OURS or n.split(".")[0] in ("tensorrt", "cuda")}
    for name in found:
        del sys.modules[name]
        if name in OURS:  # `from . import name` asks the package first
            vars(inference).pop(name.rpartition(".")[2], None)
    return found


def _put_back(modules: dict[str, Any]) -> None:
    sys.modules.update(modules)
    for name in OURS:
        if name in modules:
            setattr(inference, name.rpartition(".")[2], modules[name])


@contextmanager
def faked_gpu(patch: pytest.MonkeyPatch, cache: Path, version: str = VERSIONS[3]) -> Iterator[Any]:
    """While it lasts there is a GPU; gives the stand-in of `cuda.bindings.runtime`. Children find the same."""
    before = _taken_out()
    patch.syspath_prepend(str(FAKES))
    patch.setenv("PYTHONPATH", str(FAKES))
    patch.setenv("FAKE_TENSORRT", version)
    patch.setenv("STREAM_GUARD_CACHE", str(cache))
    patch.setattr(gpu, "gpu_missing", lambda: "")
    patch.setattr(backends, "BACKENDS", tuple(_with_gpu(backend) for backend in backends.BACKENDS))
    try:
        from cuda.bindings import runtime

        yield runtime
    finally:
        _taken_out()
        _put_back(before)


def _with_gpu(backend: backends.Backend) -> backends.Backend:
    """The backend on that machine: TensorRT is usable, torch and ONNX Runtime are those of this one."""
    return replace(backend, lacks=lambda: "") if backend.name == "tensorrt" else backend
