"""What the tests of TensorRT build and what it must compute."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from stream_guard.inference import open_session

from ..support.engines import disrupter_model

MODEL = disrupter_model("follows", 16, 8)
PICTURES = np.random.default_rng(0).random((40, 3, 16, 16), dtype=np.float32)


def order(precision: str = "fp16", model: bytes = MODEL, **more: Any) -> Any:
    from stream_guard.inference.tensorrt_session import order_for

    return order_for(model, precision, **more)


def built(made: Any, cache: Path, seen: list[Any] | None = None, **more: Any) -> Any:
    from stream_guard.inference.builder import build
    from stream_guard.inference.plans import PlanCache

    watch = seen.append if seen is not None else lambda progress: None
    return build(made, PlanCache(cache), watch, more.pop("stop", threading.Event()), **more)


def reference(pictures: np.ndarray) -> np.ndarray:
    return open_session(MODEL, "onnxruntime").run({"face": pictures})["delta"]


def model_of(plan: bytes) -> bytes:
    """The ONNX bytes within a plan of the stand-in."""
    return plan[12 + int.from_bytes(plan[8:12], "little") :]
