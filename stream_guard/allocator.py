"""How the C library's allocator treats the large blocks of a long run."""

from __future__ import annotations

import ctypes
import sys

LARGE_BYTES = 1 << 20

_M_MMAP_THRESHOLD = -3  # malloc.h of glibc


def keep_large_blocks_apart() -> bool:
    """Ask glibc to map each block of LARGE_BYTES or more on its own; whether it will. Elsewhere nothing is done.

    The sample tables of an .mp4 grow with its length. On the heap, every time such a table grows it leaves a hole as
    large as it was; a block of its own grows in place. Without this, glibc raises its threshold to 32 MiB by itself.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return bool(mallopt is not None and mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES))
