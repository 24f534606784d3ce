"""ONNX Runtime's CUDA session with the processor's provider in the place of the GPU's."""

from __future__ import annotations

from stream_guard.inference.onnxruntime_cuda_session import OnnxRuntimeCudaSession


class OnProcessor(OnnxRuntimeCudaSession):
    def __init__(self, model: bytes, threads: int = 1) -> None:
        super().__init__(model, threads, "cpu")
