"""A strict stand-in for `tensorrt` of the version in FAKE_TENSORRT (8.5.3, 10.16.1 or 11.4.0): same names, same rules.

A name that the version does not have is an AttributeError, as with the real one. Plans run in ONNX Runtime on the
memory that the stand-in for CUDA handed out; they carry the version and the GPU that they were built for, and are
refused elsewhere. FAKE_BUILD_SECONDS makes a build take that long; FAKE_BUILD says how it goes wrong: `memory` (the
GPU has too little), `crash` (the process dies), `kill` (as by the kernel, short of memory). FAKE_CAPTURE=refused makes
engines that can't be captured in a CUDA graph. FAKE_WRONG_BATCH is a batch size whose outputs are 1 too large.
"""

from __future__ import annotations

from . import building
from .building import Builder, OnnxParser
from .naming import (
    BuilderFlag,
    DataType,
    ILogger,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    TensorIOMode,
    __version__,
    init_libnvinfer_plugins,
)
from .running import Runtime

if hasattr(building, "IProgressMonitor"):
    IProgressMonitor = building.IProgressMonitor

__all__ = [
    "Builder",
    "BuilderFlag",
    "DataType",
    "ILogger",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "Runtime",
    "TensorIOMode",
    "__version__",
    "init_libnvinfer_plugins",
]
