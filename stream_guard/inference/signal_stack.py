"""Keeps the thread's alternate signal stack as it was.

OpenVINO (2026.4) sets one on the thread that opens a model, and puts the one before back when the model goes. Of two
models that go in the order they came, the second puts back the first one's, which is freed by then: the next signal
that Python handles (SIGTERM, Ctrl-C) kills the process with a segmentation fault.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    """stack_t as Linux has it."""

    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """What the body does to the alternate signal stack of this thread is undone; on Linux only."""
    if sys.platform != "linux":
        yield
        return
    libc, before = ctypes.CDLL(None), _Stack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)
