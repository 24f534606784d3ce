"""The allocator is asked once, by the command's entry point, and only where there is something to ask."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from stream_guard import allocator


def test_glibc_is_asked_and_agrees() -> None:
    assert allocator.keep_large_blocks_apart() is (platform.libc_ver()[0] == "glibc")


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert allocator.keep_large_blocks_apart() is False


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_the_command_keeps_a_growing_block_in_place() -> None:
    """A block that grows beside small ones: on the heap it leaves holes, on its own the process grows as it does."""
    grow = (
        "import ctypes, resource, runpy, sys\n"
        "sys.argv = ['stream-guard', '--version']\n"
        "import stream_guard.__main__\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype = libc.realloc.restype = ctypes.c_void_p\n"
        "libc.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]\n"
        "libc.malloc.argtypes = [ctypes.c_size_t]\n"
        "libc.free.argtypes = [ctypes.c_void_p]\n"
        "libc.free(libc.malloc(24 << 20))  # where glibc would learn that large blocks may live on the heap\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "block, size = None, 0\n"
        "while size < 48 << 20:\n"
        "    size += 1 << 20\n"
        "    block = libc.realloc(block, size)\n"
        "    ctypes.memset(block, 1, size)\n"
        "    ctypes.memset(libc.malloc(4096), 1, 4096)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    grown = subprocess.run([sys.executable, "-c", grow], capture_output=True, text=True, check=True).stdout
    assert int(grown) < 56 << 10
