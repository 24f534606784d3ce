"""What the process may take, watched from inside; the supervisor's own limits are the last resort."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from time import process_time

from .spec import Limits

STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """Resident memory of this process; 0 where the system does not say."""
    try:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


class Watch:
    """Says which limit is exceeded."""

    def __init__(
        self, limits: Limits, memory: Callable[[], int] = resident_bytes, cpu: Callable[[], float] = process_time
    ) -> None:
        """`memory` gives bytes, `cpu` seconds of all threads since the process began."""
        self._limits, self._memory, self._cpu = limits, memory, cpu
        self._cpu_before = cpu()

    def exceeded(self) -> str:
        """In a sentence; empty while all is within bounds."""
        memory, cpu = self._limits.memory_bytes, self._limits.cpu_seconds
        if memory and (used := self._memory()) > memory:
            return f"the stream's process holds {used} bytes of memory; limits.memory allows {memory}"
        if cpu and (spent := self._cpu() - self._cpu_before) > cpu:
            return f"the stream has used {spent:.1f} s of CPU time; limits.cpu allows {cpu:g} s"
        return ""
