"""What Linux tells of processes and of the machine: memory in bytes, CPU time in seconds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Memory that the process holds now; 0 where nobody tells, or it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE
    except (OSError, IndexError, ValueError):
        return 0


def cpu_seconds(pid: int) -> float:
    """CPU time that the process and its reaped children have used; 0 where nobody tells."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return sum(int(value) for value in fields[11:15]) / TICKS
    except (OSError, IndexError, ValueError):
        return 0.0


@dataclass(frozen=True, slots=True)
class Machine:
    """A moment: CPUs that we may use, CPU seconds used so far by work that counts, and memory that is free."""

    cpus: float
    used_seconds: float | None
    free_bytes: int | None


def machine(root: Path = Path("/")) -> Machine:
    """Measured now; None for what nobody tells. In a container its limits hold instead of the machine's.

    `root` is where `proc` and `sys` are.
    """
    group = root / "sys/fs/cgroup"
    cpus = float(_affinity())
    used, free = _busy_seconds(root / "proc/stat"), _available_bytes(root / "proc/meminfo")
    quota = _words(group / "cpu.max")
    if len(quota) == 2 and quota[0] != "max":
        cpus = min(cpus, int(quota[0]) / int(quota[1]))
        used = _group_seconds(group / "cpu.stat", used)
    limit, held = _words(group / "memory.max"), _words(group / "memory.current")
    if limit and held and limit[0] != "max":
        left = max(0, int(limit[0]) - int(held[0]) + _group_value(group / "memory.stat", "inactive_file"))
        free = left if free is None else min(free, left)
    return Machine(cpus, used, free)


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _busy_seconds(path: Path) -> float | None:
    """User, system, interrupts and stolen time. Niced work gives way to live streams, so it counts as free."""
    words = _words(path)
    if len(words) < 9 or words[0] != "cpu":
        return None
    user, _, system, _, _, hard, soft, stolen = (int(word) for word in words[1:9])
    return (user + system + hard + soft + stolen) / TICKS


def _available_bytes(path: Path) -> int | None:
    value = _group_value(path, "MemAvailable:")
    return value * 1024 if value else None


def _group_seconds(path: Path, otherwise: float | None) -> float | None:
    value = _group_value(path, "usage_usec")
    return value / 1e6 if value else otherwise


def _group_value(path: Path, key: str) -> int:
    """The number after `key` at the start of a line; 0 where it does not stand."""
    words = _words(path)
    return int(words[words.index(key) + 1]) if key in words else 0


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return []
