"""ONNX Runtime on the processor."""

from __future__ import annotations

import onnxruntime

from ..errors import EngineError
from .feeds import Shape, check_feeds
from .session import Array


class OnnxRuntimeSession:
    """One model on `threads` threads that sleep, not spin, between runs: the encoder needs the cores."""

    backend = "onnxruntime"

    def __init__(self, model: bytes, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common base of their own
            raise EngineError(f"ONNX Runtime can't load the model: {_first_line(error)}") from error
        self._shapes: dict[str, Shape] = {
            value.name: tuple(d if isinstance(d, int) else -1 for d in value.shape)
            for value in self._session.get_inputs()
        }
        self.inputs: tuple[str, ...] = tuple(self._shapes)
        self.outputs: tuple[str, ...] = tuple(value.name for value in self._session.get_outputs())

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        if self._session is None:
            raise EngineError("the session was closed")
        checked = check_feeds(feeds, self._shapes)
        try:
            results = self._session.run(list(self.outputs), checked)
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed: {_first_line(error)}") from error
        return dict(zip(self.outputs, results, strict=True))

    def close(self) -> None:
        self._session = None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
