"""Its version, its flags and enumerations, the one logger, and buffers."""

from __future__ import annotations

import ctypes
import os
import weakref
from enum import IntEnum
from typing import Any

import numpy as np

__version__ = os.environ.get("FAKE_TENSORRT", "10.16.1.11")
_NUMBER = tuple(int(part) for part in __version__.split(".")[:2])
UNSUPPORTED = ("NonZero", "Unique")
MAGIC = b"FAKEPLAN"


def since(since: tuple[int, int], until: tuple[int, int] = (99, 0)) -> bool:
    return since <= _NUMBER < until


class TensorIOMode(IntEnum):
    NONE, INPUT, OUTPUT = 0, 1, 2


class DataType(IntEnum):
    FLOAT, HALF, INT8, INT32, BOOL = 0, 1, 2, 3, 4


class MemoryPoolType(IntEnum):
    WORKSPACE = 0


def _flags(name: str, **spans: tuple[tuple[int, int], tuple[int, int]]) -> Any:
    members = [(flag, number) for number, (flag, span) in enumerate(spans.items()) if since(*span)]
    return IntEnum(name, members)  # type: ignore[misc]


ALWAYS = ((0, 0), (99, 0))
NetworkDefinitionCreationFlag = _flags(
    "NetworkDefinitionCreationFlag", EXPLICIT_BATCH=((0, 0), (11, 0)), STRONGLY_TYPED=((9, 1), (99, 0))
)
BuilderFlag = _flags(
    "BuilderFlag",
    FP16=((0, 0), (11, 0)),
    INT8=((0, 0), (11, 0)),
    TF32=ALWAYS,
    OBEY_PRECISION_CONSTRAINTS=((0, 0), (11, 0)),
)


class ILogger:
    class Severity(IntEnum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = 0, 1, 2, 3, 4

    def __init__(self) -> None:
        self.made = True

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError  # the real one is abstract, too


_users: weakref.WeakSet[Any] = weakref.WeakSet()
_logger: Any = None


def register(user: Any, logger: ILogger) -> None:
    """The real one knows a single logger: that of the first builder or runtime, until none of them is left."""
    global _logger
    assert logger.made, "the logger's own __init__ was not called"
    if not len(_users):
        _logger = weakref.ref(logger)
    _users.add(user)


def complain(message: str) -> None:
    logger = _logger()
    assert logger is not None, "the one logger is gone: the real one would crash here"
    logger.log(ILogger.Severity.ERROR, message)


def host_memory(data: bytes) -> Any:
    """As IHostMemory: a buffer, and no bytes."""
    return (ctypes.c_uint8 * len(data)).from_buffer_copy(data)


def tf32(values: Any) -> Any:
    """float32 with ten bits of mantissa."""
    return (np.ascontiguousarray(values).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def init_libnvinfer_plugins(logger: ILogger, namespace: str) -> bool:
    assert isinstance(logger, ILogger)
    return True
