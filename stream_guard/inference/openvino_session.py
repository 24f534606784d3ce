"""OpenVINO on the processor."""

from __future__ import annotations

import numpy as np

from ..errors import EngineError
from .feeds import Shape, check_feeds
from .openvino_untold import openvino
from .reshaping import model_ports
from .session import Array
from .signal_stack import kept_signal_stack


class OpenVinoSession:
    """One model on `threads` threads, in float32 also where the processor could do less."""

    backend = "openvino"

    def __init__(self, model: bytes, threads: int = 1) -> None:
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
        }
        try:
            with kept_signal_stack():
                core = openvino.Core()
                compiled = core.compile_model(core.read_model(model=model, weights=b""), "CPU", settings)
                self._request = compiled.create_infer_request()
        except Exception as error:  # its errors have no common base of their own
            raise EngineError(f"OpenVINO can't load the model: {_last_line(error)}") from error
        # A port may carry several names here; the file says which one is meant.
        self.inputs, self.outputs = model_ports(model)
        self._shapes: dict[str, Shape] = {
            name: tuple(d.get_length() if d.is_static else -1 for d in compiled.input(name).partial_shape)
            for name in self.inputs
        }

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        if self._request is None:
            raise EngineError("the session was closed")
        checked = check_feeds(feeds, self._shapes)
        try:
            self._request.infer(checked, share_inputs=True)
            # The request owns its outputs and overwrites them in the next run.
            return {name: np.array(self._request.get_tensor(name).data, np.float32) for name in self.outputs}
        except Exception as error:
            raise EngineError(f"OpenVINO failed: {_last_line(error)}") from error

    def close(self) -> None:
        with kept_signal_stack():
            self._request = None


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
