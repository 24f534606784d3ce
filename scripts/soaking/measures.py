"""What is measured: the account of every picture, the processes' memory, and slopes."""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
import subprocess
import threading
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

from .parts import Bench, children

LINE = re.compile(r"^stream_guard_(\w+?)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
COUNTED = ("frames_in_total", "frames_out_total", "frames_dropped_total", "frames_in_flight")
MEBI = 1 << 20

Page = list[tuple[str, dict[str, str], float]]


def parsed(text: str) -> Page:
    return [(name, dict(LABEL.findall(labels)), float(value)) for name, labels, value in LINE.findall(text)]


def total(page: Page, name: str) -> float:
    return sum(value for found, _, value in page if found == name)


def by_label(page: Page, name: str, label: str) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for found, labels, value in page:
        if found == name and value:
            counts[labels.get(label, "")] += int(value)
    return dict(sorted(counts.items()))


def account(page: Page) -> dict[str, Any]:
    """Where the pictures of all streams are."""
    frames_in, out, dropped, inside = (int(total(page, name)) for name in COUNTED)
    return {
        "frames_in": frames_in,
        "frames_out": out,
        "dropped": by_label(page, "frames_dropped_total", "reason"),
        "in_flight": inside,
        "missing": frames_in - out - dropped - inside,
        "unprotected": by_label(page, "unprotected_frames_total", "reason"),
        "blocked": by_label(page, "blocked_frames_total", "reason"),
        "faces": by_label(page, "faces_total", "protection"),
        "filled": int(total(page, "filled_frames_total")),
        "worker_restarts": by_label(page, "worker_restarts_total", "reason"),
        "given_up": int(total(page, "streams_given_up_total")),
        "reconnects": int(total(page, "reconnects_total")),
    }


def difference(after: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What happened between two accounts; `in_flight` and `missing` are those of the end."""
    made: dict[str, Any] = {}
    for name, value in after.items():
        if isinstance(value, dict):
            changed = {key: count - before[name].get(key, 0) for key, count in value.items()}
            made[name] = {key: count for key, count in changed.items() if count}
        else:
            made[name] = value if name in ("in_flight", "missing") else value - before[name]
    return made


class Auditor:
    """Looks at /metrics and the API once a second, all the time: for each stream the pictures must add up."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.looks = 0
        self.wrong: list[str] = []

    def __enter__(self) -> Auditor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(1.0):
            self._look()

    def _look(self) -> None:
        code, text = self._bench.daemon.ask("/metrics")
        if code != 200:
            return
        self.looks += 1
        sums: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(COUNTED, 0.0))
        for name, labels, value in parsed(text):
            if name in COUNTED:
                sums[labels.get("stream", "")][name] += value
        for stream, counts in sums.items():
            frames_in, out, dropped, inside = (counts[name] for name in COUNTED)
            if frames_in != out + dropped + inside:
                self.wrong.append(
                    f"/metrics of {stream}: {frames_in:g} in, {out:g} out, {dropped:g} dropped, {inside:g}"
                )
        status = self._bench.daemon.status("always")
        if status and status["frames_in"] != sum(
            (status["frames_out"], status["in_flight"], *status["dropped"].values())
        ):
            self.wrong.append(f"the API: {status}")


def resident(pid: int) -> float:
    """MiB; 0 for a process that is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / MEBI


def entries(pid: int, what: str) -> int:
    """How many open files (`fd`) or threads (`task`) a process has."""
    try:
        return len(os.listdir(f"/proc/{pid}/{what}"))
    except OSError:
        return 0


def processes(bench: Bench) -> dict[str, Any]:
    """The supervisor and its workers now."""
    pid = bench.daemon.pid
    workers = children(pid)
    return {
        "supervisor_mib": round(resident(pid), 2),
        "supervisor_fds": entries(pid, "fd"),
        "supervisor_threads": entries(pid, "task"),
        "workers": len(workers),
        "workers_mib": round(sum(resident(w) for w in workers), 2),
        "largest_worker_mib": round(max((resident(w) for w in workers), default=0.0), 2),
        "workers_fds": sum(entries(w, "fd") for w in workers),
        "workers_threads": sum(entries(w, "task") for w in workers),
    }


def slope(times: Sequence[float], values: Sequence[float]) -> dict[str, float] | None:
    """Theil and Sen's slope an hour, with Sen's 95 % interval; times in seconds. None for fewer than eight points.

    Neighbouring points depend on each other, so the interval is rather too narrow than too wide.
    """
    if len(times) < 8:
        return None
    slopes = sorted(
        (b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(zip(times, values, strict=True), 2) if b[0] > a[0]
    )
    count = len(times)
    reach = 1.96 * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low = max(math.floor((len(slopes) - reach) / 2), 0)
    high = min(math.ceil((len(slopes) + reach) / 2), len(slopes) - 1)
    found = {"an_hour": median(slopes), "low": slopes[low], "high": slopes[high]}
    return {name: round(value * 3600, 3) for name, value in found.items()}


def facts(command: str) -> dict[str, Any]:
    """The machine and the programs, without a date."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "command": command,
        "cpu": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "ffmpeg": _version("ffmpeg", "-version"),
        "nginx": _version("nginx", "-v"),
    }


def _version(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "absent"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).splitlines()[0].partition(" Copyright")[0].strip()
