"""Whether a GPU can be used here: asked of NVIDIA's driver itself, so that no package need be installed to know."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
"""Comes with the driver, not with any package."""
NO_DEVICE = 100
"""CUDA_ERROR_NO_DEVICE of cuda.h."""


@cache
def gpu_missing() -> str:
    """Why there is no GPU to work with; empty where there is one. Asked once: a driver does not come while we run.

    cuInit and cuDeviceGetCount of the CUDA driver API (docs.nvidia.com/cuda/cuda-driver-api).
    """
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError:
        return f"there is no NVIDIA driver here ({LIBRARY} is not to be found); install one, or choose another backend"
    status = int(driver.cuInit(0))
    if status == NO_DEVICE:
        return "the NVIDIA driver sees no GPU; check `nvidia-smi`, and that the container was given one (--gpus all)"
    if status != 0:
        return f"the NVIDIA driver cannot be started (error {status}); check `nvidia-smi`"
    count = ctypes.c_int(0)
    status = int(driver.cuDeviceGetCount(ctypes.byref(count)))
    if status != 0 or count.value < 1:
        return "the NVIDIA driver sees no GPU; check `nvidia-smi`, and that the container was given one (--gpus all)"
    return ""
